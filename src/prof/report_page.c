/* SPDX-License-Identifier: MIT */
/*
 * The page is one file: page/ has its text, put together when the program is built; what the files
 * say goes in as JSON, in columns. Times there are microseconds since the first thing that
 * happened. All drawing is done by the page's scripts (page/model.js says what they expect).
 */
#include "prof/report.h"

#include <errno.h>
#include "prof/report_page_parts.h" /* made from page/ */
#include "prof/trace_write.h"

#define READS_SHOWN ((size_t)300000) /* more would not open in a browser */

/* ---- text: the first error is kept ---- */

struct out {
	struct buf *b;
	int error;
};

static void put(struct out *o, const char *text)
{
	if (o->error >= 0)
		o->error = buf_append_str(o->b, text);
}

static void put_number(struct out *o, int64_t v)
{
	if (o->error >= 0)
		o->error = buf_printf(o->b, "%lld", (long long)v);
}

static void put_string(struct out *o, const char *text)
{
	if (o->error >= 0)
		o->error = json_text_append(o->b, text);
}

/* Of bytes without a NUL. */
static void put_bytes(struct out *o, const void *bytes, size_t len)
{
	_cleanup_(freep) char *s = strndup(bytes ? bytes : "", len);

	if (!s && o->error >= 0)
		o->error = -ENOMEM;
	else if (s)
		put_string(o, s);
}

/* ,"name": */
static void put_key(struct out *o, const char *name)
{
	put(o, ",");
	put_string(o, name);
	put(o, ":");
}

static void put_member(struct out *o, const char *name, int64_t v)
{
	put_key(o, name);
	put_number(o, v);
}

/* [each(0),each(1),...] */
static void put_list(struct out *o, size_t n, void (*each)(struct out *o, const void *of, size_t i),
		     const void *of)
{
	put(o, "[");
	for (size_t i = 0; i < n && o->error >= 0; i++) {
		put(o, i ? "," : "");
		each(o, of, i);
	}
	put(o, "]");
}

/* ,"name":[...] of an expression of i */
#define COLUMN(o, name, n, expression)                                                             \
	do {                                                                                       \
		put_key((o), (name));                                                              \
		put((o), "[");                                                                     \
		for (size_t i = 0; i < (n) && (o)->error >= 0; i++) {                              \
			put((o), i ? "," : "");                                                    \
			put_number((o), (int64_t)(expression));                                    \
		}                                                                                  \
		put((o), "]");                                                                     \
	} while (0)

/* ---- a trace ---- */

static void interned(struct out *o, const void *of, size_t i)
{
	size_t len;
	const char *s = intern_get(of, i, &len);

	put_bytes(o, s, len);
}

static void one_process(struct out *o, const void *of, size_t i)
{
	size_t len;
	const struct access_process *p = intern_get(of, i, &len);

	put(o, "{\"pid\":");
	put_number(o, p->pid);
	put_key(o, "command");
	put_string(o, p->command);
	put(o, "}");
}

static void one_phase(struct out *o, const void *of, size_t i)
{
	put_string(o, trace_phase_name((enum trace_phase)i));
}

static void phase_column(struct out *o, const void *of, size_t p)
{
	const struct access_log *log = of;

	put(o, "[");
	for (size_t i = 0; i < min_u64(log->n_reads, READS_SHOWN) && o->error >= 0; i++) {
		put(o, i ? "," : "");
		put_number(o, (int64_t)(log->reads[i].phases_ns[p] / 1000));
	}
	put(o, "]");
}

