/* SPDX-License-Identifier: MIT */
/*
 * When a prefetch may ask for something, and for how much. Pure policy: link model and clock are
 * given, nothing is fetched here.
 *
 * Demand comes first on the link too, where no queue of ours decides: what was asked for in advance
 * is on its way and in the way. So what is asked for at once is bounded by the delay it can cause.
 * The longer nobody has read the more it may be, up to a twentieth of that time, so that all delays
 * together stay below a twentieth of the time that passes. While a reader waits for little, a
 * little may be asked for right behind him: it arrives behind what he waits for, and before what he
 * can ask for next. While much is being fetched for readers it is nothing.
 */
#ifndef MORSEL_CACHE_PREFETCH_H
#define MORSEL_CACHE_PREFETCH_H

#include "cache/link.h"

#define PREFETCH_PIECE_MIN (UINT64_C(8) << 10)
#define PREFETCH_PIECE_MAX (UINT64_C(4) << 20)

struct prefetch_gate {
	uint64_t bandwidth; /* bytes/s, 0 = as much as comes */
	uint64_t free_ns;   /* by the bandwidth: not before */
	unsigned demand;    /* fetches for readers that are under way */
	uint64_t demand_bytes;
	uint64_t demand_begin_ns; /* of the newest */
	uint64_t demand_end_ns;	  /* of the last one */
	uint64_t stopped_until_ns;
};

/* As if the last demand had been a second ago: readers wait for the mount, and will come. */
void prefetch_gate_init(struct prefetch_gate *g, uint64_t bandwidth, uint64_t now_ns);
void prefetch_demand_begin(struct prefetch_gate *g, uint64_t bytes, uint64_t now_ns);
void prefetch_demand_end(struct prefetch_gate *g, uint64_t bytes, uint64_t now_ns);
/* A host asked to be left alone, or does not answer. */
void prefetch_stop(struct prefetch_gate *g, uint64_t until_ns);
/* How many bytes may be asked for now; 0: not before *ret_again_ns, or what changes before. */
uint64_t prefetch_may(const struct prefetch_gate *g, const struct link_model *link, uint64_t now_ns,
		      uint64_t *ret_again_ns);
/* They were asked for. */
void prefetch_asked(struct prefetch_gate *g, uint64_t bytes, uint64_t now_ns);

#endif
