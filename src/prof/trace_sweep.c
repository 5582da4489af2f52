/* SPDX-License-Identifier: MIT */
#include "prof/trace_sweep.h"

static bool grow(struct sweep *t, void *array, size_t n, size_t *cap, size_t size)
{
	size_t larger = *cap ? 2 * *cap : 1024;
	void *p;

	if (n < *cap)
		return true;
	p = reallocarray(*(void **)array, larger, size);
	if (!p) {
		t->failed = true;
		return false;
	}
	*(void **)array = p;
	*cap = larger;
	return true;
}

static void mark_one(struct sweep *t, uint64_t at, int delta, enum slot slot)
{
	if (grow(t, &t->marks, t->n_marks, &t->cap_marks, sizeof(*t->marks)))
		t->marks[t->n_marks++] = (struct mark){at, delta, slot};
}

void sweep_mark(struct sweep *t, enum slot slot, uint64_t start, uint64_t end)
{
	if (start >= end)
		return;
	mark_one(t, start, 1, slot);
	mark_one(t, end, -1, slot);
}

static int mark_compare(const void *x, const void *y)
{
	const struct mark *a = x, *b = y;

	return a->at < b->at ? -1 : a->at > b->at;
}

static void segment_add(struct sweep *t, size_t first, uint64_t start, uint64_t end,
			enum trace_phase phase)
{
	struct trace_segment *last = t->n_segments > first ? &t->segments[t->n_segments - 1] : NULL;

	if (start >= end)
		return;
	if (last && last->phase == phase)
		last->end = end;
	else if (grow(t, &t->segments, t->n_segments, &t->cap_segments, sizeof(*t->segments)))
		t->segments[t->n_segments++] = (struct trace_segment){start, end, phase};
}

static enum trace_phase phase_now(const int counts[static SLOTS], const struct gaps *g,
				  uint64_t from)
{
	for (int s = SLOTS - 1; s > SLOT_ASKED; s--)
		if (counts[s] > 0)
			return (enum trace_phase)(s - SLOT_QUEUE + (int)TRACE_QUEUE);
	if (counts[SLOT_ASKED] > 0)
		return g->asked;
	return from < g->queue_until ? TRACE_QUEUE : TRACE_CACHE;
}

struct slice sweep_run(struct sweep *t, uint64_t start, uint64_t end, const struct gaps *g)
{
	size_t first = t->n_segments;
	int counts[SLOTS] = {0};
	uint64_t at = start;

	if (g->queue_until > start && g->queue_until < end) /* so that a gap is cut there */
		mark_one(t, g->queue_until, 0, SLOT_ASKED);
	if (t->n_marks)
		qsort(t->marks, t->n_marks, sizeof(*t->marks), mark_compare);
	for (size_t i = 0; i < t->n_marks && at < end; i++) {
		uint64_t until = min_u64(t->marks[i].at, end);

		if (until > at) {
			segment_add(t, first, at, until, phase_now(counts, g, at));
			at = until;
		}
		counts[t->marks[i].slot] += t->marks[i].delta;
	}
	if (at < end)
		segment_add(t, first, at, end, phase_now(counts, g, at));
	t->n_marks = 0;
	return (struct slice){first, t->n_segments - first};
}

void sweep_fini(struct sweep *t)
{
	free(t->segments);
	free(t->marks);
	*t = (struct sweep){0};
}
