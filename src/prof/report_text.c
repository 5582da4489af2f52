/* SPDX-License-Identifier: MIT */
/* The report as tables for a terminal; also what the page shows where there is no script. */
#include "prof/report.h"

#include <errno.h>
#include <stdio.h>

#define ROWS_MAX 20
#define NAME_MAX_SHOWN 300
#define BAR 40

/* ---- numbers ---- */

static const char *show_time(uint64_t ns, char buf[static 24])
{
	if (ns >= 1000000000)
		snprintf(buf, 24, "%.2f s", (double)ns / 1e9);
	else if (ns >= 1000000)
		snprintf(buf, 24, "%.1f ms", (double)ns / 1e6);
	else
		snprintf(buf, 24, "%.0f us", (double)ns / 1e3);
	return buf;
}

static const char *show_bytes(uint64_t n, char buf[static 24])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double v = (double)n;
	size_t u = 0;

	for (; v >= 1024 && u + 1 < ARRAY_SIZE(units); u++)
		v /= 1024;
	snprintf(buf, 24, u && v < 10 ? "%.1f %s" : "%.0f %s", v, units[u]);
	return buf;
}

static const char *show_value(int64_t v, const char *unit, char buf[static 24])
{
	if (v >= 0 && !strcmp(unit, "nanoseconds"))
		return show_time((uint64_t)v, buf);
	if (v >= 0 && !strcmp(unit, "bytes"))
		return show_bytes((uint64_t)v, buf);
	snprintf(buf, 24, "%lld", (long long)v);
	return buf;
}

/* ---- a trace ---- */

static int totals_text(const struct access_log *log, struct buf *b)
{
	struct report_totals t;
	char bytes[24], fetched[24], wait[24], span[24];
	uint64_t all = 0; /* of what waited, the way to the thread that serves it included */
	int r;

	report_totals(log, &t);
	for (int p = 0; p < TRACE_PHASES; p++)
		all += t.phases_ns[p];
	r = buf_printf(
		b, "reads %llu, %s; %llu waited, %s in all; fetches %llu, %s; %zu files in %s\n",
		(unsigned long long)t.reads, show_bytes(t.bytes, bytes),
		(unsigned long long)t.waits, show_time(t.wait_ns, wait),
		(unsigned long long)t.fetches, show_bytes(t.fetched_bytes, fetched), log->paths.n,
		show_time((uint64_t)(t.end_ns - t.begin_ns), span));
	for (int p = 0; p < TRACE_PHASES && r >= 0; p++)
		if (t.phases_ns[p])
			r = buf_printf(b, "  %-11s %10s %5.1f %%\n",
				       trace_phase_name((enum trace_phase)p),
				       show_time(t.phases_ns[p], wait),
				       100.0 * (double)t.phases_ns[p] / (double)max_u64(all, 1));
	return r;
}

static int sums_text(const struct access_log *log, enum report_key key, const char *title,
		     struct buf *b)
{
	_cleanup_(freep) struct report_sum *sums = NULL;
	char name[NAME_MAX_SHOWN], wait[24], bytes[24];
	size_t n;
	int r = report_sums(log, key, &sums, &n);

	if (r >= 0)
		r = buf_printf(b, "\n%10s %7s %7s %9s  %s\n", "WAIT", "WAITS", "READS", "BYTES",
			       title);
	for (size_t i = 0; i < n && i < ROWS_MAX && r >= 0; i++) {
		const struct report_sum *s = &sums[i];

		if (key == REPORT_PROCESS)
			report_process_name(log, s->key, name, sizeof(name));
		else
			report_intern_name(key == REPORT_PATH ? &log->paths : &log->texts, s->key,
					   name, sizeof(name));
		r = buf_printf(b, "%10s %7llu %7llu %9s  %s\n", show_time(s->wait_ns, wait),
			       (unsigned long long)s->waits, (unsigned long long)s->reads,
			       show_bytes(s->bytes, bytes), name);
	}
	if (r >= 0 && n > ROWS_MAX)
		r = buf_printf(b, "%10s and %zu more\n", "", n - ROWS_MAX);
	return r;
}

