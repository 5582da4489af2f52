/* SPDX-License-Identifier: MIT */
/*
 * Decides which spans one request fetches. Pure policy: the link's round trip and bandwidth are
 * given; nothing is fetched here.
 *
 * What was asked is always covered. Missing neighbours that follow it come along when the link
 * makes that cheap: a request costs a round trip, and as many bytes as fit into one cost no more
 * than that again. The window grows while reads run on from each other, so that a sequential
 * reader waits for few round trips; it falls back when they jump, so that a random reader fetches
 * little that nobody wants.
 */
#ifndef MORSEL_CACHE_PLANNER_H
#define MORSEL_CACHE_PLANNER_H

#include "image/layer_index.h"

#define PLANNER_WINDOW_MIN (UINT64_C(64) << 10) /* compressed bytes */
#define PLANNER_WINDOW_FIRST (UINT64_C(256) << 10)
#define PLANNER_WINDOW_MAX (UINT64_C(8) << 20)

struct link_model {	 /* smoothed measurements of one layer's blob */
	uint64_t rtt_ns; /* request to first byte */
	uint64_t bytes_per_s;
	bool rtt_measured, rate_measured;
};
void link_model_init(struct link_model *m); /* 20 ms, 12.5 MB/s: a guess until measured */
/* What one request cost. Times of 0 say nothing and are ignored; a transfer too short to tell
 * bandwidth from buffering does not count as a measurement of it. */
void link_model_observe(struct link_model *m, uint64_t first_byte_ns, uint64_t bytes,
			uint64_t transfer_ns);

struct planner {	       /* one a layer, under the caller's lock */
	uint64_t next_span;    /* where a sequential reader would go on; 0 = nothing was read yet */
	uint64_t window_bytes; /* 0 = PLANNER_WINDOW_FIRST */
};

struct plan {
	uint64_t first, last; /* spans, inclusive */
};

/* need_first..need_last are the spans asked for. is_wanted says whether a span is neither present
 * nor being fetched. The plan never exceeds max_bytes compressed unless what was asked does. */
void planner_plan(struct planner *p, const struct layer_index *index, const struct link_model *link,
		  uint64_t need_first, uint64_t need_last,
		  bool (*is_wanted)(void *userdata, uint64_t span), void *userdata,
		  uint64_t max_bytes, struct plan *ret);

#endif
