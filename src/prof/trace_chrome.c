/* SPDX-License-Identifier: MIT */
/*
 * Two "processes", the kernel's requests and HTTP, with as many "threads" as requests were under
 * way at once. A request is a slice with its phases inside; an arrow leads from an HTTP request to
 * the reads that waited for it.
 */
#include <stdio.h>

#include "prof/trace_write.h"

#define FUSE_PID 1
#define HTTP_PID 2

struct chrome {
	struct buf *b;
	const struct trace_model *m;
	const struct trace_names *names;
	int r; /* the first error */
};

static void put(struct chrome *c, const char *text)
{
	if (c->r >= 0)
		c->r = buf_append_str(c->b, text);
}

static void put_text(struct chrome *c, const char *key, const char *text)
{
	put(c, ",\"");
	put(c, key);
	put(c, "\":");
	if (c->r >= 0)
		c->r = json_text_append(c->b, text);
}

static void put_number(struct chrome *c, const char *key, uint64_t n)
{
	if (c->r >= 0)
		c->r = buf_printf(c->b, ",\"%s\":%llu", key, (unsigned long long)n);
}

/* Microseconds since the trace began. */
static void put_time(struct chrome *c, const char *key, uint64_t ns)
{
	if (c->r >= 0)
		c->r = buf_printf(c->b, ",\"%s\":%llu.%03llu", key, (unsigned long long)(ns / 1000),
				  (unsigned long long)(ns % 1000));
}

static uint64_t since_begin(const struct chrome *c, uint64_t at)
{
	return at > c->m->log->begin_ns ? at - c->m->log->begin_ns : 0;
}

static void put_start(struct chrome *c, char ph, const struct trace_request *rq, uint32_t lane,
		      uint64_t at)
{
	if (c->r >= 0)
		c->r = buf_printf(c->b, "{\"ph\":\"%c\",\"pid\":%d,\"tid\":%u", ph,
				  rq->e->kind == TRACE_HTTP ? HTTP_PID : FUSE_PID, lane + 1);
	put_time(c, "ts", since_begin(c, at));
}

static void fuse_args(struct chrome *c, const struct trace_request *rq)
{
	const struct trace_event *e = rq->e;
	struct process p;

	c->names->process(c->names->userdata, e->fuse.process, &p);
	put_number(c, "pid", p.pid);
	put_text(c, "command", p.command);
	if (!trace_request_is_read(rq))
		return;
	put_number(c, "offset", e->fuse.off);
	put_number(c, "length", e->fuse.delivered);
	put_text(c, "source", trace_source_name(rq->source));
}

static void args_put(struct chrome *c, const struct trace_request *rq)
{
	_cleanup_(buf_fini) struct buf target = BUF_INIT;

	put(c, ",\"args\":{\"id\":");
	if (c->r >= 0)
		c->r = buf_printf(c->b, "%llu", (unsigned long long)rq->e->id);
	if (c->r >= 0)
		c->r = trace_request_target(rq, c->names, &target);
	put_text(c, rq->e->kind == TRACE_HTTP ? "request" : "path",
		 buf_str(&target) ? buf_str(&target) : "");
	if (rq->layer[0])
		put_text(c, "layer", rq->layer);
	if (rq->flight)
		put_number(c, "flight", rq->flight->id);
	if (rq->e->kind == TRACE_HTTP)
		put_number(c, "status", rq->e->code);
	else
		fuse_args(c, rq);
	put(c, "}},\n");
}

/* Where the arrow of its flight begins, or ends. */
static void arrow_put(struct chrome *c, const struct trace_request *rq, uint32_t lane)
{
	bool ends = rq->e->kind == TRACE_FUSE;

	if (!rq->flight)
		return;
	put_start(c, ends ? 'f' : 's', rq, lane, rq->e->end);
	put_number(c, "id", rq->flight->id);
	put(c, ",\"name\":\"flight\",\"cat\":\"flight\"");
	put(c, ends ? ",\"bp\":\"e\"},\n" : "},\n");
}

static void request_put(struct chrome *c, const struct trace_request *rq, uint32_t lane)
{
	char name[64];

	trace_request_name(rq, name, sizeof(name));
	put_start(c, 'X', rq, lane, rq->e->start);
	put_time(c, "dur", rq->e->end - rq->e->start);
	put_text(c, "name", name);
	put(c, ",\"cat\":\"request\"");
	args_put(c, rq);
	for (size_t i = 0; i < rq->n_segments; i++) {
		const struct trace_segment *s = &rq->segments[i];

		put_start(c, 'X', rq, lane, s->start);
		put_time(c, "dur", s->end - s->start);
		put_text(c, "name", trace_phase_name(s->phase));
		put(c, ",\"cat\":\"phase\"},\n");
	}
	arrow_put(c, rq, lane);
}

static void process_put(struct chrome *c, int pid, const char *name)
{
	if (c->r >= 0)
		c->r = buf_printf(c->b,
				  "{\"ph\":\"M\",\"pid\":%d,\"name\":\"process_name\",\"args\":{"
				  "\"name\":\"%s\"}}",
				  pid, name);
}

int trace_write_chrome(const struct trace_model *m, const struct trace_names *names,
		       struct buf *ret)
{
	struct chrome c = {.b = ret, .m = m, .names = names};
	_cleanup_(freep) uint32_t *lanes = NULL;
	uint32_t n;

	c.r = trace_lanes(m, &lanes, &n);
	put(&c, "{\"displayTimeUnit\":\"ms\",\"otherData\":{\"tool\":\"morsel\"");
	put_number(&c, "lost_events", m->log->lost);
	put(&c, "},\"traceEvents\":[\n");
	for (size_t i = 0; i < m->n && c.r >= 0; i++)
		request_put(&c, &m->requests[i], lanes[i]);
	process_put(&c, FUSE_PID, "requests of the kernel");
	put(&c, ",\n");
	process_put(&c, HTTP_PID, "HTTP");
	put(&c, "\n]}\n");
	return c.r;
}
