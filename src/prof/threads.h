/* SPDX-License-Identifier: MIT */
/*
 * The samplers' side of op.h: the list of threads that registered, and what each is at. Records are
 * never freed, only used again, so that whoever has a pointer to one may always look.
 */
#ifndef MORSEL_PROF_THREADS_H
#define MORSEL_PROF_THREADS_H

#include <sys/types.h>
#include "prof/op.h"

struct prof_thread {
	struct prof_thread *next;   /* all that ever were; set before the record is seen */
	_Atomic pid_t tid;	    /* 0 = free to be used again */
	_Atomic(const char *) name; /* NULL = never registered */
	_Atomic bool worker;	    /* has called prof_thread_register() */

	/* The operation: odd while its thread changes it. */
	_Atomic uint32_t sequence;
	_Atomic(const char *) op, image, layer, command;
	_Atomic uint32_t pid;
};

/* The first record; follow next. */
struct prof_thread *prof_threads(void);
/* This thread's record, NULL if it has none. Async-signal-safe. */
struct prof_thread *prof_thread_self(void);
/* This thread's record, made if need be; NULL = no memory. Not in signal handlers. */
struct prof_thread *prof_thread_get(void);
/* What that thread is at; false: it was changing just then, or is at nothing. Async-signal-safe. */
bool prof_thread_op(struct prof_thread *t, struct prof_op *ret);

#endif
