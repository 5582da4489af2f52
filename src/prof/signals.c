/* SPDX-License-Identifier: MIT */
/*
 * A handler may interrupt anything, so it only looks at thread-locals of the static kind, walks its
 * stack and fills a slot that it claimed. It counts itself in and out: whoever takes the ring away
 * waits for that.
 *
 * On Linux >= 5.9 an expired CPU timer is noticed on the way back to user mode, so its signal never
 * cuts a blocking call short; one sent to a blocked thread does, which is why nobody is asked who
 * can be looked at from outside.
 */
#include "prof/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

#include "base/seam.h"

#define CPU_TICK SIGPROF
#define ASK SIGURG

static _Atomic(struct ring *) recording;
static _Atomic unsigned inside; /* handlers */
static struct sigaction before_tick, before_ask;
static bool installed;

static void record(struct ring *r, enum ring_reason reason, uint32_t weight, void *context)
{
	struct ring_sample *s = ring_claim(r, weight);

	if (!s)
		return;
	s->tid = (pid_t)syscall(SYS_gettid);
	s->reason = reason;
	prof_op_current(&s->op);
	s->n = backtrace_interrupted(context, s->pcs);
	ring_ready(s);
}

static void hand_on(const struct sigaction *to, int sig, siginfo_t *si, void *context)
{
	if (to->sa_flags & SA_SIGINFO)
		to->sa_sigaction(sig, si, context);
	else if (to->sa_handler != SIG_DFL && to->sa_handler != SIG_IGN)
		to->sa_handler(sig);
}

static void on_signal(int sig, siginfo_t *si, void *context)
{
	int saved = errno;
	struct ring *r;

	atomic_fetch_add(&inside, 1);
	r = atomic_load(&recording);
	if (sig == CPU_TICK && si->si_code == SI_TIMER && si->si_value.sival_ptr == &recording) {
		if (r)
			record(r, RING_CPU, 1 + (uint32_t)si->si_overrun, context);
	} else if (sig == ASK && si->si_code == SI_QUEUE && si->si_value.sival_ptr == &recording) {
		if (r)
			record(r, RING_ASKED, 1, context);
	} else {
		hand_on(sig == ASK ? &before_ask : &before_tick, sig, si, context);
	}
	atomic_fetch_sub(&inside, 1);
	errno = saved;
}

/* Its timers did not come along, its other threads neither. */
static void fork_child(void)
{
	atomic_store(&recording, NULL);
	atomic_store(&inside, 0);
}

static int install(int sig, struct sigaction *ret_before)
{
	struct sigaction sa = {.sa_sigaction = on_signal,
			       .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK},
			 now;

	sigfillset(&sa.sa_mask);
	sigdelset(&sa.sa_mask, SIGSEGV); /* the guarded unwinder's */
	sigdelset(&sa.sa_mask, SIGBUS);
	if (sigaction(sig, NULL, &now))
		return -errno;
	if (now.sa_sigaction == on_signal)
		return 0;
	*ret_before = now;
	return sigaction(sig, &sa, NULL) ? -errno : 0;
}

int signals_on(struct ring *r)
{
	struct ring *none = NULL;
	int e = backtrace_guard_on();

	if (e >= 0)
		e = install(CPU_TICK, &before_tick);
	if (e >= 0)
		e = install(ASK, &before_ask);
	if (e >= 0 && !installed)
		e = -pthread_atfork(NULL, NULL, fork_child);
	if (e < 0)
		return e;
	installed = true;
	return atomic_compare_exchange_strong(&recording, &none, r) ? 0 : -EBUSY;
}

bool signals_off(void)
{
	const struct seam *clock = seam_real();
	uint64_t until = clock->monotonic_ns(clock) + NS_PER_S;

	atomic_store(&recording, NULL);
	while (atomic_load(&inside)) {
		uint64_t now = clock->monotonic_ns(clock);

		if (now > until)
			return false;
		clock->sleep_until(clock, now + NS_PER_MS);
	}
	backtrace_guard_off();
	return true;
}

/* How the kernel numbers them: the thread, one's own rather than the process's, time on the CPU. */
clockid_t signals_cpu_clock(pid_t tid)
{
	return (clockid_t)(~(unsigned)tid << 3 | 4 | 2);
}

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S),
				 .tv_nsec = (long)(ns % NS_PER_S)};
}

int signals_timer_start(pid_t tid, uint64_t first_ns, uint64_t period_ns, timer_t *ret)
{
	struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = CPU_TICK};
	struct itimerspec when = {.it_value = timespec_of(first_ns),
				  .it_interval = timespec_of(period_ns)};
	timer_t timer;
	int r;

	ev.sigev_value.sival_ptr = &recording;
	ev._sigev_un._tid = tid; /* sigev_notify_thread_id, which glibc 2.36 does not name */
	if (timer_create(signals_cpu_clock(tid), &ev, &timer))
		return errno == EINVAL ? -ESRCH : -errno;
	if (timer_settime(timer, 0, &when, NULL)) {
		r = -errno;
		timer_delete(timer);
		return r;
	}
	*ret = timer;
	return 0;
}

int signals_ask(pid_t tid)
{
	siginfo_t si = {.si_signo = ASK, .si_code = SI_QUEUE};

	si.si_pid = getpid();
	si.si_value.sival_ptr = &recording;
	return syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, ASK, &si) ? -errno : 0;
}
