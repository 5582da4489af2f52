/* SPDX-License-Identifier: MIT */
#include "cache/order.h"

#include <errno.h>

#define MAGIC UINT64_C(0x3144524f4c53524d) /* "MRSLORD1" */

struct order_header {
	uint64_t magic, n;
	uint8_t key[ORDER_KEY_BYTES];
	uint8_t reserved[16];
};
static_assert(sizeof(struct order_header) == 64, "on-disk record");

void order_fini(struct order *o)
{
	free(o->runs);
	*o = ORDER_INIT;
}

static int run_append(struct order *o, const struct order_run *run)
{
	if (o->n == ORDER_RUNS_MAX)
		return 0;
	if (o->n == o->room) {
		size_t room = o->room ? 2 * o->room : 256;
		struct order_run *p = realloc(o->runs, room * sizeof(*p));

		if (!p)
			return -ENOMEM;
		o->runs = p;
		o->room = room;
	}
	o->runs[o->n++] = *run;
	return 0;
}

int order_add(struct order *o, uint32_t layer, uint64_t first, uint64_t n)
{
	struct order_run *last = o->n ? &o->runs[o->n - 1] : NULL;
	struct order_run run = {.layer = layer, .first = (uint32_t)first, .n = (uint32_t)n};

	if (!n || first > UINT32_MAX || n > UINT32_MAX - first)
		return 0;
	if (last && last->layer == layer && !last->age &&
	    last->first + (uint64_t)last->n == first) {
		last->n += (uint32_t)n;
		return 0;
	}
	return run_append(o, &run);
}

static int run_compare(const void *a, const void *b)
{
	const struct order_run *x = a, *y = b;

	if (x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	return x->first < y->first ? -1 : x->first > y->first;
}

/* The parts of `run` that no run of sorted[] covers. */
static int uncovered_append(struct order *o, const struct order_run *sorted, size_t n,
			    const struct order_run *run)
{
	uint64_t at = run->first, end = at + run->n;
	size_t lo = 0, hi = n;
	int r = 0;

	while (lo < hi) { /* the first that begins after the run does */
		size_t mid = lo + (hi - lo) / 2;

		if (run_compare(&sorted[mid], run) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (size_t i = lo ? lo - 1 : 0; i < n && at < end && r >= 0; i++) {
		const struct order_run *s = &sorted[i];
		struct order_run part = *run;

		if (s->layer > run->layer || (s->layer == run->layer && s->first >= end))
			break;
		if (s->layer < run->layer || s->first + (uint64_t)s->n <= at)
			continue;
		if (s->first > at) {
			part.first = (uint32_t)at;
			part.n = s->first - (uint32_t)at;
			r = run_append(o, &part);
		}
		at = s->first + (uint64_t)s->n;
	}
	if (r >= 0 && at < end)
		r = run_append(o, &(struct order_run){.layer = run->layer,
						      .first = (uint32_t)at,
						      .n = (uint32_t)(end - at),
						      .age = run->age});
	return r;
}

int order_merge(struct order *o, const struct order *before)
{
	_cleanup_(freep) struct order_run *sorted = malloc((o->n + 1) * sizeof(*sorted));
	size_t n = o->n;
	int r = 0;

	if (!sorted)
		return -ENOMEM;
	if (n)
		memcpy(sorted, o->runs, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), run_compare);
	for (size_t i = 0; i < before->n && r >= 0; i++) {
		struct order_run run = before->runs[i];

		if (run.age++ < ORDER_AGE_MAX)
			r = uncovered_append(o, sorted, n, &run);
	}
	return r;
}

int order_encode(const struct order *o, const uint8_t key[static ORDER_KEY_BYTES], struct buf *ret)
{
	struct order_header h = {.magic = MAGIC, .n = o->n};
	int r;

	memcpy(h.key, key, ORDER_KEY_BYTES);
	r = buf_append(ret, &h, sizeof(h));
	if (r >= 0 && o->n)
		r = buf_append(ret, o->runs, o->n * sizeof(o->runs[0]));
	return r;
}

int order_decode(const void *data, size_t len, const uint8_t key[static ORDER_KEY_BYTES],
		 const uint64_t *n_spans, uint32_t n_layers, struct order *ret)
{
	struct order_header h;
	struct order o = ORDER_INIT;

	if (len < sizeof(h))
		return -EBADMSG;
	memcpy(&h, data, sizeof(h));
	if (h.magic != MAGIC || h.n > ORDER_RUNS_MAX || memcmp(h.key, key, ORDER_KEY_BYTES) ||
	    len != sizeof(h) + h.n * sizeof(struct order_run))
		return -EBADMSG;
	for (uint64_t i = 0; i < h.n; i++) {
		struct order_run run;

		memcpy(&run, (const uint8_t *)data + sizeof(h) + i * sizeof(run), sizeof(run));
		if (run.layer >= n_layers || !run.n || run.age > ORDER_AGE_MAX ||
		    run.first >= n_spans[run.layer] || run.n > n_spans[run.layer] - run.first) {
			order_fini(&o);
			return -EBADMSG;
		}
		if (run_append(&o, &run) < 0) {
			order_fini(&o);
			return -ENOMEM;
		}
	}
	*ret = o;
	return 0;
}
