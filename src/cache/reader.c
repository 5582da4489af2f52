/* SPDX-License-Identifier: MIT */
/*
 * Requests. The fast path asks of every chunk under a request: present? verified by this process?
 * and then is one pread, fenced by the layer's generation: an eviction in between clears bits
 * before it bumps the generation and punches after, so that a reader who saw the bits and the same
 * generation before and after its pread has read the bytes.
 */
#include "cache/reader_impl.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/uio.h>

#define VERIFY_INLINE (2u << 20) /* bytes hashed by the asking thread; more goes to the pool */
#define PIECE (256u << 10)

enum { TRY_FETCH = 1, TRY_DISK = 2 };

void reader_count(struct reader *r, struct reader_layer_state *l, size_t off, uint64_t n)
{
	counter_add((_Atomic uint64_t *)((uint8_t *)r->o.counters + off), n);
	if (l->counters)
		counter_add((_Atomic uint64_t *)((uint8_t *)l->counters + off), n);
}

void reader_error_set(struct reader *r, const char *text)
{
	pthread_mutex_lock(&r->lock);
	snprintf(r->last_error, sizeof(r->last_error), "%s", text);
	pthread_mutex_unlock(&r->lock);
}

void reader_last_error(struct reader *r, char *buf, size_t n)
{
	pthread_mutex_lock(&r->lock);
	snprintf(buf, n, "%s", r->last_error);
	pthread_mutex_unlock(&r->lock);
}

int job_begin(struct reader *r, void (*fn)(void *arg), void *arg)
{
	int e;

	pthread_mutex_lock(&r->lock);
	r->busy++;
	pthread_mutex_unlock(&r->lock);
	e = work_submit(r->o.pool, WORK_DEMAND, fn, arg);
	if (e < 0)
		job_end(r);
	return e;
}

void job_end(struct reader *r)
{
	pthread_mutex_lock(&r->lock);
	if (!--r->busy)
		pthread_cond_broadcast(&r->idle);
	pthread_mutex_unlock(&r->lock);
}

/* ---- verification of what the cache claims ---- */

/* After an eviction anywhere our knowledge is of another generation: start over. */
static void verified_refresh(struct reader_layer_state *l, uint64_t generation)
{
	uint64_t seen = atomic_load(&l->verified_generation);

	if (seen == generation ||
	    !atomic_compare_exchange_strong(&l->verified_generation, &seen, generation))
		return;
	for (uint64_t w = 0; w < (l->index->header.n_chunks + 63) / 64; w++)
		atomic_store(&l->verified[w], 0);
}

/* 0 verified; TRY_DISK; TRY_FETCH: it was damaged and is gone; -errno. */
static int chunk_verify(struct reader *r, struct reader_layer_state *l, uint64_t i, int flags)
{
	const struct layer_chunk *c = &l->index->chunks[i];
	_cleanup_(hasher_freep) struct hasher *h = NULL;
	_cleanup_(freep) uint8_t *buf = malloc(min_u64(c->len, PIECE));
	struct digest got;
	int e = buf ? hasher_new(DIGEST_SHA256, &h) : -ENOMEM;

	for (uint32_t at = 0; at < c->len && e >= 0;) {
		uint32_t n = (uint32_t)min_u64(PIECE, c->len - at);

		e = layer_pread(l->conf.layer, buf, n, c->dev_off + at, flags);
		if (e >= 0)
			hasher_update(h, buf, n);
		at += n;
	}
	if (e == -EAGAIN && flags)
		return TRY_DISK;
	if (e == -ENOMEM)
		return e;
	if (e >= 0) {
		hasher_final(h, &got);
		if (!memcmp(got.bytes, c->digest, 32)) {
			bit_set(l->verified, i);
			return 0;
		}
	}
	if (!layer_has_chunk(l->conf.layer, i))
		return TRY_FETCH; /* evicted under us: nothing was damaged */
	log_write(r->o.log, LOG_WARN,
		  "layer %.16s...: chunk %llu in the cache is damaged; it is fetched again",
		  l->conf.layer->key.hex, (unsigned long long)i);
	COUNT(r, l, digest_errors, 1);
	layer_drop_chunk(l->conf.layer, i);
	return TRY_FETCH;
}

/* ---- one try ---- */

