/* SPDX-License-Identifier: MIT */
/*
 * Starts threads as a library must: no signal of the host program may be handled in them. What
 * stays open is what the thread's own doing raises, and what profilers send to look at a thread
 * (SIGPROF, SIGURG, which nothing else here uses).
 */
#ifndef MORSEL_BASE_THREAD_H
#define MORSEL_BASE_THREAD_H

#include <pthread.h>
#include "base/util.h"

/* name: <= 15 bytes. -EAGAIN, -ENOMEM. */
int thread_start(pthread_t *ret, const char *name, void *(*run)(void *arg), void *arg);

#endif