static int latency_text(const struct access_log *log, struct buf *b)
{
	uint64_t counts[40] = {0}, most = 0;
	char from[24];
	int r = 0;

	for (size_t i = 0; i < log->n_reads; i++) {
		uint64_t us = log->reads[i].wait_ns / 1000;

		if (log->reads[i].waited)
			counts[us ? min_u64(63 - (uint64_t)__builtin_clzll(us), 39) : 0]++;
	}
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		most = max_u64(most, counts[i]);
	if (most)
		r = buf_printf(b, "\n%10s %7s\n", "FROM", "WAITS");
	for (size_t i = 0; i < ARRAY_SIZE(counts) && r >= 0; i++)
		if (counts[i])
			r = buf_printf(b, "%10s %7llu  %.*s\n",
				       show_time(UINT64_C(1000) << i, from),
				       (unsigned long long)counts[i],
				       (int)(1 + (BAR - 1) * counts[i] / most),
				       "########################################");
	return r;
}

static int one_trace(const struct report_trace *t, struct buf *b)
{
	int r = buf_printf(b, "== %s\n", t->label);

	if (r >= 0)
		r = totals_text(&t->log, b);
	if (r >= 0)
		r = sums_text(&t->log, REPORT_PATH, "FILE", b);
	if (r >= 0)
		r = sums_text(&t->log, REPORT_PROCESS, "PROCESS", b);
	if (r >= 0)
		r = sums_text(&t->log, REPORT_LAYER, "LAYER", b);
	if (r >= 0)
		r = sums_text(&t->log, REPORT_SOURCE, "SOURCE", b);
	return r < 0 ? r : latency_text(&t->log, b);
}

/* ---- a profile ---- */

struct top {
	uint32_t name;
	int64_t flat, cum;
};

static int top_compare(const void *a, const void *b)
{
	const struct top *x = a, *y = b;

	if (x->flat != y->flat)
		return x->flat > y->flat ? -1 : 1;
	return x->cum > y->cum ? -1 : x->cum < y->cum;
}

/* seen: the last stack that a name was counted in, so that recursion counts once. */
static int64_t tops_fill(const struct profile *p, struct top *tops, size_t *seen)
{
	int64_t total = 0;

	for (size_t i = 0; i < p->n_names; i++)
		tops[i].name = (uint32_t)i;
	for (size_t i = 0; i < p->n_stacks; i++) {
		const struct profile_stack *s = &p->stacks[i];
		int64_t v = s->values[p->default_type];

		total += v;
		for (size_t k = 0; k < s->n; k++) {
			struct top *t = &tops[p->frames[s->first + k]];

			t->flat += k ? 0 : v;
			if (seen[t->name] != i + 1)
				t->cum += v;
			seen[t->name] = i + 1;
		}
	}
	return total;
}

static int one_profile(const struct report_profile *rp, struct buf *b)
{
	const struct profile *p = &rp->profile;
	const char *unit = p->types[p->default_type].unit;
	_cleanup_(freep) struct top *tops = calloc(p->n_names + 1, sizeof(*tops));
	_cleanup_(freep) size_t *seen = calloc(p->n_names + 1, sizeof(*seen));
	char flat[24], cum[24], name[NAME_MAX_SHOWN];
	int64_t total;
	int r;

	if (!tops || !seen)
		return -ENOMEM;
	total = tops_fill(p, tops, seen);
	qsort(tops, p->n_names, sizeof(*tops), top_compare);
	r = buf_printf(b, "== %s\n%s %s\n\n%10s %6s %10s  %s\n", rp->label,
		       p->types[p->default_type].type, show_value(total, unit, flat), "FLAT", "",
		       "CUM", "FUNCTION");
	for (size_t i = 0; i < p->n_names && i < ROWS_MAX && tops[i].cum && r >= 0; i++) {
		report_name(p->names[tops[i].name], strlen(p->names[tops[i].name]), name,
			    sizeof(name));
		r = buf_printf(b, "%10s %5.1f%% %10s  %s\n", show_value(tops[i].flat, unit, flat),
			       total ? 100.0 * (double)tops[i].flat / (double)total : 0.0,
			       show_value(tops[i].cum, unit, cum), name);
	}
	return r;
}

int report_tables(const struct report *r, struct buf *ret)
{
	int e = 0;

	for (size_t i = 0; i < r->n_traces && e >= 0; i++) {
		if (i)
			e = buf_append_str(ret, "\n");
		if (e >= 0)
			e = one_trace(&r->traces[i], ret);
	}
	for (size_t i = 0; i < r->n_profiles && e >= 0; i++) {
		if (i || r->n_traces)
			e = buf_append_str(ret, "\n");
		if (e >= 0)
			e = one_profile(&r->profiles[i], ret);
	}
	return e;
}
