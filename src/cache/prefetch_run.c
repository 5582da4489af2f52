/* SPDX-License-Identifier: MIT */
#include "cache/prefetch_run.h"

#include <errno.h>
#include <sys/resource.h>
#include <time.h>
#include "base/digest.h"
#include "base/thread.h"
#include "cache/reader_impl.h"

#define SAVE_NS (30 * NS_PER_S)
#define FAILED_WAIT_NS NS_PER_S
#define FAILED_WAIT_MAX_NS (64 * NS_PER_S)
#define NICE 10

struct prefetch {
	struct reader *r;
	struct cache *c;
	struct digest key;
	char key_hex[DIGEST_TEXT_MAX];
	struct order queue;  /* what is to be fetched */
	struct order before; /* what earlier mounts learned */
	bool ends;	     /* under the reader's lock */
	uint64_t left;	     /* device bytes it may still bring into the cache */
	uint64_t failed_wait_ns;
	uint64_t save_ns; /* when the order is looked at again */
	size_t saved;	  /* runs of the reader's order that were written */
	pthread_t thread;
};

/* ---- the order ---- */

static void order_load(struct prefetch *p)
{
	_cleanup_(freep) uint64_t *n_spans = calloc(p->r->n_layers + 1, sizeof(*n_spans));
	_cleanup_(buf_fini) struct buf b = BUF_INIT;

	if (!n_spans || cache_order_get(p->c, p->key_hex, ORDER_BYTES_MAX, &b))
		return;
	for (uint32_t i = 0; i < p->r->n_layers; i++)
		n_spans[i] = p->r->layers[i].index->header.n_spans;
	if (order_decode(b.data, b.len, p->key.bytes, n_spans, p->r->n_layers, &p->before) < 0)
		p->before = ORDER_INIT;
}

static int order_copy(struct prefetch *p, struct order *ret)
{
	int e = 0;

	pthread_mutex_lock(&p->r->lock);
	for (size_t i = 0; i < p->r->order.n && e >= 0; i++) {
		const struct order_run *run = &p->r->order.runs[i];

		e = order_add(ret, run->layer, run->first, run->n);
	}
	pthread_mutex_unlock(&p->r->lock);
	return e;
}

static void order_save(struct prefetch *p)
{
	_cleanup_(order_fini) struct order o = ORDER_INIT;
	_cleanup_(buf_fini) struct buf b = BUF_INIT;

	if (order_copy(p, &o) < 0 || o.n == p->saved)
		return;
	p->saved = o.n;
	if (order_merge(&o, &p->before) >= 0 && order_encode(&o, p->key.bytes, &b) >= 0)
		cache_order_put(p->c, p->key_hex, b.data, b.len);
}

/* ---- waiting ---- */

/* Until then, or a little less. False: it is time to end. */
static bool wait_until(struct prefetch *p, uint64_t until_ns)
{
	struct reader *r = p->r;
	uint64_t now = reader_now(r), wait_ns;
	struct timespec ts;
	bool go_on;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	wait_ns = until_ns - min_u64(until_ns, now);
	wait_ns = min_u64(wait_ns, p->save_ns - min_u64(p->save_ns, now)) + (uint64_t)ts.tv_nsec;
	ts.tv_sec += (time_t)(wait_ns / NS_PER_S);
	ts.tv_nsec = (long)(wait_ns % NS_PER_S);
	pthread_mutex_lock(&r->lock);
	if (!p->ends)
		pthread_cond_clockwait(&r->prefetch_news, &r->lock, CLOCK_MONOTONIC, &ts);
	go_on = !p->ends;
	pthread_mutex_unlock(&r->lock);
	if (go_on && reader_now(r) >= p->save_ns) {
		order_save(p);
		p->save_ns = reader_now(r) + SAVE_NS;
	}
	return go_on;
}

/* Bytes that may be asked for now; 0: it is time to end. */
static uint64_t gate_wait(struct prefetch *p)
{
	struct reader *r = p->r;

	for (;;) {
		uint64_t bytes, again;
		bool ends;

		pthread_mutex_lock(&r->lock);
		bytes = prefetch_may(&r->gate, &r->link, reader_now(r), &again);
		ends = p->ends;
		pthread_mutex_unlock(&r->lock);
		if (ends)
			return 0;
		if (bytes)
			return bytes;
		if (!wait_until(p, again))
			return 0;
	}
}

/* ---- fetching ---- */

/* A flight for what is wanted first in spans [*at, end), which is at most max_bytes, or one span.
 */
static struct flight *flight_next(struct prefetch *p, struct layer_state *ls, uint64_t *at,
				  uint64_t end, uint64_t max_bytes)
{
	const struct planner_link link = ahead_link(ls);
	const struct layer_span *spans = ls->index->spans;
	struct flight *f = NULL;
	uint64_t last;

	pthread_mutex_lock(&p->r->lock);
	while (*at < end && !link.is_wanted(link.userdata, *at))
		++*at;
	if (*at < end) {
		last = *at;
		while (last + 1 < end && spans[last + 1].in_end - spans[*at].in_off <= max_bytes &&
		       link.is_wanted(link.userdata, last + 1))
			last++;
		f = flight_fetch_new(p->r, ls, *at, last, WHY_PREFETCH);
		if (f) {
			p->r->jobs++;
			*at = last + 1;
		}
	}
	pthread_mutex_unlock(&p->r->lock);
	return f;
}

