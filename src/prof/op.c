/* SPDX-License-Identifier: MIT */
/*
 * A thread's operation is a handful of words behind a sequence number: its thread makes the number
 * odd, changes the words, makes it even; a reader who saw one even number before and after has one
 * operation. Every word is atomic, so that a torn look is wrong but never harmful.
 */
#include "prof/op.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "prof/intern.h"
#include "prof/threads.h"

#define INTERN_MAX 65536

_Atomic unsigned prof_listeners;

static _Atomic(struct prof_thread *) threads;
static _Thread_local struct prof_thread *self __attribute__((tls_model("initial-exec")));

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of what follows */
static struct intern interned;
static pthread_key_t at_exit;
static bool at_exit_made;

/* ---- operations ---- */

static void op_set(struct prof_thread *t, const struct prof_op *op)
{
	uint32_t n = atomic_load_explicit(&t->sequence, memory_order_relaxed);

	atomic_store_explicit(&t->sequence, n + 1, memory_order_relaxed);
	/* Release: none of these is seen before the odd number. */
	atomic_store_explicit(&t->op, op->name, memory_order_release);
	atomic_store_explicit(&t->image, op->image, memory_order_release);
	atomic_store_explicit(&t->layer, op->layer, memory_order_release);
	atomic_store_explicit(&t->command, op->command, memory_order_release);
	atomic_store_explicit(&t->pid, op->pid, memory_order_release);
	atomic_store_explicit(&t->sequence, n + 2, memory_order_release);
}

bool prof_thread_op(struct prof_thread *t, struct prof_op *ret)
{
	uint32_t before = atomic_load_explicit(&t->sequence, memory_order_acquire), after;

	/* Acquire: none of these is read after the second look at the number. */
	*ret = (struct prof_op){
		.name = atomic_load_explicit(&t->op, memory_order_acquire),
		.image = atomic_load_explicit(&t->image, memory_order_acquire),
		.layer = atomic_load_explicit(&t->layer, memory_order_acquire),
		.command = atomic_load_explicit(&t->command, memory_order_acquire),
		.pid = atomic_load_explicit(&t->pid, memory_order_acquire),
	};
	after = atomic_load_explicit(&t->sequence, memory_order_relaxed);
	if (before == after && !(before & 1))
		return ret->name;
	*ret = (struct prof_op){0};
	return false;
}

/* ---- threads ---- */

static void thread_gone(void *data)
{
	struct prof_thread *t = data;

	self = NULL;
	atomic_store(&t->worker, false);
	atomic_store(&t->tid, 0);
}

static void fork_begin(void)
{
	pthread_mutex_lock(&lock);
}

static void fork_end(void)
{
	pthread_mutex_unlock(&lock);
}

/* The child has this thread only, under another number. */
static void fork_child(void)
{
	for (struct prof_thread *t = atomic_load(&threads); t; t = t->next)
		atomic_store(&t->tid, t == self ? (pid_t)syscall(SYS_gettid) : 0);
	pthread_mutex_unlock(&lock);
}

static struct prof_thread *record_take(void)
{
	struct prof_thread *t;

	for (t = atomic_load(&threads); t; t = t->next) {
		pid_t none = 0;

		if (atomic_compare_exchange_strong(&t->tid, &none, (pid_t)syscall(SYS_gettid)))
			return t;
	}
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	atomic_store(&t->tid, (pid_t)syscall(SYS_gettid));
	t->next = atomic_load(&threads);
	while (!atomic_compare_exchange_weak(&threads, &t->next, t))
		;
	return t;
}

struct prof_thread *prof_thread_get(void)
{
	struct prof_thread *t = self;

	if (t)
		return t;
	pthread_mutex_lock(&lock);
	if (!at_exit_made)
		at_exit_made = !pthread_key_create(&at_exit, thread_gone) &&
			       !pthread_atfork(fork_begin, fork_end, fork_child);
	pthread_mutex_unlock(&lock);
	if (!at_exit_made)
		return NULL;
	t = record_take();
	if (!t)
		return NULL;
	if (pthread_setspecific(at_exit, t)) {
		atomic_store(&t->tid, 0);
		return NULL;
	}
	atomic_store(&t->name, NULL);
	op_set(t, &(struct prof_op){0});
	self = t;
	return t;
}

void prof_thread_register(const char *name)
{
	struct prof_thread *t = prof_thread_get();
	char cut[16];

	snprintf(cut, sizeof(cut), "%s", name);
	pthread_setname_np(pthread_self(), cut);
	if (!t)
		return;
	atomic_store(&t->name, prof_intern(cut));
	atomic_store(&t->worker, true);
}

struct prof_thread *prof_threads(void)
{
	return atomic_load(&threads);
}

struct prof_thread *prof_thread_self(void)
{
	return self;
}

void prof_op_enter(struct prof_scope *s, const struct prof_op *op)
{
	struct prof_thread *t = prof_thread_get();

	if (!t) {
		s->begun = false;
		return;
	}
	prof_thread_op(t, &s->before);
	op_set(t, op);
}

void prof_op_leave(const struct prof_scope *s)
{
	if (self) /* not in a destructor that runs after ours */
		op_set(self, &s->before);
}

void prof_op_current(struct prof_op *ret)
{
	if (!self || !prof_thread_op(self, ret))
		*ret = (struct prof_op){0};
}

const char *prof_intern(const char *s)
{
	const char *known = "(more)";
	int64_t id;

	if (!s)
		return NULL;
	pthread_mutex_lock(&lock);
	if (interned.n < INTERN_MAX) {
		id = intern_id(&interned, s, strlen(s) + 1);
		if (id >= 0)
			known = intern_get(&interned, (size_t)id, NULL);
	}
	pthread_mutex_unlock(&lock);
	return known;
}
