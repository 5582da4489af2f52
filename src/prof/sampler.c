/* SPDX-License-Identifier: MIT */
/*
 * On the CPU: each thread has a timer on its own CPU clock, whose signal makes it note its stack. A
 * timer can only tick when the scheduler does, and says how many periods it was late: so the
 * samples' weights sum up to the CPU time at any rate.
 *
 * Off the CPU: on each tick of the wall clock, what passed since the last one without moving a
 *thread's CPU clock, it spent waiting. Where, is told by the cheapest of these:
 *
 *   1. Its CPU clock has not moved at all: it waits where it waited on the last tick.
 *   2. It is blocked: /proc says where, remote.h walks its stack. If its CPU clock stood still
 *	meanwhile, that is one moment's stack.
 *   3. It runs, or is about to: the time is owed, and goes to wherever it is seen next, waiting for
 *	something or, by its CPU clock's signal, "runnable": waiting for a CPU.
 *
 * So a blocked thread is looked at once, and none is ever interrupted. Only where a stack can't be
 *walked from outside (code with frame pointers, other machines) is the thread asked with a signal,
 *which may cut its call short; no_signals makes do with the innermost frames instead.
 */
#include "prof/sampler.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/seam.h"
#include "base/thread.h"
#include "prof/ring.h"
#include "prof/signals.h"
#include "prof/tasks.h"
#include "prof/wait.h"

#define SCAN_NS (20 * NS_PER_MS) /* between two looks for new threads, at least */

struct sampler {
	struct sampler_options o;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping; /* under lock */

	/* What follows is the sampler thread's. */
	struct ring *ring;
	struct tasks tasks;
	struct remote *remote; /* NULL unless wall */
	struct stacks cpu, wall;
	struct stack stack; /* being made */
	uint64_t started_ns, process_cpu_ns;
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void stack_add(struct stacks *to, struct stack *s, const char *state, uint64_t ns)
{
	s->state = state;
	if (ns)
		stacks_add(to, stacks_id(to, s), ns);
}

/* ---- on the CPU ---- */

static void sample_taken(const struct ring_sample *sample, void *arg)
{
	struct sampler *s = arg;
	struct task *k = tasks_lookup(&s->tasks, sample->tid);
	uint64_t ns = sample->weight * s->o.cpu_period_ns;
	struct stack *st = &s->stack;

	*st = (struct stack){.n = sample->n, .thread = k ? k->name : NULL};
	stack_set_op(st, &sample->op);
	memcpy(st->pcs, sample->pcs, sample->n * sizeof(st->pcs[0]));
	if (sample->reason == RING_CPU) {
		if (k) {
			ns += k->unsampled_ns;
			k->unsampled_ns = 0;
		}
		if (s->o.cpu)
			stack_add(&s->cpu, st, NULL, ns);
		if (!s->o.wall)
			return;
		stack_add(&s->wall, st, "running", ns);
		if (k) {
			stack_add(&s->wall, st, "runnable", k->owed_ns);
			k->owed_ns = 0;
		}
	} else if (k && k->asked) {
		bool worker;

		task_op(k, &(struct prof_op){0}, &worker);
		st->state = st->op ? "waiting" : worker ? "idle" : "blocked";
		k->blocked = stacks_id(&s->wall, st);
	}
}

/* ---- off the CPU ---- */

static bool same_place(const struct remote_where *a, const struct remote_where *b)
{
	/* An interrupted call that starts over stands at the instruction, two bytes before. */
	return a->sp == b->sp && (a->pc == b->pc || a->pc == b->pc + 2 || a->pc + 2 == b->pc);
}

/* The stack a thread is blocked in; < 0: it runs, or moved while it was looked at. */
static int64_t look(struct sampler *s, struct task *k, uint64_t cpu_ns)
{
	struct stack *st = &s->stack;
	struct remote_where where;
	struct prof_op op;
	char wchan[64];
	uint64_t after;
	size_t n;
	bool worker, cut;

	if (remote_where(k->tid, &where) != 0)
		return -1;
	if (k->asked) { /* what moved its clock was our own signal */
		k->asked = false;
		if (k->blocked >= 0 && same_place(&where, &k->where))
			return k->blocked;
	}
	*st = (struct stack){.thread = k->name};
	st->pcs[0] = where.pc;
	n = 1;
	cut = !s->remote || remote_stack(s->remote, k->tid, &where, st->pcs, &n) == REMOTE_CUT;
	st->n = n;
	if (remote_read(k->tid, "wchan", wchan, sizeof(wchan)) == 0 && strcmp(wchan, "0"))
		st->wchan = prof_intern(wchan);
	task_op(k, &op, &worker);
	stack_set_op(st, &op);
	st->state = op.name ? "waiting" : worker ? "idle" : "blocked";
	if (!task_cpu_ns(k, &after) || after != cpu_ns)
		return -1;
	k->where = where;
	if (cut && !s->o.no_signals)
		k->asked = signals_ask(k->tid) == 0;
	return stacks_id(&s->wall, st);
}

static void task_tick(struct sampler *s, struct task *k)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC), cpu_ns, wall, used;

	if (!task_cpu_ns(k, &cpu_ns))
		return; /* gone; the next scan forgets it */
	wall = now - k->accounted_ns;
	used = cpu_ns - k->cpu_ns;
	if (used || k->blocked < 0)
		k->blocked = look(s, k, cpu_ns);
	k->owed_ns += wall > used ? wall - used : 0;
	k->accounted_ns = now;
	k->cpu_ns = cpu_ns;
	if (k->blocked >= 0) {
		stacks_add(&s->wall, k->blocked, k->owed_ns);
		k->owed_ns = 0;
	}
}

