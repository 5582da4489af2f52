/* SPDX-License-Identifier: MIT */
/*
 * The two signals by which a thread is made to leave its own stack in a ring: SIGPROF from a timer
 * on its CPU clock, SIGURG (whose default is to do nothing) from the sampler. Handlers of others
 * stay in charge of signals that are not ours. Once installed ours stay for ever, as one that does
 * nothing: a late signal must not kill.
 */
#ifndef MORSEL_PROF_SIGNALS_H
#define MORSEL_PROF_SIGNALS_H

#include <time.h>
#include "prof/ring.h"

/* From now on stacks go to this ring, until signals_off(). -EBUSY: to another one already. */
int signals_on(struct ring *r);
/* Waits up to a second for handlers that still run; false: one still does, so the ring must stay.
 */
bool signals_off(void);

/* A timer of that thread's CPU clock, running: every period_ns of it a SIGPROF, the first one after
 * first_ns. -ESRCH, -EAGAIN. */
int signals_timer_start(pid_t tid, uint64_t first_ns, uint64_t period_ns, timer_t *ret);
/* Asks for its stack. */
int signals_ask(pid_t tid);
/* The clock of a thread of this process. */
clockid_t signals_cpu_clock(pid_t tid);

#endif