static int chunks_check(struct reader *r, struct reader_layer_state *l,
			const struct reader_request *rq, int flags)
{
	const struct layer_index *ix = l->index;
	uint64_t to_verify = 0;
	int e = 0;

	for (uint64_t i = layer_index_chunk_at(ix, rq->dev_off);
	     i < ix->header.n_chunks && ix->chunks[i].dev_off < rq->dev_off + rq->len; i++) {
		if (!layer_has_chunk(l->conf.layer, i))
			return TRY_FETCH;
		if (bit_get(l->verified, i))
			continue;
		to_verify += ix->chunks[i].len;
		if (flags && to_verify > VERIFY_INLINE)
			return TRY_DISK;
		e = chunk_verify(r, l, i, flags);
		if (e)
			return e;
	}
	return 0;
}

/* 0: buf is filled. TRY_FETCH, TRY_DISK, -errno. flags: RWF_NOWAIT for who must not wait. */
static int request_try(struct reader *r, struct reader_request *rq, int flags)
{
	struct reader_layer_state *l = &r->layers[rq->layer];

	for (;;) {
		uint64_t generation = layer_generation(l->conf.layer);
		int e;

		verified_refresh(l, generation);
		e = chunks_check(r, l, rq, flags);
		if (e)
			return e;
		e = layer_pread(l->conf.layer, rq->buf, rq->len, rq->dev_off, flags);
		if (e == -EAGAIN && flags)
			return TRY_DISK;
		if (e < 0)
			return e;
		if (layer_generation(l->conf.layer) == generation)
			return 0;
	}
}

/* ---- parked requests ---- */

static void request_answer(struct reader *r, struct reader_request *rq, int e)
{
	struct reader_layer_state *l = &r->layers[rq->layer];

	COUNT(r, l, wait_ns, r->o.seam->monotonic_ns(r->o.seam) - rq->start_ns);
	if (e >= 0)
		COUNT(r, l, bytes_served, rq->len);
	else if (e != -EINTR)
		COUNT(r, l, read_errors, 1);
	rq->done(rq, e >= 0 ? 0 : e == -EINTR || e == -ETIMEDOUT ? e : -EIO);
}

/* In a pool thread, where waiting for the disk is allowed. */
static void request_continue(struct reader *r, struct reader_request *rq)
{
	int e;

	do {
		if (r->o.seam->monotonic_ns(r->o.seam) - rq->start_ns > r->deadline_ns)
			e = -ETIMEDOUT;
		else
			e = request_try(r, rq, 0);
		if (e == TRY_FETCH)
			e = flight_join(r, rq);
		else {
			request_answer(r, rq, e);
			return;
		}
	} while (e == -EAGAIN);
	if (e < 0)
		request_answer(r, rq, e);
}

void request_resume(struct reader *r, struct reader_request *rq, int flight_result)
{
	if (flight_result < 0)
		request_answer(r, rq, flight_result);
	else
		request_continue(r, rq);
}

static void disk_job(void *arg)
{
	struct reader_request *rq = arg;
	struct reader *r = rq->reader;

	request_continue(r, rq);
	job_end(r);
}

static bool request_is_inside(const struct reader *r, const struct reader_request *rq)
{
	uint64_t bytes;

	if (rq->layer >= r->n_layers)
		return false;
	bytes = r->layers[rq->layer].index->header.device_bytes;
	return rq->dev_off <= bytes && rq->len <= bytes - rq->dev_off;
}

int reader_try(struct reader *r, uint32_t layer, uint64_t dev_off, void *buf, uint32_t len)
{
	struct reader_request rq = {.layer = layer, .dev_off = dev_off, .len = len, .buf = buf};
	int e;

	if (!request_is_inside(r, &rq))
		return -EINVAL;
	e = request_try(r, &rq, RWF_NOWAIT);
	if (!e) {
		COUNT(r, &r->layers[layer], reads, 1);
		COUNT(r, &r->layers[layer], hits, 1);
		COUNT(r, &r->layers[layer], bytes_served, len);
	}
	return e;
}

int reader_submit(struct reader *r, struct reader_request *rq)
{
	struct reader_layer_state *l;
	int e = reader_try(r, rq->layer, rq->dev_off, rq->buf, rq->len);

	if (!e)
		return 0;
	if (e == -EINVAL)
		return e;
	l = &r->layers[rq->layer];
	COUNT(r, l, reads, 1);
	if (e < 0 && e != -EOPNOTSUPP)
		return -EIO;
	COUNT(r, l, waits, 1);
	rq->reader = r;
	rq->cancelled = false;
	rq->state = RQ_RUNNING;
	rq->start_ns = r->o.seam->monotonic_ns(r->o.seam);
	if (e == TRY_FETCH && flight_join(r, rq) >= 0)
		return READER_PENDING;
	e = job_begin(r, disk_job, rq);
	return e < 0 ? -EIO : READER_PENDING;
}

