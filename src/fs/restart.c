/* SPDX-License-Identifier: MIT */
#include "fs/restart.h"

#include <signal.h>

#define QUICK_NS UINT64_C(1000000000)
#define PATIENCE 20 /* quick deaths in a row that are not answered by waiting */
#define WAIT_STEP_NS (INT64_C(50) * 1000000)
#define WAIT_STEPS_MAX 10

int64_t restart_decide(struct restart *r, uint64_t now_ns, int signal, bool served)
{
	unsigned beyond;

	if (signal != SIGKILL || !served) {
		uint64_t *oldest = &r->failures[r->n_failures++ % RESTART_FAILURES_MAX];

		*oldest = now_ns;
		oldest = &r->failures[r->n_failures % RESTART_FAILURES_MAX];
		if (r->n_failures >= RESTART_FAILURES_MAX && now_ns - *oldest < RESTART_WINDOW_NS)
			return -1;
	}
	r->in_a_row = r->last_ns && now_ns - r->last_ns < QUICK_NS ? r->in_a_row + 1 : 1;
	r->last_ns = now_ns;
	beyond = r->in_a_row > PATIENCE ? r->in_a_row - PATIENCE : 0;
	return WAIT_STEP_NS * (beyond < WAIT_STEPS_MAX ? beyond : WAIT_STEPS_MAX);
}
