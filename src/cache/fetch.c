/* SPDX-License-Identifier: MIT */
/*
 * A FETCH flight: one run of spans.
 *
 * The compressed bytes arrive in order; whenever those of enough whole chunks are there, they are
 * decoded and stored (fetch_decode.c) and whoever waits for them is let go, while the rest is still
 * on its way. Chunks that don't match are fetched once more, past the caches on the way; after that
 * their readers get EIO.
 *
 * Against other processes the spans are locked; who had to wait looks again whether there is still
 * something to fetch. A process that is stopped with a lock in its hands must not stop others:
 * after a third of the deadline the chunks are fetched without it and kept in memory only, because
 * the data file may only be written under the lock.
 */
#include "cache/fetch_impl.h"

#include <errno.h>
#include <sys/mman.h>
#include <time.h>
#include "prof/heap.h"

#define LOCK_POLL_NS NS_PER_MS
#define LOCK_POLL_MAX_NS (20 * NS_PER_MS)
#define PREFETCH_PAUSE_NS NS_PER_S
#define PREFETCH_LOOK_NS (20 * NS_PER_MS)

/* ---- bytes from the blob ---- */

static int bytes_arrived(void *userdata, const void *data, size_t n)
{
	struct fetch *x = userdata;
	int e;

	if (n > x->cap - x->len)
		return -EPROTO;
	if (!x->first_byte_at_ns) {
		x->first_byte_at_ns = reader_now(x->f->r);
		x->arrived_before = atomic_load(&x->f->r->arrived);
	}
	atomic_fetch_add(&x->f->r->arrived, n);
	memcpy(x->buf + x->len, data, n);
	x->len += n;
	/* The last ones are left to pass_read(), so that what the request cost is counted before
	 * the last reader is let go; unless that is long after. */
	if (x->len == x->cap)
		return x->whole ? fetch_decode(x, true) : 0;
	e = fetch_decode(x, false);
	if (e >= 0 && !x->whole && x->piece_end - x->len > x->gives_way_above &&
	    atomic_load(&x->f->r->demand)) {
		x->gave_way = true;
		return -EINTR;
	}
	return e;
}

/* Who is alone on the link when he asks may say how long an answer takes; how much comes in a
 * second shows in the bytes of all who were on it meanwhile. */
static bool transfer_begin(struct fetch *x, uint64_t bytes, bool background)
{
	struct reader *r = x->f->r;
	bool alone;

	pthread_mutex_lock(&r->lock);
	alone = !r->transfers++;
	x->first_byte_at_ns = 0;
	if (background)
		prefetch_asked(&r->gate, bytes, reader_now(r));
	else if (!x->local) {
		prefetch_demand_begin(&r->gate, bytes, reader_now(r));
		pthread_cond_broadcast(&r->prefetch_news);
		atomic_fetch_add(&r->demand, 1);
	}
	pthread_mutex_unlock(&r->lock);
	return alone;
}

static void transfer_end(struct fetch *x, uint64_t bytes, bool background,
			 const struct blob_cost *cost, bool alone)
{
	struct reader *r = x->f->r;
	struct access_entry *who = x->f->task.who;
	uint64_t now = reader_now(r), took_ns;

	took_ns = x->first_byte_at_ns ? now - x->first_byte_at_ns : 0;
	pthread_mutex_lock(&r->lock);
	r->transfers--;
	if (background && r->access)
		who = access_prefetch(r->access);
	else if (x->f->why == WHY_PREFETCH && x->f->waits) /* taken over */
		who = x->f->waits->p->task.who;
	if (!background && !x->local) {
		prefetch_demand_end(&r->gate, bytes, now);
		atomic_fetch_sub(&r->demand, 1);
	}
	if (!cost->retries && cost->requests)
		link_model_observe(&r->link, alone ? cost->first_byte_ns : 0,
				   atomic_load(&r->arrived) - x->arrived_before, took_ns);
	pthread_mutex_unlock(&r->lock);
	COUNT(r, x->ls, requests, cost->requests);
	COUNT(r, x->ls, bytes_fetched, cost->wire_bytes);
	COUNT(r, x->ls, retries, cost->retries);
	CHARGE(r, who, fetched_bytes, cost->wire_bytes);
	if (background) {
		COUNT(r, x->ls, prefetch_requests, cost->requests);
		COUNT(r, x->ls, prefetch_bytes, cost->wire_bytes);
	}
}

/* Breaking off costs a connection. What takes less than half a round trip is let through. */
static uint64_t way_bytes(struct reader *r)
{
	uint64_t bytes;

	pthread_mutex_lock(&r->lock);
	bytes = link_model_bytes_per_rtt(&r->link) / 2;
	pthread_mutex_unlock(&r->lock);
	return bytes;
}

