/* SPDX-License-Identifier: MIT */
#include "cache/planner.h"

#include <errno.h>

#define STREAK_MIN 2
#define STREAK_PROVEN 4
#define ROW_MIN (UINT64_C(2) << 20)
#define PIECE_MIN (UINT64_C(128) << 10)
#define GAP_MAX (UINT64_C(64) << 10) /* a reader who skips so much still runs on */
#define GROWTH 4		     /* half bytes ahead for one that was used, when none is lost */
#define GROWTH_PROVEN 16	     /* the same, for one that goes on in order */
#define CROSSED_MAX 16
#define WINDOW_FIRST (UINT64_C(96) << 10) /* with a miss: and so much more for each near it */
#define WINDOW_MORE (UINT64_C(20) << 10)
#define NEAR_BYTES (UINT64_C(1) << 20)
#define GRANT_MAX (UINT64_C(2) << 20)
#define STARTS_LARGE 2	/* the first misses of a layer: nothing is known yet, it may be a stream */
#define WASTE_LITTLE 64 /* as waste() counts */
#define BUDGET_FREE (UINT64_C(1) << 20) /* of unused bytes, before anything was touched */

static uint64_t span_bytes(const struct planner *p, uint64_t i)
{
	return p->index->spans[i].in_end - p->index->spans[i].in_off;
}

static uint8_t state_of(const struct planner *p, uint64_t i)
{
	return atomic_load_explicit(&p->state[i], memory_order_relaxed);
}

int planner_init(struct planner *p, const struct layer_index *index, struct planner_budget *b)
{
	*p = (struct planner){.index = index, .budget = b};
	p->state = calloc(index->header.n_spans + 1, sizeof(*p->state));
	if (!p->state)
		return -ENOMEM;
	for (uint64_t i = 0; i < index->header.n_spans; i++)
		p->all_bytes += span_bytes(p, i);
	return 0;
}

void planner_fini(struct planner *p)
{
	free(p->state);
	p->state = NULL;
}

/* ---- the books ---- */

static void take(uint64_t *from, uint64_t n)
{
	*from -= min_u64(*from, n);
}

static void state_set(struct planner *p, uint64_t i, enum span_state to)
{
	uint64_t n = span_bytes(p, i);
	uint8_t was = state_of(p, i);

	if (was == SPAN_AHEAD)
		take(&p->budget->unused_bytes, n);
	else if (was == SPAN_TOUCHED) {
		take(&p->touched_bytes, n);
		take(&p->budget->touched_bytes, n);
	}
	if (to == SPAN_AHEAD)
		p->budget->unused_bytes += n;
	else if (to == SPAN_TOUCHED) {
		p->touched_bytes += n;
		p->budget->touched_bytes += n;
	}
	atomic_store_explicit(&p->state[i], (uint8_t)to, memory_order_relaxed);
}

static void stream_account(struct planner *p, struct planner_stream *s)
{
	take(&p->budget->trusted_bytes, s->trusted);
	s->trusted = min_u64(s->used, s->unused);
	p->budget->trusted_bytes += s->trusted;
}

/* 0: what was fetched ahead is used, or is this stream's. 256: what may be lost is a quarter of
 * what was touched, which is enough. */
static unsigned waste(const struct planner *p, const struct planner_stream *s)
{
	uint64_t lost = p->budget->unused_bytes, mine = s->unused - s->trusted;
	double part;

	take(&lost, p->budget->trusted_bytes);
	take(&lost, mine);
	part = 1024.0 * (double)lost / (double)(p->budget->touched_bytes + BUDGET_FREE);
	return part >= 256 ? 256 : (unsigned)part;
}

/* ---- streams ---- */

/* Whether a file begins with this span: what comes before it on the device does not touch it. */
static bool file_begins(const struct planner *p, uint64_t span)
{
	const struct layer_index *ix = p->index;
	uint64_t lo = 0, hi = ix->header.n_chunks;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (ix->chunks[mid].span < span)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo || lo == ix->header.n_chunks || ix->chunks[lo].span != span)
		return false;
	return ix->chunks[lo - 1].dev_off + ix->chunks[lo - 1].len != ix->chunks[lo].dev_off;
}

/* Where something is missing that the stream went over, it is the stream that is out of date. */
static bool runs_on(const struct planner *p, const struct planner_stream *s, uint64_t first,
		    uint64_t miss)
{
	const struct layer_span *spans = p->index->spans;
	uint64_t at = miss == PLANNER_NO_MISS ? first : miss;

	if (!s->stamp || at < s->first)
		return false;
	if (at < s->next)
		return miss == PLANNER_NO_MISS;
	return at == s->next ||
	       spans[at].in_off <= spans[s->next - 1].in_end + GAP_MAX; /* < blob + 64 KiB */
}

