/* SPDX-License-Identifier: MIT */
/* Between the reader and its planners: reads are told to them, and what they want is fetched. */
#include "cache/reader_impl.h"

#include <time.h>

#include <errno.h>

#define REST_FLIGHTS_MAX 2
#define ALL_WAIT_NS (10 * NS_PER_S)
#define ALL_LOOK_NS (20 * NS_PER_MS)
#define FOLLOW_FLIGHTS_MAX 10 /* many small ones: demand still finds a thread and a connection */

static bool span_in_fetch(const struct layer_state *ls, uint64_t span)
{
	for (const struct flight *f = ls->flights; f; f = f->next)
		if (f->kind == FLIGHT_FETCH && f->first <= span && span <= f->last)
			return true;
	return false;
}

/* A span in which no chunk starts is no reason to stop: the way leads through it. */
static bool span_is_wanted(void *userdata, uint64_t span)
{
	const struct layer_state *ls = userdata;
	const struct layer_index *ix = ls->index;
	uint64_t first = layer_chunk_at_span(ix, span), i = first;

	if (span_in_fetch(ls, span))
		return false;
	for (; i < ix->header.n_chunks && ix->chunks[i].span == span; i++)
		if (layer_chunk_state(ls->conf.layer, i) == CHUNK_ABSENT)
			return true;
	return i == first;
}

uint64_t fetch_bytes_max(const struct layer_state *ls)
{
	return min_u64(FETCH_BYTES_MAX, ls->conf.layer->cache->limit_bytes / 8);
}

/* What may be read ahead. While the disk refuses there is only a little memory: what is asked for
 * needs that. */
static uint64_t room(const struct layer_state *ls)
{
	struct cache *c = ls->conf.layer->cache;

	return cache_disk_ok(c) ? c->limit_bytes / 8 : 0;
}

struct planner_link ahead_link(struct layer_state *ls)
{
	return (struct planner_link){
		.model = &ls->r->link,
		.max_bytes = room(ls),
		.is_wanted = span_is_wanted,
		.userdata = ls,
	};
}

static bool is_news(const struct layer_state *ls, uint64_t first, uint64_t last)
{
	for (uint64_t i = first; i <= last; i++)
		if (!planner_is_touched(&ls->planner, i))
			return true;
	return false;
}

/* ---- along the order that is known ---- */

static bool follow_is_wanted(void *userdata, uint32_t layer, uint64_t span)
{
	struct reader *r = userdata;

	return r->layers[layer].conf.blob && span_is_wanted(&r->layers[layer], span);
}

static bool follow_is_touched(void *userdata, uint32_t layer, uint64_t span)
{
	const struct reader *r = userdata;

	return planner_is_touched(&r->layers[layer].planner, span);
}

static struct follow_view follow_view(struct reader *r)
{
	return (struct follow_view){
		.link = &r->link,
		.max_bytes = room(&r->layers[0]),
		.is_wanted = follow_is_wanted,
		.is_touched = follow_is_touched,
		.userdata = r,
	};
}

int reader_follow(struct reader *r, const struct order *o)
{
	_cleanup_(freep) const struct layer_index **indexes = calloc(r->n_layers, sizeof(*indexes));
	struct follow f;
	int e;

	if (!indexes)
		return -ENOMEM;
	for (uint32_t i = 0; i < r->n_layers; i++)
		indexes[i] = r->layers[i].index;
	e = follow_init(&f, o, indexes, r->n_layers);
	if (e < 0)
		return e;
	pthread_mutex_lock(&r->lock);
	r->follow = f;
	r->follow_indexes = steal_ptr(indexes);
	pthread_mutex_unlock(&r->lock);
	return 0;
}

/* ---- what readers touch ---- */

struct planner_stream *ahead_touch_chunks(struct layer_state *ls, uint64_t from, uint64_t end)
{
	const struct layer_chunk *chunks = ls->index->chunks;
	const struct planner_link link = ahead_link(ls);
	const struct follow_view view = follow_view(ls->r);
	uint32_t layer = (uint32_t)(ls - ls->r->layers);
	uint64_t miss = PLANNER_NO_MISS, first, last;
	struct planner_stream *s;
	bool news;

	if (from >= end)
		return NULL;
	first = chunks[from].span;
	last = chunks[end - 1].span_last;
	news = is_news(ls, first, last);
	for (uint64_t i = from; i < end && miss == PLANNER_NO_MISS; i++)
		if (layer_chunk_state(ls->conf.layer, i) == CHUNK_ABSENT &&
		    !span_in_fetch(ls, chunks[i].span))
			miss = chunks[i].span;
	s = planner_touch(&ls->planner, &link, first, last, miss);
	if (news) {
		order_add(&ls->r->order, layer, first, last - first + 1);
		follow_touch(&ls->r->follow, &view, layer, first, last);
	}
	return s;
}

