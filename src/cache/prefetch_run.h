/* SPDX-License-Identifier: MIT */
/*
 * The engine of prefetch: one thread that fetches what is probably read soon, in the order given,
 * when prefetch.h lets it, and that keeps the order in which things were read. What it fetches is
 * fetched by the reader's flights, so that nothing is fetched twice and who wants it meanwhile gets
 * it as it arrives.
 */
#ifndef MORSEL_CACHE_PREFETCH_RUN_H
#define MORSEL_CACHE_PREFETCH_RUN_H

#include "cache/order.h"
#include "cache/reader.h"

struct prefetch_options {
	const struct order *list; /* first of all; or NULL. Runs out of bounds are left out. */
	bool landmark;		  /* what layers say is used at once */
	bool learned;		  /* what earlier mounts of the image read, in their order */
	bool all;		  /* then everything */
	uint64_t bandwidth;	  /* bytes/s; 0 = no limit */
	struct digest image_key;
};

struct prefetch;
/* The order that was learned is kept whatever is fetched. -ENOMEM, -EAGAIN. */
int prefetch_start(struct reader *r, struct cache *c, const struct prefetch_options *o,
		   struct prefetch **ret);
/* Ends the thread and writes the order. The reader must still be there. Accepts NULL. */
void prefetch_end(struct prefetch *p);
DEFINE_CLEANUP(struct prefetch *, prefetch_end)

#endif