static struct planner_stream *stream_find(struct planner *p, uint64_t first, uint64_t miss)
{
	struct planner_stream *found = NULL;

	for (struct planner_stream *s = p->streams; s < p->streams + PLANNER_STREAMS; s++)
		if (runs_on(p, s, first, miss) && (!found || s->stamp > found->stamp))
			found = s;
	return found;
}

static unsigned misses_near(const struct planner *p, uint64_t in_off)
{
	unsigned n = 0;

	for (uint64_t i = 0; i < min_u64(p->n_misses, PLANNER_MISSES); i++)
		n += p->misses[i] < in_off + NEAR_BYTES && in_off < p->misses[i] + NEAR_BYTES;
	return n;
}

/* What comes with a miss that nobody expected: what lies around it, and the more the more often
 * readers have come to this place. */
static void miss_window(struct planner *p, const struct planner_link *l, struct planner_stream *s,
			uint64_t first, uint64_t need)
{
	uint64_t at = p->index->spans[first].in_off, per_rtt = link_model_bytes_per_rtt(l->model);
	uint64_t window = WINDOW_FIRST + WINDOW_MORE * misses_near(p, at), room, lost = waste(p, s);

	if (p->n_misses < STARTS_LARGE)
		window = PLANNER_FIRST;
	window = min_u64(window, PLANNER_FIRST);
	room = min_u64(window - min_u64(window, need), per_rtt);
	room = room * (256 - lost * lost / 256 * lost / 256) / 256;
	s->before = p->n_misses < STARTS_LARGE ? 0 : min_u64(room / 2, per_rtt / 4);
	s->grant = max_u64(room - s->before, min_u64(p->touched_bytes / 16, GRANT_MAX) *
						     (WASTE_LITTLE - min_u64(lost, WASTE_LITTLE)) /
						     WASTE_LITTLE);
	p->misses[p->n_misses++ % PLANNER_MISSES] = at;
}

static struct planner_stream *stream_new(struct planner *p, const struct planner_link *l,
					 uint64_t first, uint64_t last, bool missed)
{
	struct planner_stream *s = p->streams;
	uint64_t need = p->index->spans[last].in_end - p->index->spans[first].in_off;

	for (struct planner_stream *o = p->streams; o < p->streams + PLANNER_STREAMS; o++)
		if (o->stamp < s->stamp)
			s = o;
	take(&p->budget->trusted_bytes, s->trusted);
	*s = (struct planner_stream){.first = first, .next = first, .last = first};
	if (!missed) /* no request is made for it: what it has is enough */
		return s;
	miss_window(p, l, s, first, need);
	return s;
}

struct planner_stream *planner_touch(struct planner *p, const struct planner_link *l,
				     uint64_t first, uint64_t last, uint64_t miss)
{
	struct planner_stream *s = stream_find(p, first, miss);
	bool is_new = !s;

	if (!is_new)
		s->streak = first == s->last + 1 ? s->streak + 1 : first == s->last ? s->streak : 0;
	if (is_new)
		s = stream_new(p, l, miss == PLANNER_NO_MISS ? first : miss, last,
			       miss != PLANNER_NO_MISS);
	for (uint64_t i = first; i <= last; i++) {
		uint8_t was = state_of(p, i);

		if (was == SPAN_AHEAD && s->first <= i && i < s->next)
			take(&s->unused, span_bytes(p, i));
		state_set(p, i, SPAN_TOUCHED);
		if (is_new || (was == SPAN_TOUCHED && i < miss))
			continue;
		s->used += span_bytes(p, i);
		if (s->crossed < CROSSED_MAX && i != s->last && file_begins(p, i))
			s->crossed++;
	}
	s->last = last;
	s->next = max_u64(s->next, last + 1);
	s->stamp = ++p->stamp;
	stream_account(p, s);
	return s;
}

/* ---- what is fetched ahead ---- */

struct allowance {
	uint64_t bytes;	  /* ahead, in the file that is being read */
	uint64_t crossed; /* and into files that follow it */
};

struct run {
	struct plan plan;
	uint64_t bytes; /* 0: none */
	uint64_t allowed;
	bool full; /* it ends because no more is allowed */
};