static void cancel_job(void *arg)
{
	struct reader_request *rq = arg;
	struct reader *r = rq->reader;

	request_answer(r, rq, -EINTR);
	job_end(r);
}

void reader_cancel(struct reader *r, struct reader_request *rq)
{
	/* Never answered from here: the caller may hold what done() takes. */
	if (flight_leave(r, rq))
		while (job_begin(r, cancel_job, rq) < 0)
			r->o.seam->sleep_until(r->o.seam,
					       r->o.seam->monotonic_ns(r->o.seam) + NS_PER_MS);
}

void reader_deadline_set(struct reader *r, uint64_t deadline_ns)
{
	r->deadline_ns = deadline_ns;
}

void reader_interrupt(struct reader *r, bool on)
{
	atomic_store(&r->cancelled, on);
}

/* ---- blocking reads ---- */

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool is_done;
	int result;
};

static void waiter_done(struct reader_request *rq, int result)
{
	struct waiter *w = rq->userdata;

	pthread_mutex_lock(&w->lock);
	w->is_done = true;
	w->result = result;
	pthread_cond_signal(&w->done);
	pthread_mutex_unlock(&w->lock);
}

static int waiter_wait(struct reader *r, struct reader_request *rq, struct waiter *w,
		       const atomic_bool *cancel)
{
	bool left = false;

	pthread_mutex_lock(&w->lock);
	while (!w->is_done) {
		uint64_t at = r->o.seam->monotonic_ns(r->o.seam) + 100 * NS_PER_MS;
		struct timespec ts = {.tv_sec = (time_t)(at / NS_PER_S),
				      .tv_nsec = (long)(at % NS_PER_S)};

		pthread_cond_clockwait(&w->done, &w->lock, CLOCK_MONOTONIC, &ts);
		if (!w->is_done && !left && cancel && atomic_load(cancel)) {
			left = true;
			pthread_mutex_unlock(&w->lock);
			reader_cancel(r, rq);
			pthread_mutex_lock(&w->lock);
		}
	}
	pthread_mutex_unlock(&w->lock);
	return w->result;
}

int reader_read(struct reader *r, uint32_t layer, uint64_t dev_off, void *buf, size_t len,
		const atomic_bool *cancel, struct error *err)
{
	struct waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};
	char why[512];
	int e = 0;

	for (size_t at = 0; at < len && e >= 0;) {
		struct reader_request rq = {.layer = layer,
					    .dev_off = dev_off + at,
					    .len = (uint32_t)min_u64(len - at, 1 << 20),
					    .buf = (uint8_t *)buf + at,
					    .done = waiter_done,
					    .userdata = &w};

		w.is_done = false;
		e = reader_submit(r, &rq);
		if (e == READER_PENDING)
			e = waiter_wait(r, &rq, &w, cancel);
		at += rq.len;
	}
	if (e >= 0)
		return 0;
	if (e == -EINTR)
		return error_set(err, -ECANCELED, "interrupted");
	reader_last_error(r, why, sizeof(why));
	return error_set(err, e, "can't read: %s",
			 why[0] ? why : "the data is not in the cache and can't be fetched");
}

/* ---- life ---- */

int reader_new(const struct reader_options *o, struct reader **ret, struct error *err)
{
	_cleanup_(reader_freep) struct reader *r =
		calloc(1, sizeof(*r) + o->n_layers * sizeof(r->layers[0]));

	if (!r)
		return -ENOMEM;
	r->o = *o;
	r->deadline_ns = o->deadline_ns ? o->deadline_ns : READ_DEADLINE_NS;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->idle, NULL);
	for (; r->n_layers < o->n_layers; r->n_layers++) {
		struct reader_layer_state *l = &r->layers[r->n_layers];

		l->conf = o->layers[r->n_layers];
		l->index = layer_tables(l->conf.layer);
		l->counters = o->per_layer ? &o->per_layer[r->n_layers] : NULL;
		l->verified_generation = layer_generation(l->conf.layer);
		link_model_init(&l->link);
		l->verified = calloc((l->index->header.n_chunks + 63) / 64 + 1, 8);
		if (!l->verified)
			return error_set(err, -ENOMEM, "no memory for a reader");
	}
	*ret = steal_ptr(r);
	return 0;
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	atomic_store(&r->cancelled, true);
	pthread_mutex_lock(&r->lock);
	while (r->busy)
		pthread_cond_wait(&r->idle, &r->lock);
	pthread_mutex_unlock(&r->lock);
	for (uint32_t i = 0; i < r->n_layers; i++)
		free((void *)r->layers[i].verified);
	pthread_cond_destroy(&r->idle);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
