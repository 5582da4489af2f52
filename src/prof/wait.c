/* SPDX-License-Identifier: MIT */
#include "prof/wait.h"

#include <pthread.h>

#include "base/seam.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool on; /* this and the lists: under lock */
static struct prof_wait *waiting, *ended;

static uint64_t now_ns(void)
{
	const struct seam *s = seam_real();

	return s->monotonic_ns(s);
}

static void link_in(struct prof_wait **list, struct prof_wait *w)
{
	w->next = *list;
	w->at = list;
	if (w->next)
		w->next->at = &w->next;
	*list = w;
}

static void link_out(struct prof_wait *w)
{
	*w->at = w->next;
	if (w->next)
		w->next->at = w->at;
}

__attribute__((noinline)) struct prof_wait *wait_new(void)
{
	struct prof_wait *w;

	if (!(atomic_load_explicit(&prof_listeners, memory_order_relaxed) & PROF_SAMPLERS))
		return NULL;
	w = malloc(sizeof(*w));
	if (!w)
		return NULL;
	w->at = NULL;
	prof_op_current(&w->op);
	w->n = backtrace_here(1, w->pcs);
	w->since_ns = now_ns();
	pthread_mutex_lock(&lock);
	if (on)
		link_in(&waiting, w);
	pthread_mutex_unlock(&lock);
	return w;
}

void prof_wait_end(struct prof_wait *w)
{
	bool counts;

	if (!w)
		return;
	pthread_mutex_lock(&lock);
	counts = w->at; /* else its profile has ended, and had it */
	if (counts) {
		link_out(w);
		w->since_ns = now_ns() - w->since_ns; /* from now on: for how long */
		link_in(&ended, w);
	}
	pthread_mutex_unlock(&lock);
	if (!counts)
		free(w);
}

void wait_on(void)
{
	pthread_mutex_lock(&lock);
	on = true;
	pthread_mutex_unlock(&lock);
}

void wait_drain(wait_fn *f, void *arg)
{
	struct prof_wait *list;

	pthread_mutex_lock(&lock);
	list = ended;
	ended = NULL;
	pthread_mutex_unlock(&lock);
	while (list) {
		struct prof_wait *w = list;

		list = w->next;
		f(w, w->since_ns, arg);
		free(w);
	}
}

void wait_off(wait_fn *f, void *arg)
{
	uint64_t now = now_ns();

	pthread_mutex_lock(&lock);
	on = false;
	while (waiting) { /* stays with who waits, who frees it */
		struct prof_wait *w = waiting;

		link_out(w);
		w->at = NULL;
		f(w, now > w->since_ns ? now - w->since_ns : 0, arg);
	}
	pthread_mutex_unlock(&lock);
	wait_drain(f, arg);
}