static void put_reads(struct out *o, const struct access_log *log, int64_t begin_ns)
{
	const struct access_read *rd = log->reads;
	size_t n = min_u64(log->n_reads, READS_SHOWN);

	put_key(o, "reads");
	put(o, "{\"left_out\":");
	put_number(o, (int64_t)(log->n_reads - n));
	COLUMN(o, "time", n, (rd[i].time_ns - begin_ns) / 1000);
	COLUMN(o, "wait", n, rd[i].wait_ns / 1000);
	COLUMN(o, "process", n, rd[i].process);
	COLUMN(o, "path", n, rd[i].path);
	COLUMN(o, "offset", n, rd[i].offset);
	COLUMN(o, "length", n, rd[i].length);
	COLUMN(o, "layer", n, rd[i].layer);
	COLUMN(o, "source", n, rd[i].source);
	COLUMN(o, "device", n, rd[i].device == ACCESS_NOWHERE ? -1 : (int64_t)rd[i].device);
	put_key(o, "phases");
	put_list(o, TRACE_PHASES, phase_column, log);
	put(o, "}");
}

static void put_fetches(struct out *o, const struct access_log *log, int64_t begin_ns)
{
	const struct access_fetch *f = log->fetches;
	size_t n = min_u64(log->n_fetches, READS_SHOWN);

	put_key(o, "fetches");
	put(o, "{\"left_out\":");
	put_number(o, (int64_t)(log->n_fetches - n));
	COLUMN(o, "time", n, (f[i].time_ns - begin_ns) / 1000);
	COLUMN(o, "duration", n, f[i].duration_ns / 1000);
	COLUMN(o, "layer", n, f[i].layer);
	COLUMN(o, "why", n, f[i].why);
	COLUMN(o, "device", n, f[i].device);
	COLUMN(o, "length", n, f[i].length);
	COLUMN(o, "bytes", n, f[i].bytes);
	put(o, "}");
}

/* Every layer of whose device something is known, with how far that reaches. */
static void put_layers(struct out *o, const struct access_log *log)
{
	_cleanup_(freep) uint64_t *ends = calloc(log->texts.n + 1, sizeof(*ends));
	const char *comma = "";

	if (!ends) {
		o->error = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < log->n_reads; i++) {
		const struct access_read *rd = &log->reads[i];

		if (rd->device != ACCESS_NOWHERE)
			ends[rd->layer] = max_u64(ends[rd->layer], rd->device + rd->length);
	}
	for (size_t i = 0; i < log->n_fetches; i++) {
		const struct access_fetch *f = &log->fetches[i];

		ends[f->layer] = max_u64(ends[f->layer], f->device + f->length);
	}
	put_key(o, "layers");
	put(o, "[");
	for (size_t i = 0; i < log->texts.n; i++) {
		if (!ends[i])
			continue;
		put(o, comma);
		put(o, "{\"key\":");
		put_number(o, (int64_t)i);
		put_member(o, "size", (int64_t)ends[i]);
		put(o, "}");
		comma = ",";
	}
	put(o, "]");
}

static void put_totals(struct out *o, const struct report_totals *t)
{
	put_key(o, "totals");
	put(o, "{\"reads\":");
	put_number(o, (int64_t)t->reads);
	put_member(o, "bytes", (int64_t)t->bytes);
	put_member(o, "waits", (int64_t)t->waits);
	put_member(o, "wait_ns", (int64_t)t->wait_ns);
	put_member(o, "fetches", (int64_t)t->fetches);
	put_member(o, "fetched", (int64_t)t->fetched_bytes);
	put_member(o, "span_ns", t->end_ns - t->begin_ns);
	put(o, "}");
}

static void one_trace(struct out *o, const void *of, size_t i)
{
	const struct report_trace *t = (const struct report_trace *)of + i;
	const struct access_log *log = &t->log;
	struct report_totals sum;

	report_totals(log, &sum);
	put(o, "{\"label\":");
	put_string(o, t->label);
	put_totals(o, &sum);
	put_key(o, "phases");
	put_list(o, TRACE_PHASES, one_phase, NULL);
	put_key(o, "paths");
	put_list(o, log->paths.n, interned, &log->paths);
	put_key(o, "texts");
	put_list(o, log->texts.n, interned, &log->texts);
	put_key(o, "processes");
	put_list(o, log->processes.n, one_process, &log->processes);
	put_layers(o, log);
	put_reads(o, log, sum.begin_ns);
	put_fetches(o, log, sum.begin_ns);
	put(o, "}");
}

