/* SPDX-License-Identifier: MIT */
/*
 * The front of the reader. What is ready and in memory is answered by the thread that asks: two
 * looks at a few bytes and one pread, no lock, no allocation. A little that only has to be verified
 * is verified at once; everything else is parked (parked.c) until flights (flight.c) have brought
 * it.
 */
#include "cache/reader_impl.h"

#include <errno.h>
#include <stdio.h>
#include <sys/uio.h>
#include <time.h>

#define READ_DEADLINE_NS (30 * NS_PER_S)
#define READ_PIECE_BYTES (1u << 20)
#define CANCEL_POLL_NS (50 * NS_PER_MS)

void reader_failed(struct reader *r, int code, const char *text)
{
	pthread_mutex_lock(&r->lock);
	r->last_code = code;
	snprintf(r->last_error, sizeof(r->last_error), "%s", text);
	pthread_mutex_unlock(&r->lock);
	if (log_limit_pass(&r->error_log, reader_now(r), NS_PER_S))
		log_write(r->log, reader_loudness(r), "%s", text);
}

void reader_warn(struct reader *r)
{
	atomic_store(&r->mute, true);
}

void reader_last_error(struct reader *r, char *buf, size_t n)
{
	pthread_mutex_lock(&r->lock);
	snprintf(buf, n, "%s", r->last_error);
	pthread_mutex_unlock(&r->lock);
}

const char *reader_layer_label(const struct reader *r, uint32_t layer)
{
	return layer < r->n_layers ? r->layers[layer].label : NULL;
}

/* ---- at once ---- */

/* The claimed chunks under a range; false when one is absent, or when they are too many bytes. */
static bool few_claimed(const struct layer_state *ls, uint64_t dev_off, uint64_t end,
			uint64_t *first, uint64_t *last)
{
	const struct layer_index *ix = ls->index;
	uint64_t bytes = 0;

	for (uint64_t i = layer_index_chunk_at(ix, dev_off);
	     i < ix->header.n_chunks && ix->chunks[i].dev_off < end; i++) {
		enum chunk_state st = layer_chunk_state(ls->conf.layer, i);

		if (st == CHUNK_ABSENT)
			return false;
		if (st != CHUNK_CLAIMED)
			continue;
		if (!bytes)
			*first = i;
		*last = i;
		bytes += ix->chunks[i].len;
	}
	return bytes && bytes <= VERIFY_INLINE_MAX;
}

static bool verify_inline(struct reader *r, struct layer_state *ls, uint64_t dev_off, uint64_t end)
{
	uint64_t first = 0, last = 0;
	struct flight f;
	bool claimed;
	int e;

	if (!few_claimed(ls, dev_off, end, &first, &last))
		return false;
	pthread_mutex_lock(&r->lock);
	claimed = flight_claim_verify(r, ls, &f, first, last);
	pthread_mutex_unlock(&r->lock);
	if (!claimed)
		return false;
	e = verify_run(&f, RWF_NOWAIT);
	flight_end(&f, 0, false);
	reader_job_end(r);
	return e >= 0;
}

static void keep_ahead(struct reader *r, struct layer_state *ls)
{
	struct flight *new = NULL;

	pthread_mutex_lock(&r->lock);
	verify_ahead(r, ls, ls->verify_next, &new);
	pthread_mutex_unlock(&r->lock);
	flights_start(r, new);
}

static bool is_in_memory(const struct layer_state *ls, uint64_t dev_off)
{
	uint64_t i = layer_index_chunk_at(ls->index, dev_off);

	return i < ls->index->header.n_chunks &&
	       layer_chunk_state(ls->conf.layer, i) == CHUNK_IN_MEMORY;
}

