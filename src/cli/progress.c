/* SPDX-License-Identifier: MIT */
/*
 * One line on stderr that is drawn over, only on a terminal, only when something takes longer than
 * a second: bytes, rate, time left; while there are none, what is waited for.
 *
 * Callbacks come only while something moves, so a thread draws in between. It lives from the first
 * callback to progress_stop(), and takes no signals.
 */
#include "cli/cli.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SHOW_AFTER_S 1.0
#define DRAW_EVERY_S 0.1
#define TICK_NS 250000000
#define BAR_WIDTH 24
#define BAR_WIDTH_MIN 6
#define LINE_BYTES 200

struct bar {
	bool enabled;
	pthread_mutex_t lock; /* of all below, and of the terminal */
	pthread_cond_t stopping;
	pthread_t ticker;
	bool ticking, stop, drawn;
	double start_s, phase_s, drawn_s; /* 0: not yet */
	char phase[16], what[LINE_BYTES];
	struct morsel_progress last; /* but for its phase */
};

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* ---- the line ---- */

/* What a phase counts besides bytes. */
static const char *items_of(const char *phase)
{
	static const char *const items[][2] = {{"copy", "file"},  {"extract", "file"},
					       {"read", "file"},  {"push", "blob"},
					       {"check", "item"}, {"", "layer"}};
	size_t i = 0;

	while (*items[i][0] && strcmp(items[i][0], phase) != 0)
		i++;
	return items[i][1];
}

static void line_add(char *line, const char *fmt, ...)
{
	size_t n = strlen(line);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line + n, LINE_BYTES - n, fmt, ap);
	va_end(ap);
}

/* As much of a bar as there is room for before the rest of the line. */
static void bar_add(char *line, double share, size_t columns, size_t rest)
{
	size_t room = columns > rest + 5 ? columns - rest - 5 : 0;
	int width = room < BAR_WIDTH ? (int)room : BAR_WIDTH;
	int filled = (int)((share < 1 ? share : 1) * width + 0.5);
	char cells[BAR_WIDTH + 1];

	if (width < BAR_WIDTH_MIN)
		return;
	memset(cells, '.', (size_t)width);
	memset(cells, '#', (size_t)filled);
	line_add(line, "[%.*s] ", width, cells);
}

static void line_of_bytes(const struct bar *b, double elapsed, size_t columns, char *line)
{
	const struct morsel_progress *p = &b->last;
	char done[16], total[16], rate[16], rest[LINE_BYTES] = "";
	double per_s = (double)p->done_bytes / (elapsed > 0.01 ? elapsed : 0.01);

	format_size(p->done_bytes, done);
	format_size(p->total_bytes, total);
	format_size((uint64_t)per_s, rate);
	line_add(rest, "%s%s%s  %s/s  %s %u/%u", done, p->total_bytes ? "/" : "",
		 p->total_bytes ? total : "", rate, items_of(b->phase), p->layers_done,
		 p->layers_total);
	if (per_s > 0 && p->total_bytes > p->done_bytes)
		line_add(rest, "  %.0fs left", (double)(p->total_bytes - p->done_bytes) / per_s);
	if (p->total_bytes)
		bar_add(line, (double)p->done_bytes / (double)p->total_bytes, columns,
			strlen(rest));
	line_add(line, "%s", rest);
}

static size_t terminal_columns(void)
{
	struct winsize w = {0};

	return ioctl(2, TIOCGWINSZ, &w) < 0 || !w.ws_col ? 80 : w.ws_col;
}

/* Under the lock. Asks for the width each time: windows change. */
static void bar_draw(struct bar *b, double now)
{
	size_t columns = terminal_columns();
	char line[LINE_BYTES] = "";

	if (now - b->start_s < SHOW_AFTER_S)
		return;
	if (b->last.done_bytes)
		line_of_bytes(b, now - b->phase_s, columns, line);
	else
		line_add(line, "%.0fs  %s%s", now - b->start_s,
			 !strcmp(b->phase, "merge") ? "merging the layers of " : "waiting for ",
			 b->what);
	if (columns < sizeof(line))
		line[columns - 1] = 0; /* the last column would begin another line */
	fprintf(stderr, "\r%s\033[K", line);
	fflush(stderr);
	b->drawn = true;
	b->drawn_s = now;
}

