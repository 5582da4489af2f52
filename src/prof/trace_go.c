/* SPDX-License-Identifier: MIT */
/*
 * Go's execution trace, version 1 ("go 1.19 trace"), which Go's tools have read from 1.11 on. A
 * request is a goroutine, named by the one frame it was created with, and a user task; its phases
 * are regions. While it waits for others it is blocked: for the network, or (queue) for a
 * condition. Each lane of requests that don't overlap is a "P" with a batch of its own.
 *
 * Rules that the readers insist on: every region has a stack; a goroutine's create, unblock and
 * start are numbered from 0 and 1 up; who unblocks is what runs on that P, or nobody; strings are
 * not empty; times in a batch do not go back; all but strings stands in a batch (readers of 1.22
 * on).
 */
#include <stdio.h>

#include "base/seam.h"
#include "prof/intern.h"
#include "prof/trace_write.h"

enum go_event {
	GO_BATCH = 1,
	GO_FREQUENCY = 2,
	GO_STACK = 3,
	GO_MAXPROCS = 4,
	GO_PROC_START = 5,
	GO_CREATE = 13,
	GO_START = 14,
	GO_END = 15,
	GO_UNBLOCK = 21,
	GO_BLOCK_COND = 26,
	GO_BLOCK_NET = 27,
	GO_HEAP = 33,
	GO_STRING = 37,
	GO_TASK_CREATE = 45,
	GO_TASK_END = 46,
	GO_REGION = 47,
	GO_LOG = 48,
};

#define ARGS_MAX 8
#define LONG_ARGS 4 /* so many and more are preceded by their length */
#define LOG_VALUE_MAX 4096

struct go {
	struct buf *b;
	const struct trace_model *m;
	const struct trace_names *names;
	struct intern strings, stacks; /* ids are numbers + 1 */
	uint64_t last;		       /* time of the batch */
	uint64_t fetched;	       /* bytes, so far */
	int r;			       /* the first error */
};

static size_t varint(uint8_t *p, uint64_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		p[n++] = (uint8_t)(v | 0x80);
	p[n++] = (uint8_t)v;
	return n;
}

static void put_bytes(struct go *g, const void *data, size_t n)
{
	if (g->r >= 0)
		g->r = buf_append(g->b, data, n);
}

static void put_varint(struct go *g, uint64_t v)
{
	uint8_t bytes[10];

	put_bytes(g, bytes, varint(bytes, v));
}