/* Up to `bytes` more of the blob. */
static int piece_read(struct fetch *x, uint64_t bytes, bool background, uint64_t deadline_ns)
{
	struct reader *r = x->f->r;
	struct blob_cost cost = {0};
	struct blob_read_options o = {.deadline_ns = deadline_ns,
				      .cancel = background ? &r->prefetch_ends : &r->cancel,
				      .fresh = x->again,
				      .background = background,
				      .avoid = x->avoid,
				      .served = &x->served,
				      .whole = &x->whole,
				      .cost = &cost};
	bool alone;
	uint64_t begin = trace_begin();
	int e;

	x->local = blob_is_here(x->ls->conf.blob);
	alone = transfer_begin(x, bytes, background);
	x->piece_end = x->len + bytes;
	x->gives_way_above = background ? way_bytes(r) : UINT64_MAX;
	e = blob_read(x->ls->conf.blob, x->blob_off + x->len, bytes, &o, bytes_arrived, x, x->err);
	trace_span(TRACE_TRANSFER, begin);
	transfer_end(x, bytes, background, &cost, alone);
	if (x->gave_way) { /* what came is kept, the rest is asked for again */
		x->gave_way = false;
		*x->err = ERROR_INIT;
		return 0;
	}
	return e;
}

/* What may be asked for next: everything, unless it is a prefetch that nobody waits for. 0: not
 * now. */
static uint64_t piece_plan(struct fetch *x, bool *ret_background)
{
	struct reader *r = x->f->r;
	uint64_t left = x->cap - x->len, again;

	pthread_mutex_lock(&r->lock);
	*ret_background = x->f->why == WHY_PREFETCH && !x->f->waits;
	if (*ret_background)
		left = min_u64(left, prefetch_may(&r->gate, &r->link, reader_now(r), &again));
	pthread_mutex_unlock(&r->lock);
	return left;
}

static void piece_wait(struct reader *r)
{
	uint64_t ns = PREFETCH_LOOK_NS;
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ns += (uint64_t)ts.tv_nsec;
	ts.tv_sec += (time_t)(ns / NS_PER_S);
	ts.tv_nsec = (long)(ns % NS_PER_S);
	pthread_mutex_lock(&r->lock);
	pthread_cond_clockwait(&r->prefetch_news, &r->lock, CLOCK_MONOTONIC, &ts);
	pthread_mutex_unlock(&r->lock);
}

/* In pieces, where it is a prefetch: it keeps out of the way of others. Its spans are locked
 * meanwhile, so that it gives up when that takes long. */
static int pieces_read(struct fetch *x, uint64_t deadline_ns)
{
	struct reader *r = x->f->r;
	uint64_t give_up = reader_now(r) + PREFETCH_PAUSE_NS;
	int e = 0;

	while (e >= 0 && x->len < x->cap) {
		bool background;
		uint64_t bytes = piece_plan(x, &background);

		if (bytes) {
			e = piece_read(x, bytes, background, deadline_ns);
			give_up = reader_now(r) + PREFETCH_PAUSE_NS;
		} else if (reader_now(r) >= give_up || atomic_load(&r->prefetch_ends))
			e = -ECANCELED;
		else
			piece_wait(r);
	}
	return e;
}

