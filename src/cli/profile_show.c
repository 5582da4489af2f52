/* SPDX-License-Identifier: MIT */
#include "cli/profile.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *const modes[] = {"push", "pull", "lazy"};

void iteration_show(const struct run *run, const struct iteration *it)
{
	char moved[16];

	if (run->c->json || run->c->quiet)
		return;
	format_size(it->moved_bytes, moved);
	printf("%3u %s  %8.3f s  %8s moved  %5" PRIu64 " requests", it->number, it->mode,
	       it->seconds, moved, it->requests);
	if (!strcmp(it->mode, "lazy"))
		printf("  (mounted after %.3f s, read for %.3f s)", it->ready_s, it->load_s);
	putchar('\n');
	fflush(stdout);
}

struct summary {
	size_t n;
	double min, median, p90, max;
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The smallest value that a share of p are not above. */
static double quantile(const double *sorted, size_t n, double p)
{
	size_t i = (size_t)(p * (double)n + 0.999999);

	return sorted[i ? i - 1 : 0];
}

static void summarise(const struct run *run, const char *mode, struct summary *ret)
{
	double *times = calloc(run->n_its + 1, sizeof(*times));

	*ret = (struct summary){0};
	for (size_t i = 0; times && i < run->n_its; i++) {
		if (!strcmp(run->its[i].mode, mode))
			times[ret->n++] = run->its[i].seconds;
	}
	if (ret->n) {
		qsort(times, ret->n, sizeof(*times), compare);
		ret->min = times[0];
		ret->max = times[ret->n - 1];
		ret->median = ret->n % 2 ? times[ret->n / 2]
					 : (times[ret->n / 2 - 1] + times[ret->n / 2]) / 2;
		ret->p90 = quantile(times, ret->n, 0.9);
	}
	free(times);
}

/* ---- JSON ---- */

static json_t *iteration_json(const struct iteration *it)
{
	json_t *o = json_pack("{s:i, s:s, s:f, s:I, s:I}", "iteration", (int)it->number, "mode",
			      it->mode, "seconds", it->seconds, "moved_bytes",
			      (json_int_t)it->moved_bytes, "requests", (json_int_t)it->requests);

	if (!strcmp(it->mode, "lazy")) {
		json_object_set_new(o, "ready_seconds", json_real(it->ready_s));
		json_object_set_new(o, "read_seconds", json_real(it->load_s));
	}
	return o;
}

/* How much of what was wanted was there already; -1: nothing was. */
static double hit_ratio(const struct run *run)
{
	return run->wanted ? (double)run->had / (double)run->wanted : -1;
}

static void cache_totals(const struct run *run, uint64_t *ret_entries, uint64_t *ret_bytes)
{
	json_t *o = json_loads(run->cache_json, 0, NULL), *kind;
	const char *name;

	*ret_entries = 0;
	*ret_bytes = (uint64_t)json_integer_value(json_object_get(o, "bytes"));
	json_object_foreach (json_object_get(o, "kinds"), name, kind)
		*ret_entries += (uint64_t)json_integer_value(json_object_get(kind, "items"));
	json_decref(o);
}

static json_t *cache_json(const struct run *run)
{
	double ratio = hit_ratio(run);
	uint64_t entries, bytes;

	cache_totals(run, &entries, &bytes);
	return json_pack("{s:I, s:I, s:o, s:I}", "entries", (json_int_t)entries, "bytes",
			 (json_int_t)bytes, "hit_ratio", ratio < 0 ? json_null() : json_real(ratio),
			 "requests", (json_int_t)run->requests);
}

static void show_json(const struct run *run)
{
	json_t *o = json_object(), *its = json_array(), *sums = json_object(),
	       *files = json_array();
	struct summary s;

	for (size_t i = 0; i < run->n_its; i++)
		json_array_append_new(its, iteration_json(&run->its[i]));
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		summarise(run, modes[i], &s);
		if (s.n)
			json_object_set_new(sums, modes[i],
					    json_pack("{s:f, s:f, s:f, s:f}", "min", s.min,
						      "median", s.median, "p90", s.p90, "max",
						      s.max));
	}
	for (size_t i = 0; i < run->out.n; i++)
		json_array_append_new(files, json_string(run->out.names[i]));
	json_object_set_new(o, "reference", json_string(run->ref));
	json_object_set_new(o, "iterations", its);
	json_object_set_new(o, "seconds", sums);
	if (run->cache_json)
		json_object_set_new(o, "cache", cache_json(run));
	json_object_set_new(o, "files", files);
	json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(o);
}

/* ---- for people ---- */

static void cache_show(const struct run *run)
{
	double ratio = hit_ratio(run);
	uint64_t entries, bytes;
	char size[16];

	cache_totals(run, &entries, &bytes);
	format_size(bytes, size);
	printf("cache  %" PRIu64 " entries, %s, ", entries, size);
	if (ratio >= 0)
		printf("%.1f %% hits, ", 100 * ratio);
	printf("%" PRIu64 " requests\n", run->requests);
}

void run_show(const struct run *run)
{
	struct summary s;

	if (run->c->json) {
		show_json(run);
		return;
	}
	for (size_t i = 0; !run->c->quiet && i < sizeof(modes) / sizeof(modes[0]); i++) {
		summarise(run, modes[i], &s);
		if (s.n)
			printf("%s   min %.3f s, median %.3f s, p90 %.3f s, max %.3f s\n", modes[i],
			       s.min, s.median, s.p90, s.max);
	}
	if (run->cache_json)
		cache_show(run);
	for (size_t i = 0; i < run->out.n; i++)
		puts(run->out.names[i]);
}