/* ---- a profile ---- */

static void one_type(struct out *o, const void *of, size_t i)
{
	const struct profile *p = of;

	put(o, "{\"type\":");
	put_string(o, p->types[i].type);
	put_key(o, "unit");
	put_string(o, p->types[i].unit);
	put(o, "}");
}

static void one_name(struct out *o, const void *of, size_t i)
{
	put_string(o, ((const struct profile *)of)->names[i]);
}

static void one_stack(struct out *o, const void *of, size_t i)
{
	const struct profile *p = of;
	const struct profile_stack *s = &p->stacks[i];

	put(o, "{\"names\":[");
	for (size_t k = 0; k < s->n; k++) {
		put(o, k ? "," : "");
		put_number(o, p->frames[s->first + k]);
	}
	put(o, "],\"values\":[");
	for (size_t k = 0; k < p->n_types; k++) {
		put(o, k ? "," : "");
		put_number(o, s->values[k]);
	}
	put(o, "]}");
}

static void one_profile(struct out *o, const void *of, size_t i)
{
	const struct report_profile *rp = (const struct report_profile *)of + i;
	const struct profile *p = &rp->profile;

	put(o, "{\"label\":");
	put_string(o, rp->label);
	put_member(o, "default_type", (int64_t)p->default_type);
	put_key(o, "types");
	put_list(o, p->n_types, one_type, p);
	put_key(o, "names");
	put_list(o, p->n_names, one_name, p);
	put_key(o, "stacks");
	put_list(o, p->n_stacks, one_stack, p);
	put(o, "}");
}

/* ---- the page ---- */

static void one_file(struct out *o, const void *of, size_t i)
{
	put_string(o, ((const struct report *)of)->files[i]);
}

static int data_append(const struct report *r, struct buf *b)
{
	struct out o = {.b = b};

	put(&o, "{\"files\":");
	put_list(&o, r->n_files, one_file, r);
	put_key(&o, "traces");
	put_list(&o, r->n_traces, one_trace, r->traces);
	put_key(&o, "profiles");
	put_list(&o, r->n_profiles, one_profile, r->profiles);
	put(&o, "}");
	return o.error;
}

/* in with each byte of `special` replaced by its own text. */
static int replaced_append(struct buf *ret, const struct buf *in, const char *special,
			   const char *const *texts)
{
	size_t from = 0;
	int r = 0;

	for (size_t i = 0; i <= in->len && r >= 0; i++) {
		const char *hit = i < in->len && in->data[i] ? strchr(special, in->data[i]) : NULL;

		if (!hit && i < in->len)
			continue;
		if (i > from)
			r = buf_append(ret, in->data + from, i - from);
		if (hit && r >= 0)
			r = buf_append_str(ret, texts[hit - special]);
		from = i + 1;
	}
	return r;
}

int report_page(const struct report *r, struct buf *ret)
{
	static const char *const html[] = {"&amp;", "&lt;", "&gt;"}, *const json[] = {"\\u003c"};
	_cleanup_(buf_fini) struct buf text = BUF_INIT, data = BUF_INIT;
	int e = report_tables(r, &text);

	if (e >= 0)
		e = data_append(r, &data);
	if (e >= 0)
		e = buf_append(ret, page_begin, sizeof(page_begin) - 1);
	if (e >= 0)
		e = replaced_append(ret, &text, "&<>", html);
	if (e >= 0)
		e = buf_append(ret, page_middle, sizeof(page_middle) - 1);
	if (e >= 0)
		e = replaced_append(ret, &data, "<", json); /* "</script>" in a name ends nothing */
	return e < 0 ? e : buf_append(ret, page_end, sizeof(page_end) - 1);
}