static struct allowance allowance_of(const struct planner *p, const struct planner_link *l,
				     const struct planner_stream *s)
{
	bool proven = s->streak >= STREAK_PROVEN;
	unsigned growth = (proven ? GROWTH_PROVEN : GROWTH) >> waste(p, s) / 64;
	uint64_t limit = 2 * link_model_bytes_per_rtt(l->model), grown, row = 0;
	struct allowance a;

	limit = max_u64(PLANNER_AHEAD_MIN, min_u64(limit, PLANNER_AHEAD_MAX));
	limit = min_u64(limit, l->max_bytes);
	if (mul_overflows(s->used / 2, (uint64_t)growth, &grown) ||
	    add_overflows(grown, s->grant, &grown))
		grown = UINT64_MAX;
	/* One who took several in a row, in order, means it: the link is filled at once. */
	if (s->streak >= STREAK_MIN)
		row = (PLANNER_FIRST << min_u64(s->streak - STREAK_MIN + 1, 10)) *
		      (256 - waste(p, s)) / 256;
	row = min_u64(row, max_u64(4 * link_model_bytes_per_rtt(l->model), ROW_MIN));
	if (proven) /* whatever others lose: as much again */
		grown = max_u64(grown, s->used);
	grown = max_u64(grown, row);
	a.bytes = min_u64(grown, limit);
	a.crossed = min_u64(a.bytes, s->crossed ? PLANNER_FIRST << s->crossed : s->grant);
	a.crossed = max_u64(a.crossed, s->grant);
	return a;
}

/* New connections are slow at first, so that a stream begins with many small pieces; later they
 * share the link, and few large ones arrive in the order in which they are read. */
static uint64_t piece_of(const struct planner_stream *s, uint64_t allowed)
{
	return max_u64(s->used < PLANNER_YOUNG ? allowed / 8 : allowed / 4, PIECE_MIN);
}

/* The run from s->next on that is wanted and allowed. Returns where the look ended. */
static uint64_t run_find(const struct planner *p, const struct planner_link *l,
			 const struct planner_stream *s, bool at_once, uint64_t max_bytes,
			 struct run *ret)
{
	const struct layer_index *ix = p->index;
	struct allowance a = allowance_of(p, l, s);
	uint64_t i, reach = ix->spans[s->last].in_end + 2 * PLANNER_AHEAD_MAX;

	*ret = (struct run){.allowed = a.bytes};
	for (i = s->next; i < ix->header.n_spans && ix->spans[i].in_end <= reach; i++) {
		uint64_t n = span_bytes(p, i);

		if (!l->is_wanted(l->userdata, i)) {
			if (at_once || ret->bytes)
				break;
			continue;
		}
		if (file_begins(p, i))
			ret->allowed = min_u64(ret->allowed, a.crossed);
		ret->full = s->unused + ret->bytes + n > ret->allowed;
		if (ret->full || ret->bytes + n > max_bytes ||
		    (!at_once && ret->bytes >= piece_of(s, ret->allowed)))
			break;
		if (!ret->bytes)
			ret->plan.first = i;
		ret->plan.last = i;
		ret->bytes += n;
	}
	return i;
}

bool planner_ahead(struct planner *p, const struct planner_link *l, struct planner_stream *s,
		   bool at_once, uint64_t max_bytes, struct plan *ret)
{
	struct run run;
	uint64_t next = run_find(p, l, s, at_once, max_bytes, &run);

	/* Not in driblets: a request has its price. */
	if (!at_once && run.full && s->unused &&
	    run.bytes < min_u64(piece_of(s, run.allowed), run.allowed / 4))
		return false;
	s->next = next;
	s->unused += run.bytes;
	stream_account(p, s);
	if (!run.bytes)
		return false;
	for (uint64_t i = run.plan.first; i <= run.plan.last; i++)
		state_set(p, i, SPAN_AHEAD);
	*ret = run.plan;
	return true;
}

bool planner_before(struct planner *p, const struct planner_link *l, struct planner_stream *s,
		    uint64_t first, uint64_t max_bytes, struct plan *ret)
{
	uint64_t end = p->index->spans[first].in_off, i = first;

	max_bytes = min_u64(max_bytes, s->before);
	s->before = 0;
	while (i && end - p->index->spans[i - 1].in_off <= max_bytes &&
	       l->is_wanted(l->userdata, i - 1))
		state_set(p, --i, SPAN_AHEAD);
	*ret = (struct plan){i, first - 1};
	return i < first;
}

bool planner_rest(struct planner *p, const struct planner_link *l, uint64_t max_bytes,
		  struct plan *ret)
{
	uint64_t taken = 0, i = p->rest_next;
	bool open = false;

	if (!p->wants_all && p->touched_bytes < p->all_bytes - p->all_bytes / 4)
		return false;
	for (; i < p->index->header.n_spans; i++) {
		uint64_t n = span_bytes(p, i);
		bool wanted = l->is_wanted(l->userdata, i);

		if (open && (!wanted || taken + n > max_bytes))
			break;
		if (!wanted)
			continue;
		if (!open)
			ret->first = i;
		open = true;
		ret->last = i;
		taken += n;
		if (state_of(p, i) == SPAN_UNTOUCHED)
			state_set(p, i, SPAN_AHEAD);
	}
	p->rest_next = i;
	return open;
}
