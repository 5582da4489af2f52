/* SPDX-License-Identifier: MIT */
/*
 * One FETCH flight while it runs, in its own thread: fetch.c gets the compressed bytes,
 * fetch_decode.c makes chunks of them. What others may look at meanwhile (the flight, the reader)
 * is in reader_impl.h, under its lock. What to fetch was decided before (flight.c); here nothing is
 * planned.
 */
#ifndef MORSEL_CACHE_FETCH_IMPL_H
#define MORSEL_CACHE_FETCH_IMPL_H

#include "cache/reader_impl.h"

struct fetch {
	struct flight *f;
	struct layer_state *ls;
	uint64_t from, to;  /* chunks [from, to) this pass is to deliver */
	uint64_t next;	    /* the first that was not decoded yet */
	uint64_t delivered; /* the first that the decoder has not handed over */
	uint64_t ready;	    /* chunks below have all their bytes in buf */
	uint64_t blob_off;  /* of buf[0] */
	uint8_t *buf;
	size_t len, cap;
	bool locked, again;	/* again: not the first try for these chunks */
	uint32_t avoid, served; /* places that are left out; whose bytes these are */
	bool local;		/* the blob is here: nothing goes over the link */
	bool whole;		/* all of the blob comes, and the call lasts until it has come */
	bool gave_way;		/* a prefetch broke its piece off, for somebody who reads */
	uint64_t piece_end, gives_way_above;
	uint64_t first_byte_at_ns, arrived_before; /* on the link: when, and what had come */
	struct chunk_range bad;
	struct error *err;
};

/* Decodes, verifies and stores the chunks whose bytes are all in buf, and lets their readers go:
 * all of them, or only when there is a batch or somebody waits for just these. Asks for nothing.
 * Bad chunks are noted in x->bad; -errno: the others can't be stored either. */
int fetch_decode(struct fetch *x, bool all);

#endif
