/* SPDX-License-Identifier: MIT */
/*
 * Whether a server that died gets a successor. Pure: what happened comes in, the clock too.
 *
 * One that was killed from outside after it had been serving always does; when that goes on for
 * long, a little later each time. One that crashes, or does not even come to serve, five times
 * within ten seconds would do so for ever: some request, or its cache, kills it.
 */
#ifndef MORSEL_FS_RESTART_H
#define MORSEL_FS_RESTART_H

#include "base/util.h"

#define RESTART_FAILURES_MAX 5
#define RESTART_WINDOW_NS (UINT64_C(10) * 1000000000)

struct restart {
	uint64_t failures[RESTART_FAILURES_MAX]; /* when the last ones were, a ring */
	unsigned n_failures;
	uint64_t last_ns;
	unsigned in_a_row; /* deaths less than a second after each other */
};

/* signal: what killed the server; served: it had taken the mount over. Returns how long to wait
 * before the next is started, in nanoseconds; -1: no more. */
int64_t restart_decide(struct restart *r, uint64_t now_ns, int signal, bool served);

#endif
