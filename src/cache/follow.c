/* SPDX-License-Identifier: MIT */
/*
 * Where somebody is in the order is counted in compressed bytes of it, so that the readers' place,
 * what was asked for and what is allowed compare directly. A span is found through sorted[].
 */
#include "cache/follow.h"

#include <errno.h>

#define GROWTH 8 /* bytes ahead for one that was met */
#define PIECE_MIN (UINT64_C(128) << 10)
#define LOST_FREE (UINT64_C(1) << 20)

/* ---- the order ---- */

static uint64_t bytes_between(const struct follow *f, uint32_t layer, uint64_t first, uint64_t last)
{
	const struct layer_span *spans = f->indexes[layer]->spans;

	return spans[last].in_end - spans[first].in_off;
}

static int run_append(struct follow *f, uint32_t layer, uint32_t first, uint32_t n, size_t *room)
{
	if (f->n == *room) {
		size_t more = *room ? 2 * *room : 256;
		struct follow_run *p = realloc(f->runs, more * sizeof(*p));

		if (!p)
			return -ENOMEM;
		f->runs = p;
		*room = more;
	}
	f->runs[f->n++] = (struct follow_run){f->end, layer, first, n};
	f->end += bytes_between(f, layer, first, first + (uint64_t)n - 1);
	return 0;
}

/* Spans of a run that none before it had, as runs of their own. seen: a bit a span. */
static int run_add(struct follow *f, const struct order_run *o, uint8_t *seen, size_t *room)
{
	uint32_t end = o->first + o->n;

	for (uint32_t i = o->first, from = i; i <= end; i++) {
		bool is_new = i < end && !(seen[i / 8] & 1u << i % 8);

		if (is_new) {
			seen[i / 8] |= (uint8_t)(1u << i % 8);
			continue;
		}
		if (from < i && run_append(f, o->layer, from, i - from, room) < 0)
			return -ENOMEM;
		from = i + 1;
	}
	return 0;
}

