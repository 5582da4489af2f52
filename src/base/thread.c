/* SPDX-License-Identifier: MIT */
#include "base/thread.h"

#include <signal.h>

int thread_start(pthread_t *ret, const char *name, void *(*run)(void *arg), void *arg)
{
	static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGPROF, SIGURG};
	sigset_t set, old;
	int r;

	sigfillset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(open); i++)
		sigdelset(&set, open[i]);
	pthread_sigmask(SIG_SETMASK, &set, &old);
	r = -pthread_create(ret, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0)
		return r;
	pthread_setname_np(*ret, name);
	return 0;
}
