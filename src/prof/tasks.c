/* SPDX-License-Identifier: MIT */
#include "prof/tasks.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>

#include "base/seam.h"
#include "prof/signals.h"

/* morsel's own threads, registered or not, are workers. */
#define WORKER_PREFIX "morsel-"
#define YOUNG 8 /* scans during which a thread may still get its name */

static int compare(const void *a, const void *b)
{
	return ((const struct task *)a)->tid - ((const struct task *)b)->tid;
}

struct task *tasks_lookup(struct tasks *t, pid_t tid)
{
	struct task key = {.tid = tid};

	return t->n ? bsearch(&key, t->list, t->n, sizeof(key), compare) : NULL;
}

bool task_cpu_ns(const struct task *k, uint64_t *ret)
{
	struct timespec ts;

	if (clock_gettime(signals_cpu_clock(k->tid), &ts))
		return false;
	*ret = (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
	return true;
}

void task_op(const struct task *k, struct prof_op *ret, bool *ret_worker)
{
	*ret = (struct prof_op){0};
	*ret_worker = k->name && !strncmp(k->name, WORKER_PREFIX, strlen(WORKER_PREFIX));
	for (struct prof_thread *p = prof_threads(); p; p = p->next) {
		if (atomic_load(&p->tid) != k->tid)
			continue;
		prof_thread_op(p, ret);
		*ret_worker |= atomic_load(&p->worker);
		return;
	}
}

static void task_name(struct task *k)
{
	char name[32];

	if (remote_read(k->tid, "comm", name, sizeof(name)) == 0)
		k->name = prof_intern(name);
}

/* The first tick comes at a random time of the period, else threads that live for less never have
 * one. */
static void task_found(struct tasks *t, struct task *k)
{
	const struct seam *clock = seam_real();
	uint64_t first = 1 + (uint64_t)((double)rand_r(&t->seed) / ((double)RAND_MAX + 1) *
					(double)t->period_ns);

	k->blocked = -1;
	k->accounted_ns = clock->monotonic_ns(clock);
	if (!task_cpu_ns(k, &k->cpu_ns))
		return;
	if (t->begun)
		k->unsampled_ns = k->cpu_ns;
	k->timed = signals_timer_start(k->tid, first, t->period_ns, &k->timer) == 0;
}

static int task_see(struct tasks *t, pid_t tid, size_t known)
{
	struct tasks before = {.list = t->list, .n = known};
	struct task *k = tasks_lookup(&before, tid);

	if (!k) {
		if (t->n == t->cap) {
			size_t cap = t->cap ? 2 * t->cap : 64;
			struct task *list = reallocarray(t->list, cap, sizeof(*list));

			if (!list)
				return -ENOMEM;
			t->list = list;
			t->cap = cap;
		}
		k = &t->list[t->n++];
		*k = (struct task){.tid = tid};
		task_found(t, k);
	}
	k->seen = true;
	if (k->age++ < YOUNG)
		task_name(k);
	return 0;
}

static void task_gone(struct task *k)
{
	if (k->timed)
		timer_delete(k->timer);
}

int tasks_scan(struct tasks *t)
{
	size_t known = t->n, kept = 0;
	DIR *dir = opendir("/proc/self/task");
	struct dirent *d;
	int r = 0;

	if (!dir)
		return -errno;
	for (size_t i = 0; i < t->n; i++)
		t->list[i].seen = false;
	while (r >= 0 && (d = readdir(dir))) {
		pid_t tid = (pid_t)atoi(d->d_name);

		if (tid > 0 && tid != t->self)
			r = task_see(t, tid, known);
	}
	closedir(dir);
	if (r < 0)
		return r;
	for (size_t i = 0; i < t->n; i++) {
		if (t->list[i].seen)
			t->list[kept++] = t->list[i];
		else
			task_gone(&t->list[i]);
	}
	t->n = kept;
	qsort(t->list, t->n, sizeof(*t->list), compare);
	t->begun = true;
	return 0;
}

void tasks_fini(struct tasks *t)
{
	for (size_t i = 0; i < t->n; i++)
		task_gone(&t->list[i]);
	free(t->list);
	t->list = NULL;
	t->n = t->cap = 0;
}
