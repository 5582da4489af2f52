/* SPDX-License-Identifier: MIT */
/*
 * Batch i lives in slot i modulo the ring's size. Every worker has a number that says how far it
 * is; a slot is free again when it was written. One lock and one condition for all: a batch takes
 * milliseconds, so that they are hardly ever met.
 */
#include "transfer/pipeline.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include "base/thread.h"

struct slot {
	struct batch batch;
	bool compressed;
};

struct pipeline {
	const struct pipeline_jobs *jobs;
	pthread_mutex_t lock;
	pthread_cond_t moved;
	/* All below: under lock, but for the batch of a slot, which is its worker's. */
	struct slot *slots;
	uint64_t filled, compressing, staged[PIPELINE_STAGES_MAX], written;
	bool end;  /* filled will not grow any more */
	bool stop; /* everybody goes home */
	int code;
	struct error err;
	unsigned next_thread, next_stage; /* numbers given out */
};

static struct slot *slot_of(struct pipeline *p, uint64_t i)
{
	return &p->slots[i % p->jobs->slots];
}

static void fail_locked(struct pipeline *p, int code, const struct error *err)
{
	if (!p->code) {
		p->code = code;
		if (err)
			p->err = *err;
	}
	p->stop = true;
	pthread_cond_broadcast(&p->moved);
}

/* ---- the filling thread ---- */

int pipeline_take(struct pipeline *p, struct batch **ret)
{
	int r = 0;

	pthread_mutex_lock(&p->lock);
	while (!p->stop && p->filled - p->written >= p->jobs->slots)
		pthread_cond_wait(&p->moved, &p->lock);
	if (p->stop)
		r = -ECANCELED;
	else
		*ret = &slot_of(p, p->filled)->batch;
	pthread_mutex_unlock(&p->lock);
	if (r >= 0)
		batch_reset(*ret);
	return r;
}

void pipeline_give(struct pipeline *p, struct batch *b)
{
	pthread_mutex_lock(&p->lock);
	assert(b == &slot_of(p, p->filled)->batch);
	slot_of(p, p->filled)->compressed = false;
	p->filled++;
	pthread_cond_broadcast(&p->moved);
	pthread_mutex_unlock(&p->lock);
}

static void *fill_thread(void *arg)
{
	struct pipeline *p = arg;
	struct error err = ERROR_INIT;
	int r = p->jobs->fill(p->jobs->userdata, p, &err);

	pthread_mutex_lock(&p->lock);
	p->end = true;
	if (r < 0)
		fail_locked(p, r, &err);
	pthread_cond_broadcast(&p->moved);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* ---- compressors and stages ---- */

/* Waits until *at is filled. False: there is nothing more to do. */
static bool next_wait(struct pipeline *p, const uint64_t *at)
{
	while (!p->stop && *at == p->filled && !p->end)
		pthread_cond_wait(&p->moved, &p->lock);
	return !p->stop && *at < p->filled;
}

static void *compress_thread(void *arg)
{
	struct pipeline *p = arg;
	unsigned number;

	pthread_mutex_lock(&p->lock);
	number = p->next_thread++;
	while (next_wait(p, &p->compressing)) {
		struct slot *s = slot_of(p, p->compressing++);
		int r;

		pthread_mutex_unlock(&p->lock);
		r = p->jobs->compress(p->jobs->userdata, number, &s->batch);
		pthread_mutex_lock(&p->lock);
		s->compressed = true;
		if (r < 0)
			fail_locked(p, r, NULL);
		pthread_cond_broadcast(&p->moved);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Waits until batch i is compressed. False: there is nothing more to do. */
static bool compressed_wait(struct pipeline *p, uint64_t i)
{
	while (!p->stop && (i == p->filled ? !p->end : !slot_of(p, i)->compressed))
		pthread_cond_wait(&p->moved, &p->lock);
	return !p->stop && i < p->filled;
}

static void *stage_thread(void *arg)
{
	struct pipeline *p = arg;
	unsigned number;

	pthread_mutex_lock(&p->lock);
	number = p->next_stage++;
	while (compressed_wait(p, p->staged[number])) {
		struct slot *s = slot_of(p, p->staged[number]);

		pthread_mutex_unlock(&p->lock);
		p->jobs->stages[number](p->jobs->userdata, &s->batch);
		pthread_mutex_lock(&p->lock);
		p->staged[number]++;
		pthread_cond_broadcast(&p->moved);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* ---- the caller ---- */

static bool is_ready(struct pipeline *p)
{
	if (p->written == p->filled || !slot_of(p, p->written)->compressed)
		return false;
	for (unsigned i = 0; i < p->jobs->n_stages; i++)
		if (p->staged[i] <= p->written)
			return false;
	return true;
}

static void write_all(struct pipeline *p)
{
	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct error err = ERROR_INIT;
		struct slot *s;
		int r;

		while (!p->stop && !is_ready(p) && !(p->end && p->written == p->filled))
			pthread_cond_wait(&p->moved, &p->lock);
		if (p->stop || !is_ready(p))
			break;
		s = slot_of(p, p->written);
		pthread_mutex_unlock(&p->lock);
		r = p->jobs->write(p->jobs->userdata, &s->batch, &err);
		pthread_mutex_lock(&p->lock);
		if (r < 0)
			fail_locked(p, r, &err);
		p->written++;
		pthread_cond_broadcast(&p->moved);
	}
	pthread_mutex_unlock(&p->lock);
}

static void ring_free(struct pipeline *p)
{
	for (unsigned i = 0; p->slots && i < p->jobs->slots; i++)
		batch_fini(&p->slots[i].batch);
	free(p->slots);
	pthread_cond_destroy(&p->moved);
	pthread_mutex_destroy(&p->lock);
}

int pipeline_run(const struct pipeline_jobs *jobs, struct error *err)
{
	struct pipeline p = {.jobs = jobs};
	unsigned n = 0, want = 1 + jobs->threads + jobs->n_stages;
	_cleanup_(freep) pthread_t *threads = calloc(want, sizeof(*threads));
	int r = 0;

	pthread_mutex_init(&p.lock, NULL);
	pthread_cond_init(&p.moved, NULL);
	p.slots = calloc(jobs->slots, sizeof(*p.slots));
	if (!threads || !p.slots)
		r = -ENOMEM;
	for (; n < want && r >= 0; n += r >= 0)
		r = thread_start(&threads[n],
				 !n		      ? "morsel-read"
				 : n <= jobs->threads ? "morsel-pack"
						      : "morsel-hash",
				 !n		      ? fill_thread
				 : n <= jobs->threads ? compress_thread
						      : stage_thread,
				 &p);
	if (r < 0) {
		pthread_mutex_lock(&p.lock);
		fail_locked(&p, r, NULL);
		pthread_mutex_unlock(&p.lock);
	}
	write_all(&p);
	while (n)
		pthread_join(threads[--n], NULL);
	ring_free(&p);
	if (p.code && p.err.code)
		error_set(err, p.err.code, "%s", p.err.text);
	return p.code;
}