static void parked(const struct prof_wait *w, uint64_t ns, void *arg)
{
	struct sampler *s = arg;
	struct stack *st = &s->stack;

	*st = (struct stack){.n = w->n};
	stack_set_op(st, &w->op);
	memcpy(st->pcs, w->pcs, w->n * sizeof(st->pcs[0]));
	stack_add(&s->wall, st, "parked", ns);
}

/* ---- the thread ---- */

static void *run(void *arg)
{
	struct sampler *s = arg;
	uint64_t period = s->o.wall ? s->o.wall_period_ns : SCAN_NS,
		 next = clock_ns(CLOCK_MONOTONIC), scan = 0;
	bool end = false;

	s->tasks.self = (pid_t)syscall(SYS_gettid);
	if (s->o.wall && remote_new(&s->remote) < 0)
		s->remote = NULL; /* threads have to be asked, then */
	prctl(PR_SET_TIMERSLACK, 1UL);
	while (!end) {
		uint64_t now = clock_ns(CLOCK_MONOTONIC);
		struct timespec until;

		ring_drain(s->ring, sample_taken, s);
		if (now >= scan) {
			tasks_scan(&s->tasks);
			scan = now + SCAN_NS - period / 2;
		}
		for (size_t i = 0; s->o.wall && i < s->tasks.n; i++)
			task_tick(s, &s->tasks.list[i]);
		if (s->o.wall)
			wait_drain(parked, s);
		next = max_u64(next + period, now);
		until = (struct timespec){(time_t)(next / NS_PER_S), (long)(next % NS_PER_S)};
		pthread_mutex_lock(&s->lock);
		while (!s->stopping && !pthread_cond_timedwait(&s->wake, &s->lock, &until))
			;
		end = s->stopping;
		pthread_mutex_unlock(&s->lock);
	}
	for (size_t i = 0; s->o.wall && i < s->tasks.n; i++)
		task_tick(s, &s->tasks.list[i]);
	tasks_fini(&s->tasks);
	return NULL;
}

static void sampler_free(struct sampler *s)
{
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->wake);
	stacks_fini(&s->cpu);
	stacks_fini(&s->wall);
	remote_free(s->remote);
	free(s->ring);
	free(s);
}
DEFINE_CLEANUP(struct sampler *, sampler_free)

int sampler_start(const struct sampler_options *o, struct sampler **ret)
{
	_cleanup_(sampler_freep) struct sampler *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;
	int r;

	if (!s)
		return -ENOMEM;
	s->o = *o;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wake, &attr);
	pthread_condattr_destroy(&attr);
	s->ring = calloc(1, sizeof(*s->ring));
	if (!s->ring)
		return -ENOMEM;
	s->started_ns = clock_ns(CLOCK_MONOTONIC);
	s->process_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	s->tasks.period_ns = o->cpu_period_ns;
	s->tasks.seed = (unsigned)s->started_ns;
	r = signals_on(s->ring);
	if (r < 0)
		return r;
	if (o->wall)
		wait_on();
	atomic_fetch_or(&prof_listeners, PROF_SAMPLERS);
	r = thread_start(&s->thread, "morsel-sampler", run, s);
	if (r < 0) {
		atomic_fetch_and(&prof_listeners, ~(unsigned)PROF_SAMPLERS);
		if (!signals_off())
			s->ring = NULL; /* a handler still has it */
		return r;
	}
	*ret = steal_ptr(s);
	return 0;
}

void sampler_stop(struct sampler *s, struct sampler_result *ret)
{
	*ret = (struct sampler_result){0};
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	atomic_fetch_and(&prof_listeners, ~(unsigned)PROF_SAMPLERS);
	ret->cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - s->process_cpu_ns;
	ret->elapsed_ns = clock_ns(CLOCK_MONOTONIC) - s->started_ns;
	if (!signals_off())
		s->ring = NULL; /* leaked: a handler still has it */
	else
		ring_drain(s->ring, sample_taken, s);
	if (s->o.wall)
		wait_off(parked, s);
	ret->lost_ns = s->ring ? atomic_load(&s->ring->lost) * s->o.cpu_period_ns : 0;
	ret->cpu = s->cpu;
	ret->wall = s->wall;
	s->cpu = (struct stacks){0};
	s->wall = (struct stacks){0};
	sampler_free(s);
}

void sampler_result_fini(struct sampler_result *r)
{
	stacks_fini(&r->cpu);
	stacks_fini(&r->wall);
}
