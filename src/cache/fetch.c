/* SPDX-License-Identifier: MIT */
/*
 * Flights. A flight fetches a run of spans in one request: claims them against other processes,
 * reads their compressed bytes, decodes them, compares every chunk with its digest, keeps it, and
 * wakes who waits. A request waits for one flight at a time; when that ends it looks again.
 */
#include "cache/reader_impl.h"

#include <errno.h>
#include <stdio.h>

#define CLAIM_POLL_NS (2 * NS_PER_MS)
#define CLAIM_POLL_MAX_NS (50 * NS_PER_MS)

static bool chunk_is_ready(const struct reader_layer_state *l, uint64_t i)
{
	return layer_has_chunk(l->conf.layer, i);
}

/* Chunks that lie completely in spans [first, last]: [*from, *to), maybe none. */
static void chunks_of(const struct layer_index *ix, uint64_t first, uint64_t last, uint64_t *from,
		      uint64_t *to)
{
	uint64_t lo = 0, hi = ix->header.n_chunks;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (ix->chunks[mid].span < first)
			lo = mid + 1;
		else
			hi = mid;
	}
	*from = lo;
	for (hi = ix->header.n_chunks; lo < hi;) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (ix->chunks[mid].span <= last)
			lo = mid + 1;
		else
			hi = mid;
	}
	while (lo > *from && ix->chunks[lo - 1].span_last > last)
		lo--;
	*to = lo;
}

static bool spans_are_ready(const struct reader_layer_state *l, uint64_t first, uint64_t last)
{
	uint64_t from, to;

	chunks_of(l->index, first, last, &from, &to);
	while (from < to && chunk_is_ready(l, from))
		from++;
	return from == to;
}

static struct flight *flight_lookup(const struct reader_layer_state *l, uint64_t span)
{
	for (struct flight *f = l->flights; f; f = f->next)
		if (f->first <= span && span <= f->last)
			return f;
	return NULL;
}

static bool span_is_wanted(void *userdata, uint64_t span)
{
	const struct reader_layer_state *l = userdata;
	uint64_t from, to;

	if (flight_lookup(l, span))
		return false;
	chunks_of(l->index, span, span, &from, &to);
	while (from < to && chunk_is_ready(l, from))
		from++;
	return from < to;
}

/* ---- one flight's work ---- */

struct landing {
	struct flight *f;
	bool mismatch;
	uint64_t bad_chunk;
	struct digest bad_got;
};

static int chunk_land(void *userdata, uint64_t i, const void *data, size_t len)
{
	struct landing *ld = userdata;
	struct reader_layer_state *l = ld->f->layer;
	struct digest got;
	int r;

	if (chunk_is_ready(l, i))
		return 0;
	digest_of(DIGEST_SHA256, data, len, &got);
	COUNT(ld->f->reader, l, bytes_decoded, len);
	if (memcmp(got.bytes, l->index->chunks[i].digest, 32)) {
		ld->mismatch = true;
		ld->bad_chunk = i;
		ld->bad_got = got;
		return -EBADMSG;
	}
	r = layer_store_chunk(l->conf.layer, i, data);
	if (r >= 0)
		bit_set(l->verified, i);
	return r;
}

static void mismatch_report(struct landing *ld)
{
	struct flight *f = ld->f;
	struct digest want = {.algo = DIGEST_SHA256};
	char w[DIGEST_TEXT_MAX], g[DIGEST_TEXT_MAX], b[DIGEST_TEXT_MAX], text[512];

	memcpy(want.bytes, f->layer->index->chunks[ld->bad_chunk].digest, 32);
	digest_format(&want, w);
	digest_format(&ld->bad_got, g);
	digest_format(&f->layer->conf.blob->digest, b);
	COUNT(f->reader, f->layer, digest_errors, 1);
	snprintf(text, sizeof(text), "layer %s: chunk %llu is %s, expected %s", b,
		 (unsigned long long)ld->bad_chunk, g, w);
	reader_error_set(f->reader, text);
	log_write(f->reader->o.log, LOG_WARN, "%s", text);
}

static int flight_fetch(struct flight *f, bool fresh, uint64_t deadline, struct error *err)
{
	struct reader_layer_state *l = f->layer;
	struct reader *r = f->reader;
	uint64_t off = l->index->spans[f->first].in_off, from, to;
	size_t len = l->index->spans[f->last].in_end - off;
	_cleanup_(freep) uint8_t *in = malloc(len);
	struct blob_cost cost = {0};
	struct blob_read_options o = {
		.deadline_ns = deadline, .cancel = &r->cancelled, .fresh = fresh, .cost = &cost};
	struct landing ld = {.f = f};
	const struct chunk_sink sink = {.chunk = chunk_land, .userdata = &ld};
	int e;

	if (!in)
		return -ENOMEM;
	e = blob_read_buf(l->conf.blob, off, len, &o, in, err);
	COUNT(r, l, requests, cost.requests);
	COUNT(r, l, bytes_fetched, cost.wire_bytes);
	COUNT(r, l, retries, cost.retries);
	if (e < 0)
		return e;
	pthread_mutex_lock(&r->lock);
	link_model_observe(&l->link, cost.first_byte_ns, len, cost.transfer_ns);
	pthread_mutex_unlock(&r->lock);
	chunks_of(l->index, f->first, f->last, &from, &to);
	if (from == to)
		return 0;
	e = l->conf.format->decode(l->index, f->first, f->last, in, len, from, to - 1, &sink);
	if (e == -EBADMSG) {
		if (ld.mismatch)
			mismatch_report(&ld);
		error_set(err, e, "data does not match its digest");
	}
	return e;
}

