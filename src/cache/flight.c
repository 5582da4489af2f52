/* SPDX-License-Identifier: MIT */
/* Which flights a request needs, and what happens to its waits in them. */
#include "cache/reader_impl.h"

#include <errno.h>

#define FAILED_LATE_NS NS_PER_S
#define SUBMIT_RETRY_NS (10 * NS_PER_MS)

/* ---- planning: under the lock ---- */

static bool flight_has_chunk(const struct flight *f, const struct layer_index *ix, uint64_t i)
{
	if (f->kind == FLIGHT_VERIFY)
		return f->chunk_first <= i && i <= f->chunk_last;
	return f->first <= ix->chunks[i].span_last && ix->chunks[i].span <= f->last;
}

static struct flight *flight_of_chunk(const struct layer_state *ls, uint64_t i)
{
	for (struct flight *f = ls->flights; f; f = f->next)
		if (flight_has_chunk(f, ls->index, i))
			return f;
	return NULL;
}

static int wait_add(struct flight *f, struct parked *p, uint64_t i)
{
	struct wait *w = f->waits;

	if (w && w->p == p) { /* its waits are added in one go, so that only the first can be its */
		w->last = i;
		return 0;
	}
	w = malloc(sizeof(*w));
	if (!w)
		return -ENOMEM;
	*w = (struct wait){.next = f->waits, .p = p, .first = i, .last = i};
	f->waits = w;
	p->waits++;
	p->refs++;
	flight_trace_wait(f, p);
	if (f->why == WHY_PREFETCH)
		pthread_cond_broadcast(&f->r->prefetch_news);
	return 0;
}

static struct flight *flight_new(struct reader *r, struct layer_state *ls, enum flight_kind kind)
{
	struct flight *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->r = r;
	f->ls = ls;
	f->kind = kind;
	f->next = ls->flights;
	ls->flights = f;
	flight_trace_begin(f);
	return f;
}

/* What failed a moment ago fails at once: however many ask, it is tried twice a second. (The kernel
 * repeats a failed read-ahead page by page, and would wait for every one of them.) */
static bool has_just_failed(const struct parked *p, const struct layer_chunk *c)
{
	const struct failure *fs = p->ls->failures;
	uint64_t now = reader_now(p->r);

	for (size_t i = 0; i < N_FAILURES; i++)
		if (fs[i].first <= c->span_last && c->span <= fs[i].last && now < fs[i].until_ns)
			return true;
	return false;
}

struct flight *flight_fetch_new(struct reader *r, struct layer_state *ls, uint64_t first,
				uint64_t last, enum flight_why why)
{
	struct flight *f = flight_new(r, ls, FLIGHT_FETCH);

	if (!f)
		return NULL;
	f->first = first;
	f->last = last;
	f->need_first = first;
	f->need_last = why == WHY_DEMAND ? last : first;
	f->why = why;
	f->made_ns = reader_now(r);
	r->ahead += why == WHY_AHEAD;
	r->rest += why == WHY_REST;
	return f;
}

/* A new fetch for chunk i and those after it that this read wants and that follow on directly; what
 * its stream is to have next comes in the same request. */
static struct flight *fetch_new(struct parked *p, uint64_t i, uint64_t end,
				struct planner_stream *s)
{
	struct layer_state *ls = p->ls;
	const struct layer_index *ix = ls->index;
	const struct planner_link link = ahead_link(ls);
	uint64_t first = ix->chunks[i].span, last = ix->chunks[i].span_last, bytes,
		 max_bytes = fetch_bytes_max(ls);
	struct flight *f;
	struct plan ahead;

	for (uint64_t k = i + 1; k < end; k++) {
		const struct layer_chunk *c = &ix->chunks[k];

		if (layer_chunk_state(ls->conf.layer, k) != CHUNK_ABSENT || c->span > last + 1 ||
		    flight_of_chunk(ls, k) ||
		    ix->spans[c->span_last].in_end - ix->spans[first].in_off > FETCH_BYTES_MAX)
			break;
		last = max_u64(last, c->span_last);
	}
	f = flight_fetch_new(p->r, ls, first, last, WHY_DEMAND);
	bytes = ix->spans[last].in_end - ix->spans[first].in_off;
	if (f && s && s->next == last + 1 && bytes < max_bytes && link.max_bytes &&
	    planner_ahead(&ls->planner, &link, s, true,
			  min_u64(max_bytes - bytes, AHEAD_WITH_DEMAND_MAX), &ahead))
		f->last = ahead.last;
	bytes = ix->spans[f ? f->last : last].in_end - ix->spans[first].in_off;
	if (f && s && bytes < max_bytes && link.max_bytes &&
	    planner_before(&ls->planner, &link, s, first, max_bytes - bytes, &ahead))
		f->first = ahead.first;
	return f;
}