static bool read_now(struct reader *r, struct layer_state *ls, uint64_t dev_off, void *buf,
		     uint32_t len)
{
	struct layer *l = ls->conf.layer;
	uint64_t ahead_at;
	int e = layer_read(l, dev_off, buf, len, RWF_NOWAIT);

	if (e == LAYER_NOT_READY && verify_inline(r, ls, dev_off, dev_off + len))
		e = layer_read(l, dev_off, buf, len, RWF_NOWAIT);
	if (e)
		return false;
	ahead_at = atomic_load_explicit(&ls->ahead_at, memory_order_relaxed);
	if (dev_off <= ahead_at && ahead_at < dev_off + len)
		keep_ahead(r, ls);
	ahead_touch(r, ls, dev_off, len);
	layer_touch(l);
	if (trace_on())
		trace_task.flags |= is_in_memory(ls, dev_off) ? TRACE_READ_MEMORY : 0;
	COUNT(r, ls, reads, 1);
	COUNT(r, ls, hits, 1);
	COUNT(r, ls, bytes_served, len);
	CHARGE(r, trace_task.who, reads, 1);
	CHARGE(r, trace_task.who, bytes, len);
	return true;
}

static struct layer_state *state_of(struct reader *r, uint32_t layer, uint64_t dev_off,
				    uint64_t len)
{
	uint64_t bytes;

	if (layer >= r->n_layers)
		return NULL;
	bytes = r->layers[layer].index->header.device_bytes;
	return dev_off <= bytes && len <= bytes - dev_off ? &r->layers[layer] : NULL;
}

int reader_try(struct reader *r, uint32_t layer, uint64_t dev_off, void *buf, uint32_t len)
{
	struct layer_state *ls = state_of(r, layer, dev_off, len);

	if (!ls)
		return -EINVAL;
	return read_now(r, ls, dev_off, buf, len) ? 0 : READER_PENDING;
}

void reader_count_hole(struct reader *r, uint64_t len)
{
	counter_add(&r->counters->reads, 1);
	counter_add(&r->counters->hits, 1);
	counter_add(&r->counters->bytes_served, len);
	CHARGE(r, trace_task.who, reads, 1);
	CHARGE(r, trace_task.who, bytes, len);
}

/* ---- or later ---- */

int reader_submit(struct reader *r, struct reader_request *rq)
{
	struct layer_state *ls = state_of(r, rq->layer, rq->dev_off, rq->len);
	int e;

	if (!ls)
		return -EINVAL;
	if (read_now(r, ls, rq->dev_off, rq->buf, rq->len))
		return 0;
	COUNT(r, ls, reads, 1);
	COUNT(r, ls, waits, 1);
	CHARGE(r, trace_task.who, reads, 1);
	e = reader_park(r, rq);
	if (e >= 0)
		return READER_PENDING;
	COUNT(r, ls, read_errors, 1);
	if (e == -ENOTCONN)
		reader_failed(r, -ENETUNREACH,
			      "the data is not in the cache and nothing may be fetched "
			      "(--offline)");
	else if (e != -EIO)
		reader_failed(r, e, "no memory or thread for a read");
	return -EIO;
}

void reader_cancel(struct reader *r, struct reader_request *rq)
{
	pthread_mutex_lock(&r->lock);
	if (rq->parked) {
		rq->parked->cancelled = true;
		r->some_cancelled = true;
		pthread_cond_broadcast(&r->changed);
	}
	pthread_mutex_unlock(&r->lock);
}

/* Under the lock. */
static void cancel_all(struct reader *r)
{
	atomic_store(&r->cancel, true);
	for (struct parked *p = r->head; p; p = p->next)
		p->cancelled = r->some_cancelled = true;
	pthread_cond_broadcast(&r->changed);
}

