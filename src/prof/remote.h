/* SPDX-License-Identifier: MIT */
/*
 * The stack of another thread of this process that is blocked in the kernel, without disturbing it:
 * where it stands is in /proc, its stack is read like another process's memory, and the unwind
 * tables do the rest. Whoever asks must make sure that the thread did not run meanwhile (its CPU
 * clock says so): it is not held.
 *
 * Frame pointers are not known from outside, so it ends early in code that was compiled to use
 * them.
 */
#ifndef MORSEL_PROF_REMOTE_H
#define MORSEL_PROF_REMOTE_H

#include <sys/types.h>
#include "prof/backtrace.h"

struct remote;

/* To be called by a thread, not by the program's first one. */
int remote_new(struct remote **ret);
void remote_free(struct remote *r);
DEFINE_CLEANUP(struct remote *, remote_free)

struct remote_where {
	uintptr_t pc, sp;
};

enum { REMOTE_RUNS = 1 /* it is not blocked */, REMOTE_CUT = 2 /* there are more frames */ };

/* Where it is blocked. 0, REMOTE_RUNS, -ESRCH and other errors of /proc. */
int remote_where(pid_t tid, struct remote_where *ret);
/* The frames from there, at least one. 0, REMOTE_CUT. */
int remote_stack(struct remote *r, pid_t tid, const struct remote_where *at,
		 uintptr_t pcs[static PROF_DEPTH], size_t *ret_n);
/* A line of a file in /proc/self/task/TID, without the newline. -errno. */
int remote_read(pid_t tid, const char *file, char *ret, size_t size);

#endif