static uint64_t device_bytes(const struct flight *f)
{
	uint64_t from, to, bytes = 0;

	layer_chunks_in_spans(f->ls->index, f->first, f->last, &from, &to);
	for (uint64_t i = from; i < to; i++)
		bytes += f->ls->index->chunks[i].len;
	return bytes;
}

/* False: no more. */
static bool flight_fly(struct prefetch *p, struct flight *f)
{
	struct reader *r = p->r;
	uint64_t bytes = device_bytes(f);
	struct flight_work work;
	int e;

	if (bytes > p->left) { /* more would push out what is used */
		flight_end(f, -ECANCELED, true);
		free(f);
		reader_job_end(r);
		return false;
	}
	p->left -= bytes;
	flight_work_begin(f, &work);
	e = fetch_run(f);
	flight_trace_end(f);
	flight_end(f, e, true);
	flight_work_end(&work);
	free(f);
	reader_job_end(r);
	if (e >= 0 || e == -ECANCELED) {
		p->failed_wait_ns = FAILED_WAIT_NS;
		return true;
	}
	pthread_mutex_lock(&r->lock);
	prefetch_stop(&r->gate, reader_now(r) + p->failed_wait_ns);
	pthread_mutex_unlock(&r->lock);
	p->failed_wait_ns = min_u64(2 * p->failed_wait_ns, FAILED_WAIT_MAX_NS);
	return true;
}

static bool run_fetch(struct prefetch *p, const struct order_run *run)
{
	struct layer_state *ls = &p->r->layers[run->layer];
	uint64_t at = run->first, end = at + run->n, bytes;
	struct flight *f;

	if (!ls->conf.blob)
		return true;
	while (at < end) {
		bytes = gate_wait(p);
		if (!bytes)
			return false;
		f = flight_next(p, ls, &at, end, bytes);
		if (f && !flight_fly(p, f))
			return false;
	}
	return true;
}

static void *prefetch_thread(void *arg)
{
	struct prefetch *p = arg;

	setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	for (size_t i = 0; i < p->queue.n; i++)
		if (!run_fetch(p, &p->queue.runs[i]))
			break;
	while (wait_until(p, UINT64_MAX))
		;
	return NULL;
}

/* ---- life ---- */

static int queue_list(struct prefetch *p, const struct order *list)
{
	int e = 0;

	for (size_t i = 0; i < list->n && e >= 0; i++) {
		const struct order_run *run = &list->runs[i];
		uint64_t n;

		if (run->layer >= p->r->n_layers)
			continue;
		n = p->r->layers[run->layer].index->header.n_spans;
		if (run->first < n && run->n <= n - run->first)
			e = order_add(&p->queue, run->layer, run->first, run->n);
	}
	return e;
}

/* The landmark is no file of the layer: the span before it reaches over it. */
static uint64_t spans_before(const struct layer_index *ix, uint64_t in_off)
{
	uint64_t n = 0;

	while (n < ix->header.n_spans && ix->spans[n].in_off < in_off)
		n++;
	return n;
}

static int queue_fill(struct prefetch *p, const struct prefetch_options *o)
{
	int e = o->list ? queue_list(p, o->list) : 0;

	for (uint32_t i = 0; i < p->r->n_layers && e >= 0 && o->landmark; i++) {
		const struct layer_index *ix = p->r->layers[i].index;

		e = order_add(&p->queue, i, 0, spans_before(ix, ix->header.prefetch_end));
	}
	if (e >= 0 && o->learned)
		e = queue_list(p, &p->before);
	if (e >= 0 && !o->bandwidth)
		e = reader_follow(p->r, &p->queue);
	for (uint32_t i = 0; i < p->r->n_layers && e >= 0 && o->all; i++)
		e = order_add(&p->queue, i, 0, p->r->layers[i].index->header.n_spans);
	return e;
}

static void prefetch_free(struct prefetch *p)
{
	order_fini(&p->queue);
	order_fini(&p->before);
	free(p);
}

int prefetch_start(struct reader *r, struct cache *c, const struct prefetch_options *o,
		   struct prefetch **ret)
{
	struct prefetch *p = calloc(1, sizeof(*p));
	int e;

	if (!p)
		return -ENOMEM;
	p->r = r;
	p->c = c;
	p->left = c->limit_bytes / 2;
	p->failed_wait_ns = FAILED_WAIT_NS;
	p->save_ns = reader_now(r) + SAVE_NS;
	p->key = o->image_key;
	digest_format_hex(&p->key, p->key_hex);
	order_load(p);
	pthread_mutex_lock(&r->lock);
	prefetch_gate_init(&r->gate, o->bandwidth, reader_now(r));
	pthread_mutex_unlock(&r->lock);
	e = queue_fill(p, o);
	if (e >= 0)
		e = thread_start(&p->thread, "morsel-prefetch", prefetch_thread, p);
	if (e < 0) {
		prefetch_free(p);
		return e;
	}
	*ret = p;
	return 0;
}

void prefetch_end(struct prefetch *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->r->lock);
	p->ends = true;
	atomic_store(&p->r->prefetch_ends, true);
	pthread_cond_broadcast(&p->r->prefetch_news);
	pthread_mutex_unlock(&p->r->lock);
	pthread_join(p->thread, NULL);
	order_save(p);
	prefetch_free(p);
}
