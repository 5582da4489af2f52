/* SPDX-License-Identifier: MIT */
/*
 * Work that waits without a thread: a parked request keeps no stack of its own, so no sampler would
 *see it. Whoever parks one says so, and the wall-clock profile has the time it waited under the
 *stack that parked it, with its operation's labels and state=parked.
 *
 *	w = prof_wait_begin();		NULL, at the cost of a load, while no wall-clock profile is
 *made
 *	...				any thread
 *	prof_wait_end(w);
 */
#ifndef MORSEL_PROF_WAIT_H
#define MORSEL_PROF_WAIT_H

#include "prof/op.h"
#include "prof/backtrace.h"

struct prof_wait {
	struct prof_wait *next, **at;
	uint64_t since_ns;
	struct prof_op op;
	size_t n;
	uintptr_t pcs[PROF_DEPTH];
};

/* Not to be called. */
struct prof_wait *wait_new(void);

/* For the calling thread's operation. */
static inline struct prof_wait *prof_wait_begin(void)
{
	return prof_listening() ? wait_new() : NULL;
}

/* Accepts NULL. Also after the profile that it was begun for has ended. */
void prof_wait_end(struct prof_wait *w);

/* ---- for the sampler ---- */

typedef void wait_fn(const struct prof_wait *w, uint64_t ns, void *arg);

void wait_on(void);
/* What ended since the last call. */
void wait_drain(wait_fn *f, void *arg);
/* The same, and what still waits, up to now. */
void wait_off(wait_fn *f, void *arg);

#endif
