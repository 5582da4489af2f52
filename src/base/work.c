/* SPDX-License-Identifier: MIT */
#include "base/work.h"

#include <errno.h>
#include <stdio.h>

#include "base/thread.h"

struct work_item {
	struct work_item *next;
	void (*fn)(void *arg);
	void *arg;
};

struct work_queue {
	struct work_item *head, **tail;
};

struct work_pool {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct work_queue queues[2]; /* by enum work_prio; this and all below: under lock */
	unsigned queued, idle, started, max;
	bool stopping;
	char name[16];
	pthread_t threads[];
};

static struct work_item *queue_pop(struct work_queue *q)
{
	struct work_item *w = q->head;

	if (!w)
		return NULL;
	q->head = w->next;
	if (!q->head)
		q->tail = &q->head;
	return w;
}

static void *pool_thread(void *arg)
{
	struct work_pool *pool = arg;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct work_item *w = queue_pop(&pool->queues[WORK_DEMAND]);

		if (!w)
			w = queue_pop(&pool->queues[WORK_IDLE]);
		if (!w) {
			if (pool->stopping)
				break;
			pool->idle++;
			pthread_cond_wait(&pool->wake, &pool->lock);
			pool->idle--;
			continue;
		}
		pool->queued--;
		pthread_mutex_unlock(&pool->lock);
		w->fn(w->arg);
		free(w);
		pthread_mutex_lock(&pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static int pool_start_thread(struct work_pool *pool)
{
	if (thread_start(&pool->threads[pool->started], pool->name, pool_thread, pool) < 0)
		return -EAGAIN;
	pool->started++;
	return 0;
}

int work_pool_new(unsigned max_threads, const char *name, struct work_pool **ret)
{
	struct work_pool *pool;

	assert(max_threads > 0);
	pool = calloc(1, sizeof(*pool) + max_threads * sizeof(pool->threads[0]));
	if (!pool)
		return -ENOMEM;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wake, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(pool->queues); i++)
		pool->queues[i].tail = &pool->queues[i].head;
	pool->max = max_threads;
	snprintf(pool->name, sizeof(pool->name), "%s", name);
	*ret = pool;
	return 0;
}

int work_submit(struct work_pool *pool, enum work_prio prio, void (*fn)(void *arg), void *arg)
{
	struct work_item *w = malloc(sizeof(*w));
	int r = 0;

	if (!w)
		return -ENOMEM;
	*w = (struct work_item){.fn = fn, .arg = arg};
	pthread_mutex_lock(&pool->lock);
	if (pool->stopping)
		r = -ESHUTDOWN;
	else if (pool->queued >= pool->idle && pool->started < pool->max &&
		 pool_start_thread(pool) < 0 && !pool->started)
		r = -EAGAIN;
	if (r < 0) {
		pthread_mutex_unlock(&pool->lock);
		free(w);
		return r;
	}
	*pool->queues[prio].tail = w;
	pool->queues[prio].tail = &w->next;
	pool->queued++;
	pthread_cond_signal(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	return 0;
}

void work_pool_free(struct work_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->started; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}
