/* SPDX-License-Identifier: MIT */
/*
 * What each thread works on right now, for those who look at threads from outside: the samplers.
 *
 *   prof_thread_register("morsel-fuse");      at a worker's birth, or left to its first operation
 *   ...
 *   struct prof_scope scope;
 *   prof_op_begin(&scope, &(struct prof_op){.name = "read", .image = image, .layer = layer});
 *   ...                                       samples now carry op=read image=... layer=...
 *   prof_op_end(&scope);                      back to what it was before; scopes nest
 *
 * Work that goes on in another thread (a parked request, a job) copies prof_op_current() and begins
 * it there again.
 *
 * Names are strings that live as long as the process: literals, or prof_intern()'s. So a sampler
 * may look at them at any time, from a signal handler or from another thread, and sees old or new,
 * never something freed. Beginning and ending costs one load while nothing samples; an operation
 * that was begun before sampling started carries no labels.
 *
 * A registered thread is a worker: outside of operations it is idle, which is how the wall-clock
 * profile tells waiting for work from waiting for something. It does not need to unregister.
 *
 * Which names there are: FUSE requests by their lower-case name ("lookup", "readdir", "read"...),
 * what HTTP is asked for as "http.manifest", "http.token", "http.range_get", other background work
 * by its name ("prefetch", "index", "decode", "verify", "evict").
 */
#ifndef MORSEL_PROF_OP_H
#define MORSEL_PROF_OP_H

#include <stdatomic.h>
#include "base/util.h"

/* All members but name may be NULL or 0: unknown. */
struct prof_op {
	const char *name;
	const char *image;   /* the reference as the user gave it */
	const char *layer;   /* digest */
	const char *command; /* who asked, and as what process */
	uint32_t pid;
};

struct prof_scope {
	struct prof_op before;
	bool begun;
};

/* Who is interested just now: bits of enum prof_listener. */
extern _Atomic unsigned prof_listeners;
enum prof_listener { PROF_SAMPLERS = 1, PROF_TRACE = 2 };

static inline bool prof_listening(void)
{
	return atomic_load_explicit(&prof_listeners, memory_order_relaxed);
}

/* A thread that has a name, for the profile's thread label: <= 15 bytes, copied. Repeating it is
 * fine, and renames. Also gives the thread that name for ps and gdb. */
void prof_thread_register(const char *name);

/* The one string equal to s, for ever. For what is seen once a mount or a layer, not for what is
 * seen in each request; after 64 Ki of them it is "(more)". NULL stays NULL. Any thread. */
const char *prof_intern(const char *s);

/* Not to be called: the slow halves of the two below. */
void prof_op_enter(struct prof_scope *s, const struct prof_op *op);
void prof_op_leave(const struct prof_scope *s);

static inline void prof_op_begin(struct prof_scope *s, const struct prof_op *op)
{
	s->begun = prof_listening();
	if (s->begun)
		prof_op_enter(s, op);
}

static inline void prof_op_end(struct prof_scope *s)
{
	if (s->begun)
		prof_op_leave(s);
}

/* What this thread is at; all zero when it is at nothing. Async-signal-safe. */
void prof_op_current(struct prof_op *ret);

#endif
