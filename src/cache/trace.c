/* SPDX-License-Identifier: MIT */
/* Flights in the trace: what they are for, which part of a layer they bring, who waits for them. */
#include "cache/reader_impl.h"
#include "prof/processes.h"

static enum trace_flight kind_of(const struct flight *f)
{
	if (f->kind == FLIGHT_VERIFY)
		return TRACE_CHECK;
	return f->why == WHY_DEMAND	? TRACE_FETCH
	       : f->why == WHY_PREFETCH ? TRACE_PREFETCH
					: TRACE_READAHEAD;
}

void flight_trace_begin(struct flight *f)
{
	f->task.who = trace_task.who;
	f->trace_start = trace_begin();
	f->task.id = f->trace_start ? trace_new_id() : 0;
}

void flight_trace_wait(const struct flight *f, const struct parked *p)
{
	struct trace_event e = {.id = p->task.id, .kind = TRACE_WAIT, .wait.flight = f->task.id};

	if (!e.id || !e.wait.flight)
		return;
	e.start = e.end = trace_ticks();
	trace_emit(&e);
}

void parked_trace_end(const struct parked *p, uint64_t waited_ns)
{
	struct trace_event e = {.id = p->task.id, .kind = TRACE_WAIT, .wait.ns = waited_ns};

	if (!e.id || !trace_on())
		return;
	e.start = e.end = trace_ticks();
	trace_emit(&e);
}

void flight_trace_end(const struct flight *f)
{
	const struct layer_index *ix = f->ls->index;
	struct trace_event e = {.start = f->trace_start,
				.id = f->task.id,
				.kind = TRACE_FLIGHT,
				.code = (uint16_t)kind_of(f)};
	uint64_t from = f->chunk_first, to = f->chunk_last + 1;

	if (!trace_on())
		return;
	if (!e.id) { /* it was under way when the trace began: that it ended is known */
		e.id = trace_new_id();
		e.start = trace_ticks();
	}
	if (f->kind == FLIGHT_FETCH) {
		layer_chunks_in_spans(ix, f->first, f->last, &from, &to);
		e.flight.bytes = (uint32_t)min_u64(
			ix->spans[f->last].in_end - ix->spans[f->first].in_off, UINT32_MAX);
	}
	e.image = f->r->access ? access_id(f->r->access) : 0;
	e.flight.layer = (uint32_t)(f->ls - f->r->layers);
	if (from < to) {
		e.flight.dev_off = ix->chunks[from].dev_off;
		e.flight.dev_end = ix->chunks[to - 1].dev_off + ix->chunks[to - 1].len;
	}
	e.flight.run = f->trace_run ? f->trace_run : e.start;
	e.end = trace_ticks();
	trace_emit(&e);
}

/* What somebody waits for is part of his read; what is brought before that has a name of its own.
 */
static void op_begin(const struct flight *f, struct prof_scope *scope)
{
	static const char *const names[] = {[TRACE_FETCH] = "read",
					    [TRACE_READAHEAD] = "readahead",
					    [TRACE_PREFETCH] = "prefetch",
					    [TRACE_CHECK] = "verify"};
	struct prof_op op = {
		.name = names[kind_of(f)], .image = f->r->label, .layer = f->ls->label};
	struct process p;

	if (prof_listening() && f->task.who) {
		process_get(f->task.who->process, &p);
		op.command = prof_intern(p.command);
		op.pid = p.pid;
	}
	prof_op_begin(scope, &op);
}

void flight_work_begin(struct flight *f, struct flight_work *w)
{
	w->before = trace_task_set(f->task);
	f->trace_run = trace_begin();
	op_begin(f, &w->op);
}

void flight_work_end(struct flight_work *w)
{
	prof_op_end(&w->op);
	trace_task_set(w->before);
}
