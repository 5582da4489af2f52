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

/* ---- texts ---- */

static int key(struct buf *b, const char *name)
{
	return buf_printf(b, ",\"%s\":", name);
}

static int text_append(struct buf *b, const void *bytes, size_t len)
{
	_cleanup_(freep) char *s = strndup(bytes ? bytes : "", len);

	return s ? json_text_append(b, s) : -ENOMEM;
}

static int intern_append(struct buf *b, const char *name, const struct intern *t)
{
	int r = key(b, name);

	for (size_t i = 0; i < t->n && r >= 0; i++) {
		size_t len;
		const char *s = intern_get(t, i, &len);

		r = buf_append_str(b, i ? "," : "[");
		if (r >= 0)
			r = text_append(b, s, len);
	}
	return r < 0 ? r : buf_append_str(b, t->n ? "]" : "[]");
}

static int processes_append(struct buf *b, const struct intern *t)
{
	int r = key(b, "processes");

	for (size_t i = 0; i < t->n && r >= 0; i++) {
		size_t len;
		const struct access_process *p = intern_get(t, i, &len);

		r = buf_printf(b, "%s{\"pid\":%u,\"command\":", i ? "," : "[", p->pid);
		if (r >= 0)
			r = json_text_append(b, p->command);
		if (r >= 0)
			r = buf_append_str(b, "}");
	}
	return r < 0 ? r : buf_append_str(b, t->n ? "]" : "[]");
}

/* ---- columns ---- */

/* ,"name":[f(0),f(1),...] for an expression of i */
#define COLUMN(b, name, n, expression)                                                             \
	({                                                                                         \
		int column_ = key((b), (name));                                                    \
		for (size_t i = 0; i < (n) && column_ >= 0; i++)                                   \
			column_ =                                                                  \
				buf_printf((b), "%s%lld", i ? "," : "[", (long long)(expression)); \
		column_ < 0 ? column_ : buf_append_str((b), (n) ? "]" : "[]");                     \
	})

static int reads_append(struct buf *b, const struct access_log *log, int64_t begin_ns)
{
	const struct access_read *rd = log->reads;
	size_t n = min_u64(log->n_reads, READS_SHOWN);
	int r = buf_printf(b, ",\"reads\":{\"left_out\":%zu", log->n_reads - n);

	if (r >= 0)
		r = COLUMN(b, "time", n, (rd[i].time_ns - begin_ns) / 1000);
	if (r >= 0)
		r = COLUMN(b, "wait", n, rd[i].waited ? rd[i].duration_ns / 1000 : 0);
	if (r >= 0)
		r = COLUMN(b, "process", n, rd[i].process);
	if (r >= 0)
		r = COLUMN(b, "path", n, rd[i].path);
	if (r >= 0)
		r = COLUMN(b, "offset", n, rd[i].offset);
	if (r >= 0)
		r = COLUMN(b, "length", n, rd[i].length);
	if (r >= 0)
		r = COLUMN(b, "layer", n, rd[i].layer);
	if (r >= 0)
		r = COLUMN(b, "source", n, rd[i].source);
	if (r >= 0)
		r = COLUMN(b, "device", n,
			   rd[i].device == ACCESS_NOWHERE ? -1 : (int64_t)rd[i].device);
	if (r >= 0)
		r = buf_append_str(b, ",\"phases\":[");
	for (int p = 0; p < TRACE_PHASES && r >= 0; p++) {
		r = buf_append_str(b, p ? ",[" : "[");
		for (size_t i = 0; i < n && r >= 0; i++)
			r = buf_printf(b, "%s%lld", i ? "," : "",
				       (long long)(rd[i].phases_ns[p] / 1000));
		if (r >= 0)
			r = buf_append_str(b, "]");
	}
	return r < 0 ? r : buf_append_str(b, "]}");
}

static int fetches_append(struct buf *b, const struct access_log *log, int64_t begin_ns)
{
	const struct access_fetch *f = log->fetches;
	size_t n = min_u64(log->n_fetches, READS_SHOWN);
	int r = buf_printf(b, ",\"fetches\":{\"left_out\":%zu", log->n_fetches - n);

	if (r >= 0)
		r = COLUMN(b, "time", n, (f[i].time_ns - begin_ns) / 1000);
	if (r >= 0)
		r = COLUMN(b, "duration", n, f[i].duration_ns / 1000);
	if (r >= 0)
		r = COLUMN(b, "layer", n, f[i].layer);
	if (r >= 0)
		r = COLUMN(b, "why", n, f[i].why);
	if (r >= 0)
		r = COLUMN(b, "device", n, f[i].device);
	if (r >= 0)
		r = COLUMN(b, "length", n, f[i].length);
	if (r >= 0)
		r = COLUMN(b, "bytes", n, f[i].bytes);
	return r < 0 ? r : buf_append_str(b, "}");
}

/* Every layer that was read or fetched from, with how far its device is known to reach. */
static int layers_append(struct buf *b, const struct access_log *log)
{
	_cleanup_(freep) uint64_t *ends = calloc(log->texts.n + 1, sizeof(*ends));
	_cleanup_(freep) bool *is_layer = calloc(log->texts.n + 1, sizeof(*is_layer));
	const char *comma = "";
	int r = key(b, "layers");

	if (!ends || !is_layer)
		return -ENOMEM;
	for (size_t i = 0; i < log->n_reads; i++) {
		const struct access_read *rd = &log->reads[i];

		is_layer[rd->layer] = true;
		if (rd->device != ACCESS_NOWHERE)
			ends[rd->layer] = max_u64(ends[rd->layer], rd->device + rd->length);
	}
	for (size_t i = 0; i < log->n_fetches; i++) {
		const struct access_fetch *f = &log->fetches[i];

		is_layer[f->layer] = true;
		ends[f->layer] = max_u64(ends[f->layer], f->device + f->length);
	}
	if (r >= 0)
		r = buf_append_str(b, "[");
	for (size_t i = 0; i < log->texts.n && r >= 0; i++)
		if (is_layer[i]) {
			r = buf_printf(b, "%s{\"key\":%zu,\"size\":%llu}", comma, i,
				       (unsigned long long)ends[i]);
			comma = ",";
		}
	return r < 0 ? r : buf_append_str(b, "]");
}