static int pass_read(struct fetch *x, uint64_t deadline_ns)
{
	const struct layer_index *ix = x->ls->index;
	uint64_t first = ix->chunks[x->from].span, last = ix->chunks[x->to - 1].span_last;
	uint64_t off = ix->spans[first].in_off;
	int e;

	x->blob_off = off;
	x->cap = ix->spans[last].in_end - off;
	x->len = 0;
	x->next = x->ready = x->from;
	if (x->cap > SPANS_BYTES_MAX)
		return error_set(x->err, -EIO,
				 "one chunk needs %zu compressed bytes, the limit is %llu", x->cap,
				 (unsigned long long)SPANS_BYTES_MAX);
	x->buf = mmap(NULL, x->cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (x->buf == MAP_FAILED)
		return -ENOMEM;
	heap_add(x->buf, x->cap);
	e = pieces_read(x, deadline_ns);
	if (e >= 0)
		e = fetch_decode(x, true);
	heap_remove(x->buf);
	munmap(x->buf, x->cap);
	return e;
}

/* ---- the flight ---- */

static bool flight_is_waited_for(struct flight *f)
{
	bool waited_for;

	pthread_mutex_lock(&f->r->lock);
	waited_for = f->waits != NULL;
	pthread_mutex_unlock(&f->r->lock);
	return waited_for;
}

/* Without a blob of its own the lock is no use: 0 with *ret_locked false. */
static int spans_lock(struct flight *f, uint64_t deadline_ns, bool *ret_locked)
{
	struct reader *r = f->r;
	struct present *p = &f->ls->conf.layer->present;
	uint64_t poll = LOCK_POLL_NS, give_up = reader_now(r) + r->deadline_ns / 3, where;

	*ret_locked = p->fd < 0;
	if (p->fd < 0 || !p->writable)
		return 0;
	for (;;) {
		uint64_t now;
		int e = present_lock_spans(p->fd, f->first, f->last, &where);

		if (e != -EAGAIN) {
			*ret_locked = e >= 0;
			return 0;
		}
		if (f->why == WHY_PREFETCH && !flight_is_waited_for(f))
			return -ECANCELED; /* others have it */
		if (where > f->need_last || f->first < f->need_first) {
			/* what is read ahead is taken, or some of it */
			pthread_mutex_lock(&r->lock);
			if (where > f->need_last)
				f->last = where - 1;
			else
				f->first = f->need_first;
			pthread_mutex_unlock(&r->lock);
			continue;
		}
		now = reader_now(r);
		if (atomic_load(&r->cancel))
			return -ECANCELED;
		if (now >= deadline_ns || now >= give_up)
			return 0;
		r->seam->sleep_until(r->seam, now + poll);
		poll = min_u64(2 * poll, LOCK_POLL_MAX_NS);
	}
}

/* Narrows [*from, *to) to what is still absent; false when nothing is. */
static bool absent_in(const struct layer *l, uint64_t *from, uint64_t *to)
{
	while (*from < *to && layer_chunk_state(l, *from) != CHUNK_ABSENT)
		++*from;
	while (*to > *from && layer_chunk_state(l, *to - 1) != CHUNK_ABSENT)
		--*to;
	return *from < *to;
}

/* Bad chunks are asked for again past the caches on the way, then at each place that has not sent
 * wrong ones yet. */
static int passes_run(struct fetch *x, uint64_t deadline_ns)
{
	for (unsigned pass = 0;; pass++) {
		int e;

		x->served = 0;
		e = pass_read(x, deadline_ns);
		if (e < 0 || !x->bad.any)
			return e;
		if (pass)
			x->avoid |= x->served;
		if (pass && (!x->served || !blob_has_other(x->ls->conf.blob, x->avoid)))
			return e;
		*x->err = ERROR_INIT;
		x->again = true;
		x->from = x->bad.first;
		x->to = x->bad.last + 1;
		x->bad.any = false;
		COUNT(x->f->r, x->ls, retries, 1);
	}
}

int fetch_run(struct flight *f)
{
	uint64_t deadline_ns = reader_now(f->r) + f->r->deadline_ns, lock_first, lock_last;
	struct layer *l = f->ls->conf.layer;
	struct error err = ERROR_INIT;
	struct fetch x = {.f = f, .ls = f->ls, .err = &err};
	int e = spans_lock(f, deadline_ns, &x.locked);

	if (e < 0)
		return e;
	lock_first = f->first;
	lock_last = f->last;
	/* What was only to be read ahead is no reason for a request of its own. */
	layer_chunks_in_spans(f->ls->index, f->need_first, f->need_last, &x.from, &x.to);
	if (absent_in(l, &x.from, &x.to))
		layer_chunks_in_spans(f->ls->index, f->first, f->last, &x.from, &x.to);
	if (absent_in(l, &x.from, &x.to)) {
		e = layer_windows_check(l);
		if (e < 0)
			error_set(
				&err, e,
				"layer %.16s...: its index in the cache is damaged; mount again to "
				"have it made anew",
				l->meta.key.hex);
		else
			e = passes_run(&x, deadline_ns);
	}
	if (x.locked && l->present.fd >= 0)
		present_unlock_spans(l->present.fd, lock_first, lock_last);
	if (e < 0 && !err.code)
		error_set_errno(&err, e, "layer %.16s...", l->meta.key.hex);
	if (err.code && e != -ECANCELED && f->why == WHY_PREFETCH)
		log_write(f->r->log, LOG_INFO, "prefetch: %s", err.text);
	else if (err.code && e != -ECANCELED)
		reader_failed(f->r, err.code, err.text);
	pthread_mutex_lock(&f->r->lock);
	f->bad = x.bad;
	pthread_mutex_unlock(&f->r->lock);
	if (x.whole)
		ahead_all(f->r, f->ls);
	return e;
}
