/* SPDX-License-Identifier: MIT */
/*
 * stat --watch: what a mount does from one look to the next. On a terminal the figures are redrawn;
 * else a line (or JSON object) an interval. Ends well when the mount does.
 */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HEADER_EVERY 20 /* lines */

/* What is shown, in the order of the columns. */
static const char *const keys[] = {"opens",	     "reads",	     "hits",	      "waits",
				   "wait_ns",	     "bytes_served", "bytes_fetched", "requests",
				   "prefetch_bytes", "retries",	     "read_errors",   "lookups"};
enum {
	OPENS,
	READS,
	HITS,
	WAITS,
	WAIT_NS,
	SERVED,
	FETCHED,
	REQUESTS,
	PREFETCHED,
	RETRIES,
	ERRORS,
	LOOKUPS,
	KEYS
};

struct look {
	uint64_t at_ns;
	uint64_t pid;
	uint64_t values[KEYS];
};

struct watch {
	struct cli *c;
	uint64_t interval_ns;
	bool tty;
	unsigned lines;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int look(struct cli *c, struct look *ret)
{
	char *json;
	json_t *o;
	int r = morsel_mount_stat(c->args[0], &json, &c->err);

	if (r < 0)
		return r;
	o = json_loads(json, 0, NULL);
	free(json);
	if (!o)
		return -EPROTO;
	ret->at_ns = now_ns();
	ret->pid = (uint64_t)json_integer_value(json_object_get(o, "pid"));
	for (size_t i = 0; i < KEYS; i++)
		ret->values[i] = (uint64_t)json_integer_value(json_object_get(o, keys[i]));
	json_decref(o);
	return 0;
}

/* Another server began to count anew. */
static void subtract(const struct look *now, const struct look *before, struct look *ret)
{
	*ret = *now;
	ret->at_ns -= before->at_ns;
	for (size_t i = 0; i < KEYS && now->pid == before->pid; i++)
		ret->values[i] -= before->values[i];
}

static void show_json(const struct look *d)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	printf("{\"time\":%lld.%03ld,\"interval_ns\":%" PRIu64, (long long)t.tv_sec,
	       t.tv_nsec / 1000000, d->at_ns);
	for (size_t i = 0; i < KEYS; i++)
		printf(",\"%s\":%" PRIu64, keys[i], d->values[i]);
	puts("}");
}

static double rate(const struct look *d, unsigned key)
{
	return (double)d->values[key] * 1e9 / (double)(d->at_ns ? d->at_ns : 1);
}

static const char *size_rate(const struct look *d, unsigned key, char buf[static 16])
{
	format_size((uint64_t)rate(d, key), buf);
	return buf;
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

/* Reads that wait at once, on average. */
static double waiting(const struct look *d)
{
	return (double)d->values[WAIT_NS] / (double)(d->at_ns ? d->at_ns : 1);
}

static void show_line(struct watch *w, const struct look *d)
{
	char a[16], b[16], p[16];

	if (w->lines++ % HEADER_EVERY == 0)
		printf("%9s %6s %8s %8s %9s %9s %9s %9s %7s\n", "READS/s", "HITS", "WAITS/s",
		       "WAITING", "SERVED/s", "FETCHED/s", "OF-WHICH-PREFETCH/s", "REQUESTS/s",
		       "ERRORS");
	printf("%9.1f %5.1f%% %8.1f %8.2f %9s %9s %19s %10.1f %7" PRIu64 "\n", rate(d, READS),
	       percent(d->values[HITS], d->values[READS]), rate(d, WAITS), waiting(d),
	       size_rate(d, SERVED, a), size_rate(d, FETCHED, b), size_rate(d, PREFETCHED, p),
	       rate(d, REQUESTS), d->values[ERRORS]);
}

static void show_screen(struct watch *w, const struct look *now, const struct look *d)
{
	char a[16], b[16];

	printf("\033[H\033[J%s, every %.1f s\n\n%-12s %14s %12s\n", w->c->args[0],
	       (double)w->interval_ns / 1e9, "", "A SECOND", "IN ALL");
	for (size_t i = 0; i < KEYS; i++) {
		if (i == WAIT_NS)
			printf("%-14s %10.2f at once %10.1f s\n", "waiting", waiting(d),
			       (double)now->values[i] / 1e9);
		else if (i == SERVED || i == FETCHED || i == PREFETCHED) {
			format_size(now->values[i], a);
			printf("%-14s %12s %12s\n", keys[i], size_rate(d, i, b), a);
		} else
			printf("%-14s %12.1f %12" PRIu64 "\n", keys[i], rate(d, i), now->values[i]);
	}
	printf("%-14s %11.1f%%\n", "hit ratio", percent(d->values[HITS], d->values[READS]));
}

static void show(struct watch *w, const struct look *now, const struct look *before)
{
	struct look d;

	subtract(now, before, &d);
	if (w->c->json)
		show_json(&d);
	else if (w->tty)
		show_screen(w, now, &d);
	else
		show_line(w, &d);
}

static void sleep_until(uint64_t at_ns)
{
	struct timespec t = {.tv_sec = (time_t)(at_ns / 1000000000),
			     .tv_nsec = (long)(at_ns % 1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static int interval_read(struct watch *w)
{
	const char *text = w->c->values[OPT_WATCH];

	if (!*text && w->c->n_args > 1) /* --watch 2 */
		text = w->c->args[1];
	if (*text && parse_duration(text, &w->interval_ns) < 0)
		return usage_error(w->c, "--watch: \"%s\" is not a time", text);
	return 0;
}

int stat_watch(struct cli *c)
{
	struct watch w = {.c = c, .interval_ns = 1000000000, .tty = isatty(STDOUT_FILENO)};
	struct look before, now;
	uint64_t next;
	int r = interval_read(&w);

	if (r)
		return r;
	r = look(c, &before);
	if (r < 0)
		return fail(c, r);
	for (next = before.at_ns + w.interval_ns;; next += w.interval_ns) {
		sleep_until(next);
		r = look(c, &now);
		if (r == -ENOENT || r == -ENOTCONN) /* unmounted */
			return output_finish();
		if (r < 0)
			return fail(c, r);
		show(&w, &now, &before);
		if (fflush(stdout))
			return output_finish();
		before = now;
		if (next < now.at_ns)
			next = now.at_ns;
	}
}