/* A new verification of chunk i and those after it, up to end. */
static struct flight *verify_new(struct reader *r, struct layer_state *ls, uint64_t i, uint64_t end)
{
	const struct layer_index *ix = ls->index;
	uint64_t last = i, bytes = ix->chunks[i].len;
	struct flight *f;

	for (uint64_t k = i + 1; k < end; k++) {
		bytes += ix->chunks[k].len;
		if (bytes > VERIFY_BYTES_MAX ||
		    layer_chunk_state(ls->conf.layer, k) != CHUNK_CLAIMED || flight_of_chunk(ls, k))
			break;
		last = k;
	}
	f = flight_new(r, ls, FLIGHT_VERIFY);
	if (f) {
		f->chunk_first = i;
		f->chunk_last = last;
	}
	return f;
}

void flight_add(struct flight **list, struct flight *f)
{
	while (*list)
		list = &(*list)->next_delayed;
	*list = f;
	f->r->jobs++;
}

void verify_ahead(struct reader *r, struct layer_state *ls, uint64_t from, struct flight **ret_new)
{
	const struct layer_index *ix = ls->index;
	uint64_t bytes = 0, trigger = UINT64_MAX, end = from;

	for (; end < ix->header.n_chunks && bytes < VERIFY_AHEAD_BYTES; end++) {
		if (bytes >= VERIFY_AHEAD_BYTES / 2 && trigger == UINT64_MAX)
			trigger = ix->chunks[end].dev_off;
		bytes += ix->chunks[end].len;
	}
	for (uint64_t i = from; i < end; i++) {
		struct flight *f;

		if (layer_chunk_state(ls->conf.layer, i) != CHUNK_CLAIMED || flight_of_chunk(ls, i))
			continue;
		f = verify_new(r, ls, i, end);
		if (!f)
			break;
		flight_add(ret_new, f);
	}
	ls->verify_next = end;
	atomic_store_explicit(&ls->ahead_at, trigger, memory_order_relaxed);
}

/* Reads that run on through what has to be verified find it done when they come. */
static void ahead_of_request(struct reader *r, struct layer_state *ls, uint64_t from, uint64_t end,
			     struct flight **ret_new)
{
	if (from && from == ls->verify_next)
		verify_ahead(r, ls, end, ret_new);
	else
		ls->verify_next = end;
}

int flights_plan(struct parked *p, struct flight **ret_new)
{
	struct layer_state *ls = p->ls;
	const struct layer_index *ix = ls->index;
	uint64_t from = layer_index_chunk_at(ix, p->rq->dev_off), end = from;
	struct planner_stream *s = NULL;
	bool joined = false, verified = false;

	while (end < ix->header.n_chunks && ix->chunks[end].dev_off < p->rq->dev_off + p->rq->len)
		end++;
	if (ls->conf.blob)
		s = ahead_touch_chunks(ls, from, end);
	for (uint64_t i = from; i < end; i++) {
		enum chunk_state st = layer_chunk_state(ls->conf.layer, i);
		struct flight *f;

		if (st == CHUNK_ON_DISK || st == CHUNK_IN_MEMORY)
			continue;
		f = flight_of_chunk(ls, i);
		if (f)
			joined |= f->kind == FLIGHT_FETCH && (!f->waits || f->waits->p != p);
		else if (st == CHUNK_ABSENT && !ls->conf.blob)
			return -ENOTCONN;
		else if (st == CHUNK_ABSENT && has_just_failed(p, &ix->chunks[i]))
			return -EIO;
		else {
			f = st == CHUNK_ABSENT ? fetch_new(p, i, end, s)
					       : verify_new(p->r, ls, i, end);
			if (!f)
				return -ENOMEM;
			flight_add(ret_new, f);
			verified |= st == CHUNK_CLAIMED;
		}
		if (wait_add(f, p, i) < 0)
			return -ENOMEM;
	}
	if (joined)
		COUNT(p->r, ls, joins, 1);
	if (verified)
		ahead_of_request(p->r, ls, from, end, ret_new);
	if (ls->conf.blob)
		ahead_plan(p->r, ls, s, ret_new);
	return 0;
}

bool flight_claim_verify(struct reader *r, struct layer_state *ls, struct flight *f, uint64_t first,
			 uint64_t last)
{
	for (uint64_t i = first; i <= last; i++)
		if (flight_of_chunk(ls, i))
			return false;
	*f = (struct flight){.next = ls->flights,
			     .r = r,
			     .ls = ls,
			     .kind = FLIGHT_VERIFY,
			     .chunk_first = first,
			     .chunk_last = last};
	ls->flights = f;
	r->jobs++;
	return true;
}

/* ---- requests that go on ---- */