/* Another process may be fetching the same: then its result is taken. */
static int flight_claim(struct flight *f, uint64_t deadline)
{
	const struct seam *s = f->reader->o.seam;
	uint64_t wait = CLAIM_POLL_NS;
	int e;

	while ((e = layer_claim(f->layer->conf.layer, f->first, f->last)) == -EAGAIN) {
		uint64_t now = s->monotonic_ns(s);

		if (atomic_load(&f->reader->cancelled))
			return -ECANCELED;
		if (now >= deadline)
			return -ETIMEDOUT;
		s->sleep_until(s, min_u64(now + wait, deadline));
		wait = min_u64(wait * 2, CLAIM_POLL_MAX_NS);
	}
	return e;
}

static int flight_run(struct flight *f)
{
	struct reader *r = f->reader;
	struct reader_layer_state *l = f->layer;
	uint64_t deadline = r->o.seam->monotonic_ns(r->o.seam) + r->deadline_ns;
	struct error err = ERROR_INIT;
	int e;

	if (!l->conf.blob)
		return -EIO;
	e = flight_claim(f, deadline);
	if (e < 0)
		return e;
	e = 0;
	if (!spans_are_ready(l, f->first, f->last)) {
		e = flight_fetch(f, false, deadline, &err);
		if (e == -EBADMSG) {
			err = ERROR_INIT;
			e = flight_fetch(f, true, deadline, &err);
		}
	}
	layer_release(l->conf.layer, f->first, f->last);
	if (e < 0 && err.code) {
		reader_error_set(r, err.text);
		if (log_limit_pass(&r->error_log, r->o.seam->monotonic_ns(r->o.seam), NS_PER_S))
			log_write(r->o.log, LOG_WARN, "a read failed: %s", err.text);
	}
	return e;
}

static void flight_job(void *arg)
{
	struct flight *f = arg;
	struct reader *r = f->reader;
	int e = flight_run(f);
	struct reader_request *w, *next;

	pthread_mutex_lock(&r->lock);
	for (struct flight **p = &f->layer->flights; *p; p = &(*p)->next)
		if (*p == f) {
			*p = f->next;
			break;
		}
	w = f->waiters;
	for (struct reader_request *i = w; i; i = i->next)
		i->state = RQ_RUNNING;
	pthread_mutex_unlock(&r->lock);
	for (; w; w = next) {
		next = w->next;
		request_resume(r, w, e);
	}
	free(f);
	cache_evict_if_over(r->layers[0].conf.layer->cache);
	job_end(r);
}

/* ---- joining ---- */

static void flight_attach(struct flight *f, struct reader_request *rq)
{
	rq->state = RQ_ATTACHED;
	rq->next = f->waiters;
	f->waiters = rq;
}

/* The spans that a request's missing chunks need; false when none is missing. */
static bool need_of(const struct reader_layer_state *l, const struct reader_request *rq,
		    uint64_t *first, uint64_t *last)
{
	const struct layer_index *ix = l->index;
	bool any = false;

	for (uint64_t i = layer_index_chunk_at(ix, rq->dev_off);
	     i < ix->header.n_chunks && ix->chunks[i].dev_off < rq->dev_off + rq->len; i++) {
		if (chunk_is_ready(l, i))
			continue;
		if (!any)
			*first = ix->chunks[i].span;
		*last = ix->chunks[i].span_last;
		any = true;
	}
	return any;
}

int flight_join(struct reader *r, struct reader_request *rq)
{
	struct reader_layer_state *l = &r->layers[rq->layer];
	struct flight *f = NULL;
	uint64_t first, last;
	struct plan plan;
	int e = 0;

	pthread_mutex_lock(&r->lock);
	if (rq->cancelled || !need_of(l, rq, &first, &last)) { /* it has come in the meantime */
		pthread_mutex_unlock(&r->lock);
		return rq->cancelled ? -EINTR : -EAGAIN;
	}
	f = flight_lookup(l, first);
	if (f) {
		COUNT(r, l, joins, 1);
		flight_attach(f, rq);
		pthread_mutex_unlock(&r->lock);
		return 0;
	}
	for (uint64_t s = first + 1; s <= last; s++) /* stop where another flight begins */
		if (flight_lookup(l, s))
			last = s - 1;
	planner_plan(&l->planner, l->index, &l->link, first, last, span_is_wanted, l,
		     FETCH_BYTES_MAX, &plan);
	f = malloc(sizeof(*f));
	if (f) {
		*f = (struct flight){.next = l->flights,
				     .reader = r,
				     .layer = l,
				     .first = plan.first,
				     .last = plan.last};
		l->flights = f;
		flight_attach(f, rq);
		r->busy++;
	}
	pthread_mutex_unlock(&r->lock);
	if (!f)
		return -ENOMEM;
	e = work_submit(r->o.pool, WORK_DEMAND, flight_job, f);
	if (e >= 0)
		return 0;
	/* No thread, no flight: whoever joined meanwhile is told by the same road. */
	flight_job(f);
	return 0;
}

bool flight_leave(struct reader *r, struct reader_request *rq)
{
	struct reader_layer_state *l = &r->layers[rq->layer];
	bool found = false;

	pthread_mutex_lock(&r->lock);
	rq->cancelled = true; /* should it be on its way to another flight */
	for (struct flight *f = l->flights; f && !found; f = f->next)
		for (struct reader_request **p = &f->waiters; *p; p = &(*p)->next)
			if (*p == rq) {
				*p = rq->next;
				rq->state = RQ_RUNNING;
				found = true;
				break;
			}
	pthread_mutex_unlock(&r->lock);
	return found;
}
