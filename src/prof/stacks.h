/* SPDX-License-Identifier: MIT */
/*
 * What samplers saw: stacks with labels, each once, with how often and for how long. Becomes a
 * profile with two values, samples/count and the time. One thread at a time. Takes no samples
 * itself.
 */
#ifndef MORSEL_PROF_STACKS_H
#define MORSEL_PROF_STACKS_H

#include "prof/intern.h"
#include "prof/op.h"
#include "prof/pprof.h"
#include "prof/symbols.h"
#include "prof/backtrace.h"

/* Equal stacks are those whose bytes are, so no padding: all words. Strings are prof_intern()ed. */
struct stack {
	const char *op, *image, *layer, *command;
	const char *thread; /* its name */
	const char *state;  /* "running", "runnable", "waiting", "parked", "idle", "blocked" */
	const char *wchan;  /* what it waits in, by the kernel's name */
	uint64_t pid;	    /* who asked for the operation */
	uint64_t n;
	uintptr_t pcs[PROF_DEPTH]; /* addresses to look up; leaf first */
};

struct stacks {
	struct intern keys;
	uint64_t *ns; /* by number: the time */
};

void stack_set_op(struct stack *s, const struct prof_op *op);
/* The number of this stack; < 0 = no memory. */
int64_t stacks_id(struct stacks *t, const struct stack *s);
void stacks_add(struct stacks *t, int64_t id /* < 0: nothing is added */, uint64_t ns);
/* Writes all of it. A sample of a location counts as its time by period_ns, rounded, but once at
 * least. */
void stacks_write(const struct stacks *t, struct pprof *p, struct symbols *symbols,
		  uint64_t period_ns);
void stacks_fini(struct stacks *t);

#endif