static bool ahead_fetch(struct reader *r, struct layer_state *ls, const struct plan *plan,
			enum flight_why why, struct flight **ret_new)
{
	struct flight *f = flight_fetch_new(r, ls, plan->first, plan->last, why);

	if (f)
		flight_add(ret_new, f);
	return f != NULL;
}

/* A layer that would push itself out of the cache is better not streamed. */
static bool fits(const struct layer_state *ls)
{
	return ls->index->header.device_bytes <= 4 * room(ls);
}

static unsigned flights_max(const struct planner_stream *s)
{
	return s->used < PLANNER_YOUNG ? AHEAD_FLIGHTS_MAX : AHEAD_FLIGHTS_OLD_MAX;
}

/* What is read next comes before the rest, on connections that are open: at the end of a stream a
 * new one would be the last to arrive. */
static bool rest_may(const struct reader *r, const struct layer_state *ls)
{
	if (r->rest >= REST_FLIGHTS_MAX || !fits(ls))
		return false;
	return ls->planner.wants_all || r->ahead + r->rest < AHEAD_FLIGHTS_OLD_MAX;
}

void ahead_follow(struct reader *r, struct flight **ret_new)
{
	const struct follow_view view = follow_view(r);
	struct follow_plan plan;

	while (r->ahead < FOLLOW_FLIGHTS_MAX &&
	       follow_next(&r->follow, &view, AHEAD_BYTES_MAX, &plan))
		if (!ahead_fetch(r, &r->layers[plan.layer], &(struct plan){plan.first, plan.last},
				 WHY_AHEAD, ret_new))
			return;
}

void ahead_plan(struct reader *r, struct layer_state *ls, struct planner_stream *s,
		struct flight **ret_new)
{
	const struct planner_link link = ahead_link(ls);
	uint64_t max_bytes = min_u64(fetch_bytes_max(ls), AHEAD_BYTES_MAX);
	struct plan plan;

	ahead_follow(r, ret_new);
	while (s && r->ahead < flights_max(s) &&
	       planner_ahead(&ls->planner, &link, s, false, max_bytes, &plan))
		if (!ahead_fetch(r, ls, &plan, WHY_AHEAD, ret_new))
			return;
	while (rest_may(r, ls) && planner_rest(&ls->planner, &link, max_bytes, &plan))
		if (!ahead_fetch(r, ls, &plan, WHY_REST, ret_new))
			return;
}

void ahead_touch(struct reader *r, struct layer_state *ls, uint64_t dev_off, uint64_t len)
{
	const struct layer_index *ix = ls->index;
	uint64_t from = layer_index_chunk_at(ix, dev_off), end = from;
	struct flight *new = NULL;

	while (end < ix->header.n_chunks && ix->chunks[end].dev_off < dev_off + len)
		end++;
	if (!ls->conf.blob || from == end ||
	    !is_news(ls, ix->chunks[from].span, ix->chunks[end - 1].span_last))
		return;
	pthread_mutex_lock(&r->lock);
	ahead_plan(r, ls, ahead_touch_chunks(ls, from, end), &new);
	pthread_mutex_unlock(&r->lock);
	flights_start(r, new);
}

bool ahead_rest(struct reader *r, struct layer_state *ls, struct flight **ret_new)
{
	ahead_plan(r, ls, NULL, ret_new);
	for (uint32_t i = 0; i < r->n_layers && !*ret_new; i++)
		if (r->layers[i].planner.wants_all)
			ahead_plan(r, &r->layers[i], NULL, ret_new);
	return ls->planner.wants_all && !ls->flights && ls->conf.blob;
}

void ahead_all(struct reader *r, struct layer_state *ls)
{
	struct flight *new = NULL;

	if (!ls->conf.blob || !blob_is_here(ls->conf.blob))
		return;
	pthread_mutex_lock(&r->lock);
	ls->planner.wants_all = true;
	ls->planner.rest_next = 0;
	if (!r->stopping)
		ahead_plan(r, ls, NULL, &new);
	pthread_mutex_unlock(&r->lock);
	flights_start(r, new);
}

void ahead_all_wait(struct reader *r)
{
	uint64_t give_up = reader_now(r) + ALL_WAIT_NS;
	bool any = false;

	pthread_mutex_lock(&r->lock);
	for (uint32_t i = 0; i < r->n_layers; i++)
		any |= r->layers[i].planner.wants_all;
	while (any && r->rest && !atomic_load(&r->cancel) && reader_now(r) < give_up) {
		uint64_t at = reader_now(r) + ALL_LOOK_NS;
		struct timespec ts = {.tv_sec = (time_t)(at / NS_PER_S),
				      .tv_nsec = (long)(at % NS_PER_S)};

		pthread_cond_clockwait(&r->changed, &r->lock, CLOCK_MONOTONIC, &ts);
	}
	pthread_mutex_unlock(&r->lock);
}
