/* SPDX-License-Identifier: MIT */
/*
 * A pool of threads that run jobs. Two priorities: WORK_DEMAND (somebody waits) always starts
 * before WORK_IDLE (prefetch, verification ahead). Jobs may block. Threads are started on demand
 * up to the cap as thread_start() does. A job may submit jobs but must not wait for one.
 * There is no cancel: a job looks at its own flag.
 */
#ifndef MORSEL_BASE_WORK_H
#define MORSEL_BASE_WORK_H

#include "base/util.h"

enum work_prio { WORK_DEMAND, WORK_IDLE };

struct work_pool;

int work_pool_new(unsigned max_threads, const char *name /* of the threads, <= 15 bytes */,
		  struct work_pool **ret);
/* -ENOMEM, -EAGAIN (no thread could be started and none runs), -ESHUTDOWN. fn owns arg. */
int work_submit(struct work_pool *pool, enum work_prio prio, void (*fn)(void *arg), void *arg);
/* Runs what is queued, then ends the threads and frees. Accepts NULL. */
void work_pool_free(struct work_pool *pool);
DEFINE_CLEANUP(struct work_pool *, work_pool_free)

#endif