static int run_compare(const void *a, const void *b, void *runs)
{
	const struct follow_run *x = (const struct follow_run *)runs + *(const uint32_t *)a,
				*y = (const struct follow_run *)runs + *(const uint32_t *)b;

	if (x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	return x->first < y->first ? -1 : x->first > y->first;
}

static int runs_fill(struct follow *f, const struct order *o, uint32_t n_layers)
{
	_cleanup_(freep) size_t *base = calloc(n_layers + 1, sizeof(*base));
	_cleanup_(freep) uint8_t *seen = NULL;
	size_t room = 0;
	int r = 0;

	if (!base)
		return -ENOMEM;
	for (uint32_t i = 0; i < n_layers; i++)
		base[i + 1] = base[i] + f->indexes[i]->header.n_spans / 8 + 1;
	seen = calloc(base[n_layers] + 1, 1);
	if (!seen)
		return -ENOMEM;
	for (size_t i = 0; i < o->n && r >= 0; i++)
		r = run_add(f, &o->runs[i], seen + base[o->runs[i].layer], &room);
	return r;
}

int follow_init(struct follow *f, const struct order *o, const struct layer_index *const *indexes,
		uint32_t n_layers)
{
	int r;

	*f = (struct follow){.indexes = indexes, .stray_at = UINT64_MAX};
	r = runs_fill(f, o, n_layers);
	if (r >= 0) {
		f->sorted = malloc((f->n + 1) * sizeof(*f->sorted));
		r = f->sorted ? 0 : -ENOMEM;
	}
	if (r < 0) {
		follow_fini(f);
		return r;
	}
	for (size_t i = 0; i < f->n; i++)
		f->sorted[i] = (uint32_t)i;
	qsort_r(f->sorted, f->n, sizeof(*f->sorted), run_compare, f->runs);
	return 0;
}

void follow_fini(struct follow *f)
{
	free(f->runs);
	free(f->sorted);
	*f = (struct follow){0};
}

static struct follow_place place_next(const struct follow *f, struct follow_place p)
{
	return ++p.i < f->runs[p.run].n ? p : (struct follow_place){p.run + 1, 0};
}

static uint64_t bytes_at(const struct follow *f, struct follow_place p)
{
	const struct follow_run *r = &f->runs[p.run];
	const struct layer_span *spans;

	if (p.run == f->n)
		return f->end;
	spans = f->indexes[r->layer]->spans;
	return r->at + spans[r->first + p.i].in_off - spans[r->first].in_off;
}

/* Where a span is in the order; false: it is not in it. */
static bool place_of(const struct follow *f, uint32_t layer, uint64_t span,
		     struct follow_place *ret)
{
	size_t lo = 0, hi = f->n;
	const struct follow_run *r;

	while (lo < hi) { /* the first run that begins behind it */
		size_t mid = lo + (hi - lo) / 2;

		r = &f->runs[f->sorted[mid]];
		if (r->layer < layer || (r->layer == layer && r->first <= span))
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo)
		return false;
	r = &f->runs[f->sorted[lo - 1]];
	*ret = (struct follow_place){f->sorted[lo - 1], (uint32_t)span - r->first};
	return r->layer == layer && ret->i < r->n;
}

/* ---- where the readers are ---- */

/* What lies well behind the readers and was asked for, but never touched. */
static void judge(struct follow *f, const struct follow_view *v)
{
	uint64_t until = f->read_at - min_u64(f->read_at, FOLLOW_NEAR);

	until = min_u64(until, bytes_at(f, f->asked));
	while (f->judged.run < f->n && bytes_at(f, f->judged) < until) {
		const struct follow_run *r = &f->runs[f->judged.run];
		uint64_t span = r->first + (uint64_t)f->judged.i;

		if (!v->is_touched(v->userdata, r->layer, span))
			f->lost += bytes_between(f, r->layer, span, span);
		f->judged = place_next(f, f->judged);
	}
}

/* Whether who touches this place keeps to the order, or has come to another place in it and goes on
 * from there. What lies between was not asked for. */
static bool keeps_to_it(struct follow *f, struct follow_place p, uint64_t end)
{
	uint64_t at = bytes_at(f, p), far = max_u64(bytes_at(f, f->asked), f->read_at);
	bool goes_on = f->stray_at != UINT64_MAX && at <= f->stray_at + FOLLOW_NEAR &&
		       f->stray_at <= at + FOLLOW_NEAR;

	if (at <= far + FOLLOW_NEAR)
		return true;
	f->stray_at = end;
	if (goes_on)
		f->asked = f->judged = p;
	return goes_on;
}

void follow_touch(struct follow *f, const struct follow_view *v, uint32_t layer, uint64_t first,
		  uint64_t last)
{
	struct follow_place p;
	uint64_t bytes, end;

	if (!f->n || !place_of(f, layer, first, &p))
		return;
	bytes = bytes_between(f, layer, first, last);
	end = min_u64(bytes_at(f, p) + bytes, f->end);
	if (!keeps_to_it(f, p, end))
		return;
	f->met += bytes;
	f->read_at = max_u64(f->read_at, end);
	while (f->asked.run < f->n && bytes_at(f, f->asked) < f->read_at)
		f->asked = place_next(f, f->asked);
	judge(f, v);
}

/* ---- what is asked for ---- */

static uint64_t allowance(const struct follow *f, const struct follow_view *v)
{
	uint64_t limit = max_u64(2 * link_model_bytes_per_rtt(v->link), FOLLOW_MIN), grown, trust;

	if (mul_overflows(f->met, (uint64_t)GROWTH, &grown))
		grown = FOLLOW_MAX;
	grown = min_u64(FOLLOW_FIRST + grown, FOLLOW_MAX);
	/* A quarter of what was met may be lost, then nothing more is asked for. */
	trust = 256 -
		min_u64(256, (uint64_t)(1024.0 * (double)f->lost / (double)(f->met + LOST_FREE)));
	return min_u64(min_u64(grown, limit) * trust / 256, v->max_bytes);
}

/* Extends the plan over spans that follow in the blob and come soon in the order too. */
static void plan_extend(const struct follow *f, const struct follow_view *v, uint64_t until,
			uint64_t max_bytes, struct follow_plan *p)
{
	uint64_t n = f->indexes[p->layer]->header.n_spans;
	struct follow_place place;

	while (p->last + 1 < n && bytes_between(f, p->layer, p->first, p->last + 1) <= max_bytes &&
	       v->is_wanted(v->userdata, p->layer, p->last + 1) &&
	       place_of(f, p->layer, p->last + 1, &place) && bytes_at(f, place) < until)
		p->last++;
}

bool follow_next(struct follow *f, const struct follow_view *v, uint64_t max_bytes,
		 struct follow_plan *ret)
{
	uint64_t allowed, until;

	if (!f->met)
		return false;
	allowed = allowance(f, v);
	until = f->read_at + allowed;
	max_bytes = min_u64(max_bytes, max_u64(allowed / 4, PIECE_MIN));
	while (f->asked.run < f->n && bytes_at(f, f->asked) < until) {
		const struct follow_run *r = &f->runs[f->asked.run];
		uint64_t span = r->first + (uint64_t)f->asked.i;

		f->asked = place_next(f, f->asked);
		if (!v->is_wanted(v->userdata, r->layer, span))
			continue;
		*ret = (struct follow_plan){r->layer, span, span};
		plan_extend(f, v, until, max_bytes, ret);
		return true;
	}
	return false;
}