static int phases_append(struct buf *b)
{
	int r = key(b, "phases");

	for (int p = 0; p < TRACE_PHASES && r >= 0; p++)
		r = buf_printf(b, "%s\"%s\"", p ? "," : "[", trace_phase_name((enum trace_phase)p));
	return r < 0 ? r : buf_append_str(b, "]");
}

static int trace_append(struct buf *b, const struct report_trace *t)
{
	const struct access_log *log = &t->log;
	struct report_totals sum;
	int r = buf_append_str(b, "{\"label\":");

	report_totals(log, &sum);
	if (r >= 0)
		r = json_text_append(b, t->label);
	if (r >= 0)
		r = buf_printf(
			b,
			",\"totals\":{\"reads\":%llu,\"bytes\":%llu,\"waits\":%llu,"
			"\"wait_ns\":%llu,\"fetches\":%llu,\"fetched\":%llu,\"span_ns\":%lld}",
			(unsigned long long)sum.reads, (unsigned long long)sum.bytes,
			(unsigned long long)sum.waits, (unsigned long long)sum.wait_ns,
			(unsigned long long)sum.fetches, (unsigned long long)sum.fetched_bytes,
			(long long)(sum.end_ns - sum.begin_ns));
	if (r >= 0)
		r = phases_append(b);
	if (r >= 0)
		r = intern_append(b, "paths", &log->paths);
	if (r >= 0)
		r = intern_append(b, "texts", &log->texts);
	if (r >= 0)
		r = processes_append(b, &log->processes);
	if (r >= 0)
		r = layers_append(b, log);
	if (r >= 0)
		r = reads_append(b, log, sum.begin_ns);
	if (r >= 0)
		r = fetches_append(b, log, sum.begin_ns);
	return r < 0 ? r : buf_append_str(b, "}");
}

/* ---- profiles ---- */

static int stack_append(struct buf *b, const struct profile *p, const struct profile_stack *s)
{
	int r = buf_append_str(b, "{\"names\":[");

	for (size_t k = 0; k < s->n && r >= 0; k++)
		r = buf_printf(b, "%s%u", k ? "," : "", p->frames[s->first + k]);
	if (r >= 0)
		r = buf_append_str(b, "],\"values\":[");
	for (size_t k = 0; k < p->n_types && r >= 0; k++)
		r = buf_printf(b, "%s%lld", k ? "," : "", (long long)s->values[k]);
	return r < 0 ? r : buf_append_str(b, "]}");
}

static int profile_append(struct buf *b, const struct report_profile *rp)
{
	const struct profile *p = &rp->profile;
	int r = buf_append_str(b, "{\"label\":");

	if (r >= 0)
		r = json_text_append(b, rp->label);
	if (r >= 0)
		r = buf_printf(b, ",\"default_type\":%zu,\"types\":[", p->default_type);
	for (size_t i = 0; i < p->n_types && r >= 0; i++) {
		r = buf_append_str(b, i ? ",{\"type\":" : "{\"type\":");
		if (r >= 0)
			r = json_text_append(b, p->types[i].type);
		if (r >= 0)
			r = buf_append_str(b, ",\"unit\":");
		if (r >= 0)
			r = json_text_append(b, p->types[i].unit);
		if (r >= 0)
			r = buf_append_str(b, "}");
	}
	if (r >= 0)
		r = buf_append_str(b, "],\"names\":[");
	for (size_t i = 0; i < p->n_names && r >= 0; i++) {
		r = buf_append_str(b, i ? "," : "");
		if (r >= 0)
			r = json_text_append(b, p->names[i]);
	}
	if (r >= 0)
		r = buf_append_str(b, "],\"stacks\":[");
	for (size_t i = 0; i < p->n_stacks && r >= 0; i++) {
		r = buf_append_str(b, i ? "," : "");
		if (r >= 0)
			r = stack_append(b, p, &p->stacks[i]);
	}
	return r < 0 ? r : buf_append_str(b, "]}");
}

/* ---- the page ---- */

static int data_append(const struct report *r, struct buf *b)
{
	int e = buf_append_str(b, "{\"files\":[");

	for (size_t i = 0; i < r->n_files && e >= 0; i++) {
		e = buf_append_str(b, i ? "," : "");
		if (e >= 0)
			e = json_text_append(b, r->files[i]);
	}
	if (e >= 0)
		e = buf_append_str(b, "],\"traces\":[");
	for (size_t i = 0; i < r->n_traces && e >= 0; i++) {
		e = buf_append_str(b, i ? "," : "");
		if (e >= 0)
			e = trace_append(b, &r->traces[i]);
	}
	if (e >= 0)
		e = buf_append_str(b, "],\"profiles\":[");
	for (size_t i = 0; i < r->n_profiles && e >= 0; i++) {
		e = buf_append_str(b, i ? "," : "");
		if (e >= 0)
			e = profile_append(b, &r->profiles[i]);
	}
	return e < 0 ? e : buf_append_str(b, "]}");
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
	int e = report_text(r, &text);

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
