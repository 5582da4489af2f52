/* SPDX-License-Identifier: MIT */
/*
 * The stack of the calling thread by libgcc's unwinder, which takes no lock and allocates nothing.
 * Broken unwind tables (hand-written assembler) may fault it: between backtrace_guard_on() and
 * _off() such a fault ends the walk, and what was found so far counts.
 *
 * Addresses are made for looking up: of the innermost frame of an interrupted thread the very one,
 * of all others one less than where the call returns to.
 */
#ifndef MORSEL_PROF_BACKTRACE_H
#define MORSEL_PROF_BACKTRACE_H

#include "base/util.h"

#define PROF_DEPTH 120 /* frames that are kept, from the leaf */

/* Handlers for SIGSEGV and SIGBUS; faults that are not the unwinder's go to who had them before.
 * Also calls the unwinder once, for what it sets up lazily. -errno. */
int backtrace_guard_on(void);
void backtrace_guard_off(void);

/* From a signal handler: of what it interrupted. context: the handler's third argument. */
size_t backtrace_interrupted(void *context, uintptr_t pcs[static PROF_DEPTH]);
/* Of the caller, without the innermost `skip` frames (0: the function that calls this is the leaf).
 */
size_t backtrace_here(size_t skip, uintptr_t pcs[static PROF_DEPTH]);

#endif
