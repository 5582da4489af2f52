/* SPDX-License-Identifier: MIT */
/*
 * Cuts the decompressed bytes of some spans, as they come, into the chunks that are wanted. What
 * every format's decoder shares whose spans follow each other without a gap in the decompressed
 * layer. Pure; verifies nothing.
 */
#ifndef MORSEL_IMAGE_CHUNK_CUT_H
#define MORSEL_IMAGE_CHUNK_CUT_H

#include "image/layer_format.h"

struct chunk_cut {
	const struct layer_index *index; /* all but buf are the caller's to fill in */
	const struct chunk_sink *sink;
	uint64_t first_span; /* the bytes begin where it does */
	uint64_t next, last; /* chunks still to come: [next, last] */
	uint64_t pos;	     /* 0: bytes that went by */
	uint8_t *buf;	     /* NULL; what there is of a chunk that comes in pieces */
};

/* Delivers what is complete. Bytes behind the last chunk are ignored. */
int chunk_cut_feed(struct chunk_cut *c, const void *data, size_t n);
void chunk_cut_fini(struct chunk_cut *c);

static inline bool chunk_cut_done(const struct chunk_cut *c)
{
	return c->next > c->last;
}

#endif
