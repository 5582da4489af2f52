/* SPDX-License-Identifier: MIT */
/*
 * One task's time, cut into segments of one phase each: marks say when something begins and ends,
 * and between two marks the most specific of what is under way counts. Pure; one thread at a time.
 * Knows no events (trace_model.h does) and names nothing.
 */
#ifndef MORSEL_PROF_TRACE_SWEEP_H
#define MORSEL_PROF_TRACE_SWEEP_H

#include "prof/trace_model.h"

/* What can be under way in a task, the most specific last. But for the first they stand for the
 * phases, in their order. */
enum slot {
	SLOT_ASKED, /* a blob was being read, no matter how */
	SLOT_QUEUE,
	SLOT_CONNECT,
	SLOT_FIRST_BYTE,
	SLOT_TRANSFER,
	SLOT_DECOMPRESS,
	SLOT_VERIFY,
	SLOT_CACHE,
	SLOTS
};

/* What counts while nothing is known: the queue before known_from, then our own work. */
struct gaps {
	uint64_t queue_until;
	enum trace_phase asked; /* what SLOT_ASKED stands for */
};

struct mark {
	uint64_t at;
	int delta;
	enum slot slot;
};

struct sweep {
	struct trace_segment *segments; /* of all tasks so far; they move */
	size_t n_segments, cap_segments;
	struct mark *marks; /* of the task to be swept */
	size_t n_marks, cap_marks;
	bool failed; /* no memory: looked at in the end */
};

struct slice { /* of the segments */
	size_t first, n;
};

/* Notes that slot is under way from start to end. */
void sweep_mark(struct sweep *t, enum slot slot, uint64_t start, uint64_t end);
/* Makes segments that cover [start, end) of the marks, and forgets them. */
struct slice sweep_run(struct sweep *t, uint64_t start, uint64_t end, const struct gaps *g);
void sweep_fini(struct sweep *t);

#endif