static void bar_wipe(struct bar *b)
{
	if (b->drawn)
		fputs("\r\033[K", stderr);
	fflush(stderr);
	b->drawn = false;
}

/* ---- the thread ---- */

static void *ticker_run(void *arg)
{
	struct bar *b = arg;

	pthread_mutex_lock(&b->lock);
	while (!b->stop) {
		struct timespec ts;
		double now;

		clock_gettime(CLOCK_MONOTONIC, &ts);
		ts.tv_nsec += TICK_NS;
		ts.tv_sec += ts.tv_nsec / 1000000000;
		ts.tv_nsec %= 1000000000;
		pthread_cond_clockwait(&b->stopping, &b->lock, CLOCK_MONOTONIC, &ts);
		now = now_s();
		if (!b->stop && now - b->drawn_s >= DRAW_EVERY_S)
			bar_draw(b, now);
	}
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

/* Under the lock. Without it the line is drawn by callbacks only. */
static void ticker_start(struct bar *b)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	b->stop = false;
	b->ticking = !pthread_create(&b->ticker, NULL, ticker_run, b);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- for the verbs ---- */

int progress_show(void *userdata, const struct morsel_progress *p)
{
	struct cli *c = userdata;
	struct bar *b = c->progress_state;
	double now = now_s();

	if (!b || !b->enabled)
		return 0;
	pthread_mutex_lock(&b->lock);
	if (!b->start_s)
		b->start_s = now;
	if (strcmp(b->phase, p->phase) != 0) {
		snprintf(b->phase, sizeof(b->phase), "%s", p->phase);
		b->phase_s = now;
	}
	b->last = *p;
	if (!b->ticking)
		ticker_start(b);
	if (now - b->drawn_s >= DRAW_EVERY_S)
		bar_draw(b, now);
	pthread_mutex_unlock(&b->lock);
	return 0;
}

/* The image that all this is about, as it was written; what can't be shown in one column is not. */
static void what_set(const struct cli *c, struct bar *b)
{
	const char *what = c->values[OPT_REF];

	if (!what && c->verb->run == cmd_cache)
		what = "the cache";
	if (!what && c->n_args)
		what = c->args[c->verb->run == cmd_push ? c->n_args - 1 : 0];
	snprintf(b->what, sizeof(b->what), "%s", what ? what : "the image");
	for (char *p = b->what; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
}

void progress_init(struct cli *c)
{
	const char *term = getenv("TERM");
	struct bar *b = c->progress_state;

	if (!b && (b = calloc(1, sizeof(*b)))) {
		pthread_mutex_init(&b->lock, NULL);
		pthread_cond_init(&b->stopping, NULL);
	}
	if (!b)
		return;
	c->progress_state = b;
	progress_stop(c);
	b->start_s = b->drawn_s = 0;
	b->phase[0] = 0;
	b->enabled = c->progress == PROGRESS_TTY ||
		     (c->progress == PROGRESS_AUTO && !c->quiet && isatty(2) && term &&
		      strcmp(term, "dumb") && c->options.log_level < MORSEL_LOG_DEBUG);
	what_set(c, b);
	if (b->enabled)
		c->options.progress = progress_show;
}

void progress_hold(struct cli *c)
{
	struct bar *b = c->progress_state;

	if (!b)
		return;
	pthread_mutex_lock(&b->lock);
	bar_wipe(b);
}

void progress_release(struct cli *c)
{
	struct bar *b = c->progress_state;

	if (b)
		pthread_mutex_unlock(&b->lock);
}

void progress_stop(struct cli *c)
{
	struct bar *b = c->progress_state;
	bool ticking;

	if (!b)
		return;
	pthread_mutex_lock(&b->lock);
	ticking = b->ticking;
	b->ticking = false;
	b->stop = true;
	pthread_cond_signal(&b->stopping);
	bar_wipe(b);
	pthread_mutex_unlock(&b->lock);
	if (ticking)
		pthread_join(b->ticker, NULL);
}

void progress_fini(struct cli *c)
{
	struct bar *b = c->progress_state;

	if (!b)
		return;
	progress_stop(c);
	pthread_cond_destroy(&b->stopping);
	pthread_mutex_destroy(&b->lock);
	free(b);
	c->progress_state = NULL;
}