static void put_event(struct go *g, enum go_event type, const uint64_t *args, size_t n)
{
	uint8_t bytes[ARGS_MAX * 10], head = (uint8_t)type;
	size_t len = 0;

	for (size_t i = 0; i < n; i++)
		len += varint(bytes + len, args[i]);
	head |= (uint8_t)(min_u64(n, LONG_ARGS) - 1) << 6;
	put_bytes(g, &head, 1);
	if (n >= LONG_ARGS)
		put_varint(g, len);
	put_bytes(g, bytes, len);
}
#define PUT(g, type, ...)                                                                          \
	put_event(g, type, (const uint64_t[]){__VA_ARGS__},                                        \
		  sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

/* Time since the last event of the batch: the first argument of most events. */
static uint64_t tick(struct go *g, uint64_t at)
{
	uint64_t since = at > g->m->log->begin_ns ? at - g->m->log->begin_ns : 0, delta;

	since = max_u64(since, g->last);
	delta = since - g->last;
	g->last = since;
	return delta;
}

/* ---- strings and stacks, written before they are first used ---- */

static uint64_t string_id(struct go *g, const char *text)
{
	size_t known = g->strings.n, len = strlen(text);
	int64_t id = len ? intern_id(&g->strings, text, len) : 0;
	uint8_t type = GO_STRING;

	if (id < 0)
		g->r = g->r < 0 ? g->r : (int)id;
	if (id < 0 || !len)
		return 0;
	if (g->strings.n > known) {
		put_bytes(g, &type, 1);
		put_varint(g, (uint64_t)id + 1);
		put_varint(g, len);
		put_bytes(g, text, len);
	}
	return (uint64_t)id + 1;
}

static uint64_t stack_id(struct go *g, const char *function)
{
	size_t known = g->stacks.n;
	int64_t id = intern_id(&g->stacks, function, strlen(function));

	if (id < 0) {
		g->r = g->r < 0 ? g->r : (int)id;
		return 0;
	}
	if (g->stacks.n > known)
		PUT(g, GO_STACK, (uint64_t)id + 1, 1, (uint64_t)id + 1, string_id(g, function),
		    string_id(g, "morsel"), 1);
	return (uint64_t)id + 1;
}

/* ---- requests ---- */

static void log_put(struct go *g, const struct trace_request *rq, uint64_t stack, const char *key,
		    const char *value)
{
	size_t len = min_u64(strlen(value), LOG_VALUE_MAX);
	uint64_t id = string_id(g, key);

	if (!len)
		return;
	PUT(g, GO_LOG, tick(g, rq->e->start), rq->e->id, id, stack);
	put_varint(g, len);
	put_bytes(g, value, len);
}

static void number_put(struct go *g, const struct trace_request *rq, uint64_t stack,
		       const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	log_put(g, rq, stack, key, text);
}

static void logs_put(struct go *g, const struct trace_request *rq, uint64_t stack)
{
	_cleanup_(buf_fini) struct buf target = BUF_INIT;
	const struct trace_event *e = rq->e;
	struct process p;

	if (g->r >= 0)
		g->r = trace_request_target(rq, g->names, &target);
	log_put(g, rq, stack, e->kind == TRACE_HTTP ? "request" : "path",
		buf_str(&target) ? buf_str(&target) : "");
	if (rq->layer[0])
		log_put(g, rq, stack, "layer", rq->layer);
	if (rq->flight)
		number_put(g, rq, stack, "flight", rq->flight->id);
	if (e->kind == TRACE_HTTP) {
		number_put(g, rq, stack, "status", e->code);
		return;
	}
	if (trace_request_is_read(rq)) {
		number_put(g, rq, stack, "offset", e->fuse.off);
		number_put(g, rq, stack, "length", e->fuse.delivered);
		log_put(g, rq, stack, "source", trace_source_name(rq->source));
	}
	g->names->process(g->names->userdata, e->fuse.process, &p);
	number_put(g, rq, stack, "pid", p.pid);
	log_put(g, rq, stack, "command", p.command);
}

static bool waits(enum trace_phase p)
{
	return p <= TRACE_TRANSFER;
}

/* The goroutine starts and ends each phase itself, and is blocked in between where it waits. */
static void segment_put(struct go *g, const struct trace_request *rq, const struct trace_segment *s,
			uint64_t *seq)
{
	uint64_t stack = stack_id(g, trace_phase_name(s->phase));
	uint64_t name = string_id(g, trace_phase_name(s->phase));

	PUT(g, GO_REGION, tick(g, s->start), rq->e->id, 0, name, stack);
	if (waits(s->phase)) {
		PUT(g, s->phase == TRACE_QUEUE ? GO_BLOCK_COND : GO_BLOCK_NET, tick(g, s->start),
		    stack);
		PUT(g, GO_UNBLOCK, tick(g, s->end), rq->e->id, (*seq)++, 0);
		PUT(g, GO_START, tick(g, s->end), rq->e->id, (*seq)++);
	}
	PUT(g, GO_REGION, tick(g, s->end), rq->e->id, 1, name, stack);
}

static void request_put(struct go *g, const struct trace_request *rq)
{
	const struct trace_event *e = rq->e;
	uint64_t stack, name_id, seq = 1;
	char name[64];

	trace_request_name(rq, name, sizeof(name));
	stack = stack_id(g, name);
	name_id = string_id(g, name);
	PUT(g, GO_CREATE, tick(g, e->start), e->id, stack, 0);
	PUT(g, GO_START, tick(g, e->start), e->id, seq++);
	PUT(g, GO_TASK_CREATE, tick(g, e->start), e->id, 0, name_id, stack);
	logs_put(g, rq, stack);
	for (size_t i = 0; i < rq->n_segments; i++)
		segment_put(g, rq, &rq->segments[i], &seq);
	if (e->kind == TRACE_HTTP) {
		g->fetched += (uint64_t)e->http.body_kib << 10;
		PUT(g, GO_HEAP, tick(g, e->end), g->fetched);
	}
	PUT(g, GO_TASK_END, tick(g, e->end), e->id, stack);
	PUT(g, GO_END, tick(g, e->end));
}

static void lane_put(struct go *g, const uint32_t *lanes, uint32_t lane, uint32_t n_lanes)
{
	PUT(g, GO_BATCH, lane, 0);
	g->last = 0;
	if (!lane) {
		PUT(g, GO_FREQUENCY, NS_PER_S);
		PUT(g, GO_MAXPROCS, 0, n_lanes, 0);
	}
	PUT(g, GO_PROC_START, 0, lane);
	for (size_t i = 0; i < g->m->n && g->r >= 0; i++)
		if (lanes[i] == lane)
			request_put(g, &g->m->requests[i]);
}

int trace_write_go(const struct trace_model *m, const struct trace_names *names, struct buf *ret)
{
	struct go g = {.b = ret, .m = m, .names = names};
	_cleanup_(freep) uint32_t *lanes = NULL;
	uint32_t n;

	g.r = trace_lanes(m, &lanes, &n);
	put_bytes(&g, "go 1.19 trace\0\0\0", 16);
	for (uint32_t k = 0; g.r >= 0 && k < max_u64(n, 1); k++)
		lane_put(&g, lanes, k, (uint32_t)max_u64(n, 1));
	intern_fini(&g.strings);
	intern_fini(&g.stacks);
	return g.r;
}
