/* SPDX-License-Identifier: MIT */
/*
 * Decides which spans of a layer are fetched before anybody asks for them. Pure policy: what is
 * touched and how the link is comes in, ranges come out; nothing is fetched here.
 *
 * Runs of reads that follow each other in the blob are streams. A new stream may have a little
 * more than was asked for; a stream whose read-ahead is used may have ever more of it, until that
 * fills the link, so that the next range is asked for before the reader is at the end of this one.
 * How far it may run into the next files depends on how many it has crossed already. What was
 * fetched ahead and not touched, by all layers of the image, lowers what new streams get: reads
 * that jump fetch little that nobody wants. Of a layer that has mostly been touched, the rest is
 * fetched too.
 *
 * All under the caller's lock, but planner_is_touched().
 */
#ifndef MORSEL_CACHE_PLANNER_H
#define MORSEL_CACHE_PLANNER_H

#include <stdatomic.h>
#include "cache/link.h"
#include "image/layer_index.h"

#define PLANNER_FIRST (UINT64_C(256) << 10)   /* compressed bytes: the first range of a stream */
#define PLANNER_AHEAD_MIN (UINT64_C(8) << 20) /* ahead of a stream that is used well, at most */
#define PLANNER_AHEAD_MAX (UINT64_C(32) << 20)
#define PLANNER_YOUNG (UINT64_C(1) << 20) /* bytes used: until then many small requests */
#define PLANNER_STREAMS 8
#define PLANNER_MISSES 64

struct planner_budget { /* of all layers of an image */
	uint64_t touched_bytes;
	uint64_t unused_bytes;	/* fetched ahead and not touched, and of these */
	uint64_t trusted_bytes; /* what streams have earned: no more than they have used so far */
};

struct planner_stream {
	uint64_t first, next; /* spans of its region: [first, next) */
	uint64_t last;	      /* touched last */
	uint64_t used;	      /* bytes touched since it began, beside the first */
	uint64_t unused;      /* bytes ahead, and of these */
	uint64_t trusted;     /* in the budget */
	uint64_t grant;	      /* bytes it may have ahead whatever was used, */
	uint64_t before;      /* and before its first miss, once */
	unsigned streak;      /* touches in a row, each right behind the one before */
	uint64_t stamp;	      /* 0 = free */
	unsigned crossed;     /* beginnings of files it went over */
};

enum span_state { SPAN_UNTOUCHED, SPAN_AHEAD, SPAN_TOUCHED };

struct planner {
	const struct layer_index *index;
	struct planner_budget *budget;
	_Atomic uint8_t *state; /* enum span_state, one a span */
	uint64_t all_bytes, touched_bytes;
	uint64_t stamp;
	uint64_t rest_next; /* spans below were looked at for the rest */
	bool wants_all;	    /* the rest, whatever was touched: it costs no network */
	struct planner_stream streams[PLANNER_STREAMS];
	uint64_t misses[PLANNER_MISSES]; /* where streams began last, in the blob; a ring */
	uint64_t n_misses;
};

struct planner_link {
	const struct link_model *model;
	uint64_t max_bytes; /* ahead of any stream: what the cache has room for */
	/* Whether a span is neither here nor on its way. */
	bool (*is_wanted)(void *userdata, uint64_t span);
	void *userdata;
};

struct plan {
	uint64_t first, last; /* spans, inclusive */
};

int planner_init(struct planner *p, const struct layer_index *index, struct planner_budget *b);
void planner_fini(struct planner *p);

/* Any thread: a read of this span tells nothing new. */
static inline bool planner_is_touched(const struct planner *p, uint64_t span)
{
	return atomic_load_explicit(&p->state[span], memory_order_relaxed) == SPAN_TOUCHED;
}

#define PLANNER_NO_MISS UINT64_MAX
/* Spans [first, last] are being read; miss is the first of them that has to be fetched for that.
 * Returns the stream that the read belongs to. */
struct planner_stream *planner_touch(struct planner *p, const struct planner_link *l,
				     uint64_t first, uint64_t last, uint64_t miss);
/* Wanted spans right before `first`, the miss with which the stream began, that one request for it
 * may bring as well. False: none. */
bool planner_before(struct planner *p, const struct planner_link *l, struct planner_stream *s,
		    uint64_t first, uint64_t max_bytes, struct plan *ret);
/* The next run of wanted spans that the stream is to have ahead, at most max_bytes; false when it
 * has enough. at_once: however little it is, since a request is made for what precedes it anyway;
 * then the run starts exactly at the end of the stream, or there is none. The caller fetches it. */
bool planner_ahead(struct planner *p, const struct planner_link *l, struct planner_stream *s,
		   bool at_once, uint64_t max_bytes, struct plan *ret);
/* When most of the layer has been touched, or all is wanted: the next run of what is left. */
bool planner_rest(struct planner *p, const struct planner_link *l, uint64_t max_bytes,
		  struct plan *ret);

#endif