static bool overlaps(const struct chunk_range *bad, const struct wait *w)
{
	return bad->any && bad->first <= w->last && w->first <= bad->last;
}

/* Takes waits off f that are over, under the lock, and returns those whose request may go on. */
static struct wait *waits_take(struct flight *f, uint64_t progress, bool all, int result)
{
	struct wait *over = NULL;

	for (struct wait **at = &f->waits; *at;) {
		struct wait *w = *at;

		if (!all && (w->last >= progress || overlaps(&f->bad, w))) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		if (result < 0 || overlaps(&f->bad, w))
			w->p->result = result < 0 ? result : -EIO;
		w->p->waits--;
		w->next = over;
		over = w;
	}
	return over;
}

static void waits_resume(struct reader *r, struct wait *over, bool may_block)
{
	while (over) {
		struct wait *w = over;

		over = w->next;
		parked_wait_over(r, w->p, may_block);
		free(w);
	}
}

void flight_progress(struct flight *f, uint64_t progress, bool may_block)
{
	struct reader *r = f->r;
	struct wait *over;

	pthread_mutex_lock(&r->lock);
	over = waits_take(f, progress, false, 0);
	pthread_mutex_unlock(&r->lock);
	waits_resume(r, over, may_block);
}

/* ---- the end ---- */

static void failure_note(struct flight *f, int result)
{
	struct layer_state *ls = f->ls;
	const struct layer_chunk *chunks = ls->index->chunks;
	struct failure *at = &ls->failures[ls->next_failure++ % N_FAILURES];

	*at = (struct failure){f->first, f->last, reader_now(f->r) + RETRY_NS};
	if (result >= 0) {
		at->first = chunks[f->bad.first].span;
		at->last = chunks[f->bad.last].span_last;
	}
}

void flight_end(struct flight *f, int result, bool may_block)
{
	struct reader *r = f->r;
	struct flight *new = NULL;
	bool failed = result < 0, asked, all_kept = false;
	struct wait *over;

	pthread_mutex_lock(&r->lock);
	for (struct flight **at = &f->ls->flights; *at; at = &(*at)->next)
		if (*at == f) {
			*at = f->next;
			break;
		}
	/* Who waits for what nobody had asked for, and it failed soon, tries himself. */
	asked = f->why == WHY_DEMAND ||
		(f->why != WHY_PREFETCH && reader_now(r) - f->made_ns >= FAILED_LATE_NS);
	if (!asked && result < 0)
		result = 0;
	if (f->kind == FLIGHT_FETCH && asked && result != -ECANCELED && (result < 0 || f->bad.any))
		failure_note(f, result);
	if (f->kind == FLIGHT_FETCH) {
		r->ahead -= f->why == WHY_AHEAD;
		r->rest -= f->why == WHY_REST;
	}
	if (f->kind == FLIGHT_FETCH && f->why == WHY_REST && !failed && !r->stopping)
		all_kept = ahead_rest(r, f->ls, &new);
	else if (f->kind == FLIGHT_FETCH && !failed && !r->stopping)
		ahead_plan(r, f->ls, NULL, &new);
	over = waits_take(f, 0, true, result);
	pthread_mutex_unlock(&r->lock);
	if (all_kept)
		blob_forget(f->ls->conf.blob);
	flights_start(r, new);
	waits_resume(r, over, may_block);
}

void reader_job_end(struct reader *r)
{
	pthread_mutex_lock(&r->lock);
	if (!--r->jobs)
		pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

/* ---- running ---- */

static void flight_job(void *arg)
{
	struct flight *f = arg;
	struct reader *r = f->r;
	struct flight_work work;
	int e = -ECANCELED;

	flight_work_begin(f, &work);
	if (!atomic_load(&r->cancel))
		e = f->kind == FLIGHT_FETCH ? fetch_run(f) : verify_run(f, 0);
	flight_trace_end(f);
	flight_end(f, e, true);
	flight_work_end(&work);
	free(f);
	reader_job_end(r);
}

/* A flight for which there is no thread now is the timer's, which tries again. */
void flights_start(struct reader *r, struct flight *list)
{
	while (list) {
		struct flight *f = list;

		list = f->next_delayed;
		if (work_submit(r->pool, WORK_DEMAND, flight_job, f) >= 0)
			continue;
		pthread_mutex_lock(&r->lock);
		f->start_ns = reader_now(r) + SUBMIT_RETRY_NS;
		f->next_delayed = r->delayed;
		r->delayed = f;
		pthread_cond_broadcast(&r->changed);
		pthread_mutex_unlock(&r->lock);
	}
}

void flight_cancel(struct flight *f)
{
	struct reader *r = f->r;

	flight_end(f, -ECANCELED, true);
	free(f);
	reader_job_end(r);
}