void reader_interrupt(struct reader *r, bool on)
{
	pthread_mutex_lock(&r->lock);
	if (on)
		cancel_all(r);
	else
		atomic_store(&r->cancel, false);
	pthread_mutex_unlock(&r->lock);
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
	pthread_mutex_lock(&w->lock);
	while (!w->is_done) {
		struct timespec ts;

		clock_gettime(CLOCK_MONOTONIC, &ts);
		ts.tv_nsec += (long)CANCEL_POLL_NS;
		ts.tv_sec += ts.tv_nsec / (long)NS_PER_S;
		ts.tv_nsec %= (long)NS_PER_S;
		pthread_cond_clockwait(&w->done, &w->lock, CLOCK_MONOTONIC, &ts);
		if (w->is_done || !cancel || !atomic_load(cancel))
			continue;
		pthread_mutex_unlock(&w->lock); /* done() takes it while the reader's may be held */
		reader_cancel(r, rq);
		pthread_mutex_lock(&w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	return w->result;
}

static int read_error(struct reader *r, int e, struct error *err)
{
	char why[512];

	if (e == -EINTR)
		return error_set(err, -ECANCELED, "interrupted");
	if (e == -EINVAL)
		return error_set(err, e, "read outside a layer's device");
	pthread_mutex_lock(&r->lock);
	if (e == -EIO && r->last_code)
		e = r->last_code;
	pthread_mutex_unlock(&r->lock);
	reader_last_error(r, why, sizeof(why));
	return error_set(err, e, "%s", why[0] ? why : "the data can't be read");
}

int reader_read(struct reader *r, uint32_t layer, uint64_t dev_off, void *buf, size_t len,
		const atomic_bool *cancel, struct error *err)
{
	struct waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};
	int e = 0;

	for (size_t at = 0; at < len && e >= 0; at += READ_PIECE_BYTES) {
		struct reader_request rq = {.layer = layer,
					    .dev_off = dev_off + at,
					    .len = (uint32_t)min_u64(len - at, READ_PIECE_BYTES),
					    .buf = (uint8_t *)buf + at,
					    .done = waiter_done,
					    .userdata = &w};

		if (cancel && atomic_load(cancel))
			return read_error(r, -EINTR, err);
		w.is_done = false;
		e = reader_submit(r, &rq);
		if (e == READER_PENDING)
			e = waiter_wait(r, &rq, &w, cancel);
	}
	return e < 0 ? read_error(r, e, err) : 0;
}

int reader_clone(struct reader *r, uint32_t layer, uint64_t dev_off, uint64_t len, int fd,
		 uint64_t off)
{
	struct layer_state *ls = state_of(r, layer, dev_off, len);
	int e = ls ? layer_clone(ls->conf.layer, dev_off, len, fd, off) : -EINVAL;

	return e == LAYER_NOT_READY ? READER_PENDING : e;
}

/* ---- life ---- */

int reader_new(const struct reader_options *o, struct reader **ret, struct error *err)
{
	struct reader *r = calloc(1, sizeof(*r) + o->n_layers * sizeof(r->layers[0]));
	char digest[DIGEST_TEXT_MAX];

	if (!r)
		return error_set(err, -ENOMEM, "no memory for a reader");
	r->seam = o->seam;
	r->log = o->log;
	r->counters = o->counters;
	r->access = o->access;
	r->label = o->label;
	r->pool = o->pool;
	r->deadline_ns = o->deadline_ns ? o->deadline_ns : READ_DEADLINE_NS;
	r->n_layers = o->n_layers;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	pthread_cond_init(&r->prefetch_news, NULL);
	link_model_init(&r->link);
	for (uint32_t i = 0; i < o->n_layers; i++) {
		struct layer_state *ls = &r->layers[i];

		ls->r = r;
		ls->conf = o->layers[i];
		ls->index = layer_tables(ls->conf.layer);
		digest_format(&ls->conf.layer->meta.blob, digest);
		ls->label = prof_intern(digest);
		ls->counters = o->per_layer ? &o->per_layer[i] : NULL;
		ls->ahead_at = UINT64_MAX;
		if (planner_init(&ls->planner, ls->index, &r->budget) < 0) {
			reader_free(r);
			return error_set(err, -ENOMEM, "no memory for a reader");
		}
	}
	for (uint32_t i = 0; i < r->n_layers; i++)
		ahead_all(r, &r->layers[i]);
	*ret = r;
	return 0;
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	ahead_all_wait(r);
	pthread_mutex_lock(&r->lock);
	r->stopping = true;
	cancel_all(r);
	while (r->jobs || r->head || r->delayed)
		pthread_cond_wait(&r->changed, &r->lock);
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	if (r->timer_runs)
		pthread_join(r->timer, NULL);
	for (uint32_t i = 0; i < r->n_layers; i++)
		planner_fini(&r->layers[i].planner);
	order_fini(&r->order);
	follow_fini(&r->follow);
	free(r->follow_indexes);
	pthread_cond_destroy(&r->prefetch_news);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
