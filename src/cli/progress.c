/* SPDX-License-Identifier: MIT */
/*
 * One line on stderr that is drawn over, only on a terminal, only when something takes longer than
 * a second: bytes, rate, time left.
 */
#include "cli/cli.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SHOW_AFTER_S 1.0
#define BAR_WIDTH 24

struct bar {
	bool enabled;
	atomic_bool drawn; /* cleared by whichever thread logs */
	const char *phase; /* that began at start_s */
	double start_s;
};

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* What a phase counts besides bytes. */
static const char *items_of(const char *phase)
{
	return !strcmp(phase, "copy") || !strcmp(phase, "extract") ? "file"
	       : !strcmp(phase, "push")				   ? "blob"
	       : !strcmp(phase, "verify")			   ? "item"
								   : "layer";
}

static void bar_draw(struct bar *b, const struct morsel_progress *p, double elapsed)
{
	char done[16], total[16], rate[16], cells[BAR_WIDTH + 1];
	double per_s = (double)p->done_bytes / elapsed;
	double share = p->total_bytes ? (double)p->done_bytes / (double)p->total_bytes : 0;
	int filled = (int)(share * BAR_WIDTH + 0.5);

	if (filled > BAR_WIDTH)
		filled = BAR_WIDTH;
	memset(cells, '#', (size_t)filled);
	memset(cells + filled, '.', (size_t)(BAR_WIDTH - filled));
	cells[BAR_WIDTH] = 0;
	format_size(p->done_bytes, done);
	format_size(p->total_bytes, total);
	format_size((uint64_t)per_s, rate);
	if (p->total_bytes)
		fprintf(stderr, "\r[%s] %s/%s  %s/s", cells, done, total, rate);
	else
		fprintf(stderr, "\r%s  %s/s", done, rate);
	fprintf(stderr, "  %s %u/%u", items_of(p->phase), p->layers_done, p->layers_total);
	if (per_s > 0 && p->total_bytes > p->done_bytes)
		fprintf(stderr, "  %.0fs left", (double)(p->total_bytes - p->done_bytes) / per_s);
	fputs("\033[K", stderr);
	fflush(stderr);
	atomic_store(&b->drawn, true);
}

static int progress_show(void *userdata, const struct morsel_progress *p)
{
	struct cli *c = userdata;
	struct bar *b = c->progress_state;
	double now = now_s();

	if (!b->phase || strcmp(b->phase, p->phase) != 0) {
		b->phase = p->phase;
		b->start_s = now;
	}
	if (now - b->start_s >= SHOW_AFTER_S)
		bar_draw(b, p, now - b->start_s);
	return 0;
}

void progress_init(struct cli *c)
{
	const char *term = getenv("TERM");
	struct bar *b = c->progress_state ? c->progress_state : calloc(1, sizeof(*b));

	if (!b)
		return;
	b->enabled = c->progress == PROGRESS_TTY ||
		     (c->progress == PROGRESS_AUTO && !c->quiet && isatty(2) && term &&
		      strcmp(term, "dumb") && c->options.log_level < MORSEL_LOG_DEBUG);
	c->progress_state = b;
	if (b->enabled)
		c->options.progress = progress_show;
}

void progress_clear(struct cli *c)
{
	struct bar *b = c->progress_state;

	if (b && atomic_exchange(&b->drawn, false))
		fputs("\r\033[K", stderr);
}
