/* SPDX-License-Identifier: MIT */
/*
 * Where signal handlers leave stacks, and the sampler's thread takes them from: preallocated slots
 * that are claimed without a lock. When all are taken a sample is counted as lost; nobody waits.
 */
#ifndef MORSEL_PROF_RING_H
#define MORSEL_PROF_RING_H

#include "prof/op.h"
#include "prof/backtrace.h"

enum ring_reason {
	RING_CPU,   /* the thread's CPU clock said so */
	RING_ASKED, /* the sampler asked it with a signal */
};

struct ring_sample {
	_Atomic unsigned state;
	pid_t tid;
	enum ring_reason reason;
	uint32_t weight; /* periods it stands for */
	struct prof_op op;
	size_t n;
	uintptr_t pcs[PROF_DEPTH];
};

struct ring {
	_Atomic uint64_t lost; /* periods */
	_Atomic uint32_t next; /* where to look for a free slot */
	struct ring_sample slots[1024];
};

/* Both async-signal-safe. take: NULL = full, and the weight is lost. */
struct ring_sample *ring_claim(struct ring *r, uint32_t weight);
void ring_ready(struct ring_sample *s);
/* One taker: calls f for each sample that is ready, and frees its slot. */
void ring_drain(struct ring *r, void (*f)(const struct ring_sample *s, void *arg), void *arg);

#endif
