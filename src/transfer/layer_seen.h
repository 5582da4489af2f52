/* SPDX-License-Identifier: MIT */
/*
 * Which blob a directory became the last time, kept beside its pieces in the cache. It is found by
 * what a look at the directory tells, so it is a guess: contents are not looked at. Who wants to
 * know makes the layer and compares.
 */
#ifndef MORSEL_TRANSFER_LAYER_SEEN_H
#define MORSEL_TRANSFER_LAYER_SEEN_H

#include "transfer/layer_write.h"

struct members;

/* A look at the source: one walk, no contents. -ENOMEM, and as layer_write(). */
int layer_look(const struct layer_params *p, const struct layer_source *source,
	       struct layer_look *ret, struct error *err);
/* 0, or CACHE_MISS; -ENOMEM. */
int layer_seen_get(struct members *m, const struct layer_look *look, struct digest *ret,
		   uint64_t *ret_size);
/* Does nothing when that is known. What can't be kept is not kept. */
void layer_seen_put(struct members *m, const struct layer_look *look, const struct digest *d,
		    uint64_t size);

#endif
