/* SPDX-License-Identifier: MIT */
#include "prof/trace_write.h"

#include <errno.h>
#include <stdio.h>

#include "base/utf8.h"

int json_text_append(struct buf *b, const char *text)
{
	const uint8_t *s = (const uint8_t *)text;
	int r = buf_append(b, "\"", 1);

	while (r >= 0 && *s) {
		size_t n = utf8_length(s, SIZE_MAX);

		if (!n)
			r = buf_printf(b, "\\\\x%02x", *s);
		else if (*s == '"' || *s == '\\')
			r = buf_printf(b, "\\%c", *s);
		else if (*s < 0x20 || *s == 0x7f)
			r = buf_printf(b, "\\u%04x", *s);
		else
			r = buf_append(b, s, n);
		s += n ? n : 1;
	}
	return r < 0 ? r : buf_append(b, "\"", 1);
}

int trace_request_target(const struct trace_request *rq, const struct trace_names *names,
			 struct buf *ret)
{
	const char *path;

	if (rq->e->kind == TRACE_HTTP)
		return buf_append_str(ret, rq->text);
	path = names->path(names->userdata, rq->e->image, rq->e->fuse.ino);
	if (!rq->text[0])
		return buf_append_str(ret, path);
	return buf_printf(ret, "%s/%s", strcmp(path, "/") ? path : "", rq->text);
}

/* Names that are no text can be had exactly all the same. */
static int path_append(struct buf *b, const char *path)
{
	int r = buf_append_str(b, ",\"path\":");

	if (r >= 0)
		r = json_text_append(b, path);
	if (r < 0 || utf8_is_text(path))
		return r;
	r = buf_append_str(b, ",\"path_hex\":\"");
	for (; r >= 0 && *path; path++)
		r = buf_printf(b, "%02x", (uint8_t)*path);
	return r < 0 ? r : buf_append(b, "\"", 1);
}

static int phases_append(struct buf *b, const struct trace_request *rq)
{
	uint64_t phases[TRACE_PHASES];
	const char *comma = "";
	int r = buf_append_str(b, ",\"phases\":{");

	trace_request_phases(rq, phases);
	for (int i = 0; i < TRACE_PHASES && r >= 0; i++) {
		if (!phases[i])
			continue;
		r = buf_printf(b, "%s\"%s\":%llu", comma, trace_phase_name((enum trace_phase)i),
			       (unsigned long long)phases[i]);
		comma = ",";
	}
	return r < 0 ? r : buf_append_str(b, "}}\n");
}

static int time_append(struct buf *b, const struct trace_model *m, const struct trace_event *e)
{
	int64_t ns = (int64_t)e->start + m->log->realtime_ns;

	return buf_printf(b, "\"time\":%lld.%09lld", (long long)(ns / 1000000000),
			  (long long)(ns % 1000000000));
}

/* Where the read's first byte is on its layer's device. */
static int device_append(struct buf *b, const struct trace_event *e,
			 const struct trace_names *names)
{
	uint32_t layer;
	uint64_t device;

	if (!names->where(names->userdata, e->image, e->fuse.ino, e->fuse.off, &layer, &device))
		return 0;
	return buf_printf(b, ",\"device\":%llu", (unsigned long long)device);
}

static int read_append(const struct trace_model *m, const struct trace_request *rq,
		       const struct trace_names *names, struct buf *b)
{
	const struct trace_event *e = rq->e;
	struct process p;
	int r = buf_append_str(b, "{");

	names->process(names->userdata, e->fuse.process, &p);
	if (r >= 0)
		r = time_append(b, m, e);
	if (r >= 0)
		r = buf_printf(b, ",\"pid\":%u,\"command\":", p.pid);
	if (r >= 0)
		r = json_text_append(b, p.command);
	if (r >= 0)
		r = path_append(b, names->path(names->userdata, e->image, e->fuse.ino));
	if (r >= 0)
		r = buf_printf(b, ",\"offset\":%llu,\"length\":%u,\"layer\":",
			       (unsigned long long)e->fuse.off, e->fuse.delivered);
	if (r >= 0)
		r = json_text_append(b, rq->layer);
	if (r >= 0)
		r = device_append(b, e, names);
	if (r >= 0)
		r = buf_printf(b, ",\"source\":\"%s\",\"duration_ns\":%llu",
			       trace_source_name(rq->source),
			       (unsigned long long)(e->end - e->start));
	if (r >= 0 && rq->flight)
		r = buf_printf(b, ",\"flight\":%llu", (unsigned long long)rq->flight->id);
	if (r >= 0 && rq->wait_ns)
		r = buf_printf(b, ",\"wait_ns\":%llu", (unsigned long long)rq->wait_ns);
	return r < 0 ? r : phases_append(b, rq);
}

int trace_write_jsonl(const struct trace_model *m, const struct trace_names *names, struct buf *ret)
{
	int r = 0;

	for (size_t i = 0; i < m->n && r >= 0; i++)
		if (trace_request_is_read(&m->requests[i]))
			r = read_append(m, &m->requests[i], names, ret);
	return r;
}

static int fetch_append(const struct trace_model *m, const struct trace_event *e,
			const struct trace_names *names, struct buf *b)
{
	static const char *const why[] = {[TRACE_FETCH] = "read",
					  [TRACE_READAHEAD] = "readahead",
					  [TRACE_PREFETCH] = "prefetch"};
	int r = buf_printf(b, "{\"fetch\":\"%s\",", why[e->code]);

	if (r >= 0)
		r = time_append(b, m, e);
	if (r >= 0)
		r = buf_printf(b, ",\"duration_ns\":%llu,\"flight\":%llu,\"layer\":",
			       (unsigned long long)(e->end - e->start), (unsigned long long)e->id);
	if (r >= 0)
		r = json_text_append(b, names->layer(names->userdata, e->image, e->flight.layer));
	return r < 0 ? r
		     : buf_printf(b, ",\"device\":%llu,\"length\":%llu,\"bytes\":%u}\n",
				  (unsigned long long)e->flight.dev_off,
				  (unsigned long long)(e->flight.dev_end - e->flight.dev_off),
				  e->flight.bytes);
}

static int by_start(const void *a, const void *b)
{
	const struct trace_event *x = *(const struct trace_event *const *)a;
	const struct trace_event *y = *(const struct trace_event *const *)b;

	return (x->start > y->start) - (x->start < y->start);
}

int trace_write_fetches(const struct trace_model *m, const struct trace_names *names,
			struct buf *ret)
{
	_cleanup_(freep) const struct trace_event **flights = NULL;
	size_t n = 0;
	int r = 0;

	flights = calloc(m->log->n + 1, sizeof(*flights));
	if (!flights)
		return -ENOMEM;
	for (size_t i = 0; i < m->log->n; i++) {
		const struct trace_event *e = &m->log->events[i];

		if (e->kind == TRACE_FLIGHT && e->code < TRACE_CHECK &&
		    names->image(names->userdata, e->image))
			flights[n++] = e;
	}
	qsort(flights, n, sizeof(*flights), by_start);
	for (size_t i = 0; i < n && r >= 0; i++)
		r = fetch_append(m, flights[i], names, ret);
	return r;
}
