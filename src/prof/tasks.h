/* SPDX-License-Identifier: MIT */
/*
 * The threads of this process as the sampler keeps an eye on them: found in /proc, with a timer on
 * the CPU clock of each. One thread, the sampler's own, which is not among them.
 */
#ifndef MORSEL_PROF_TASKS_H
#define MORSEL_PROF_TASKS_H

#include <time.h>
#include "prof/remote.h"
#include "prof/threads.h"

struct task {
	pid_t tid;
	bool seen;	  /* by the scan that is going on */
	unsigned age;	  /* scans */
	const char *name; /* interned */

	timer_t timer;
	bool timed;
	uint64_t unsampled_ns; /* CPU time it had used before it was found */

	/* Of the wall-clock sampler: the time up to `accounted` is accounted for. */
	uint64_t accounted_ns, cpu_ns; /* monotonic, and its CPU clock then */
	uint64_t owed_ns;	       /* off the CPU, but where is not known yet */
	int64_t blocked;	   /* the stack it was last seen blocked in; < 0 = it ran since */
	struct remote_where where; /* and where that was */
	bool asked;		   /* with a signal, which is time on its CPU too */
};

struct tasks {
	struct task *list; /* by tid */
	size_t n, cap;
	pid_t self;
	uint64_t period_ns;
	bool begun; /* threads found from now on are new */
	unsigned seed;
};

/* Looks for threads that came and went. -errno: /proc. */
int tasks_scan(struct tasks *t);
struct task *tasks_lookup(struct tasks *t, pid_t tid);
/* Its CPU clock in ns; false: it is gone. */
bool task_cpu_ns(const struct task *k, uint64_t *ret);
/* What it is at, and whether it is a worker, of which no operation means that it is idle. */
void task_op(const struct task *k, struct prof_op *ret, bool *ret_worker);
/* Deletes all timers. */
void tasks_fini(struct tasks *t);

#endif
