/* SPDX-License-Identifier: MIT */
/*
 * Reads ahead along an order that is known beforehand: the one in which earlier mounts of the image
 * read it, or a list. What planner.h does for readers who run on through the blob, this does for
 * readers who do again what was done before, however they jump: the next spans of the order are
 * asked for while the reader still uses these.
 *
 * The order is a hint. How far it is trusted depends on how much of it was met: an allowance that
 * grows with the bytes read in its order, and shrinks with those fetched for it that the readers
 * passed by. Who reads something else moves nothing; who comes in elsewhere in the order, and goes
 * on there, is followed there. Pure policy: touches come in, runs of spans come out.
 *
 * All under the caller's lock.
 */
#ifndef MORSEL_CACHE_FOLLOW_H
#define MORSEL_CACHE_FOLLOW_H

#include "cache/link.h"
#include "cache/order.h"
#include "image/layer_index.h"

#define FOLLOW_FIRST (UINT64_C(256) << 10) /* compressed bytes ahead, before anything was met */
#define FOLLOW_MIN (UINT64_C(2) << 20)	   /* ahead of one who keeps to the order, at least */
#define FOLLOW_MAX (UINT64_C(32) << 20)
#define FOLLOW_NEAR (UINT64_C(1) << 20) /* who is so far out of order still keeps to it */

struct follow_run {
	uint64_t at; /* compressed bytes of all runs before */
	uint32_t layer, first, n;
};

/* A span of a run; behind the last: run = n. */
struct follow_place {
	size_t run;
	uint32_t i;
};

struct follow {
	struct follow_run *runs;    /* no span is in two */
	uint32_t *sorted;	    /* of runs: by layer and span */
	size_t n;		    /* 0: there is no order */
	uint64_t end;		    /* bytes of all runs */
	uint64_t read_at;	    /* how far the readers have come, in bytes of the order */
	uint64_t stray_at;	    /* where somebody came in last, beyond what was near */
	struct follow_place asked;  /* before: looked at, and asked for where it was wanted */
	struct follow_place judged; /* before: what was not touched is lost */
	uint64_t met, lost;	    /* bytes */
	const struct layer_index *const *indexes; /* one a layer; borrowed */
};

struct follow_view {
	const struct link_model *link;
	uint64_t max_bytes; /* ahead: what the cache has room for */
	/* Whether a span is neither here nor on its way. */
	bool (*is_wanted)(void *userdata, uint32_t layer, uint64_t span);
	bool (*is_touched)(void *userdata, uint32_t layer, uint64_t span);
	void *userdata;
};

struct follow_plan {
	uint32_t layer;
	uint64_t first, last; /* spans */
};

/* indexes: of n_layers layers, must live as long; order is only looked at, its runs must lie within
 * them. -ENOMEM: there is no order then. */
int follow_init(struct follow *f, const struct order *o, const struct layer_index *const *indexes,
		uint32_t n_layers);
void follow_fini(struct follow *f);

/* Spans [first, last] of a layer have been touched for the first time. */
void follow_touch(struct follow *f, const struct follow_view *v, uint32_t layer, uint64_t first,
		  uint64_t last);
/* The next run to ask for; false when enough is ahead. The caller fetches it. */
bool follow_next(struct follow *f, const struct follow_view *v, uint64_t max_bytes,
		 struct follow_plan *ret);

#endif
