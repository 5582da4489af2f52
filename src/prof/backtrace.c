/* SPDX-License-Identifier: MIT */
#include "prof/backtrace.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>
#include <unwind.h>

struct walk {
	uintptr_t *pcs;
	volatile size_t n;
	size_t skip;	       /* frames to leave out */
	uintptr_t interrupted; /* != 0: leave out all up to the one with this very address */
};

static const int faults[] = {SIGSEGV, SIGBUS};
static struct sigaction before[ARRAY_SIZE(faults)];

/* Set while this thread walks; a fault then jumps there. */
static _Thread_local sigjmp_buf *volatile walking __attribute__((tls_model("initial-exec")));

static void on_fault(int sig, siginfo_t *si, void *context)
{
	const struct sigaction *old = &before[sig == SIGSEGV ? 0 : 1];

	if (walking)
		siglongjmp(*walking, 1);
	if (old->sa_flags & SA_SIGINFO) {
		old->sa_sigaction(sig, si, context);
	} else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
		old->sa_handler(sig);
	} else {
		/* The instruction faults again, or the signal was sent: either way it counts now.
		 */
		sigaction(sig, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
		if (si->si_code <= 0)
			raise(sig);
	}
}

int backtrace_guard_on(void)
{
	/* NODEFER: the jump out of the handler does not restore a mask. */
	struct sigaction sa = {.sa_sigaction = on_fault,
			       .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
	uintptr_t pcs[PROF_DEPTH];

	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		struct sigaction now;

		if (sigaction(faults[i], &sa, &now))
			return -errno;
		if (now.sa_sigaction != on_fault)
			before[i] = now;
	}
	backtrace_here(0, pcs);
	return 0;
}

void backtrace_guard_off(void)
{
	struct sigaction now;

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		if (!sigaction(faults[i], NULL, &now) && now.sa_sigaction == on_fault)
			sigaction(faults[i], &before[i], NULL);
}

static _Unwind_Reason_Code on_frame(struct _Unwind_Context *frame, void *data)
{
	struct walk *w = data;
	int exact = 0;
	uintptr_t pc = _Unwind_GetIPInfo(frame, &exact);

	if (!pc)
		return _URC_END_OF_STACK;
	if (w->interrupted) {
		if (!exact || pc != w->interrupted)
			return _URC_NO_REASON;
		w->interrupted = 0;
	}
	if (w->skip) {
		w->skip--;
		return _URC_NO_REASON;
	}
	w->pcs[w->n++] = exact ? pc : pc - 1;
	return w->n < PROF_DEPTH ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static __attribute__((noinline)) void walk(struct walk *w)
{
	sigjmp_buf *outer =
		walking; /* a tick may come while this thread walks for another reason */
	sigjmp_buf here;

	if (!sigsetjmp(here, 0)) {
		walking = &here;
		_Unwind_Backtrace(on_frame, w);
	}
	walking = outer;
}

static uintptr_t pc_of(const ucontext_t *u)
{
#if defined(__x86_64__)
	return (uintptr_t)u->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	return u->uc_mcontext.pc;
#else
#error "where does this machine keep the program counter?"
#endif
}

__attribute__((noinline)) size_t backtrace_interrupted(void *context,
						       uintptr_t pcs[static PROF_DEPTH])
{
	uintptr_t pc = pc_of(context);
	struct walk w = {.pcs = pcs, .interrupted = pc};

	walk(&w);
	if (!w.n) { /* no table for the signal frame, or a fault right away */
		pcs[0] = pc;
		w.n = 1;
	}
	return w.n;
}

__attribute__((noinline)) size_t backtrace_here(size_t skip, uintptr_t pcs[static PROF_DEPTH])
{
	struct walk w = {.pcs = pcs, .skip = skip + 2}; /* walk(), and this one */

	walk(&w);
	return w.n;
}
