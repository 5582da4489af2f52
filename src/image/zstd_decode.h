/* SPDX-License-Identifier: MIT */
/*
 * Chunk contents from the frames of a zstd layer whose bytes come in pieces: a frame may be larger
 * than what anybody wants to keep in memory. Memory: one decoder with a window of at most
 * 2^ZSTD_WINDOW_LOG_MAX bytes. Does not verify what comes out: the chunks' digests are the caller's
 * to compare. Pure.
 */
#ifndef MORSEL_IMAGE_ZSTD_DECODE_H
#define MORSEL_IMAGE_ZSTD_DECODE_H

#include "image/layer_format.h"

#define ZSTD_WINDOW_LOG_MAX 27 /* 128 MiB: what the zstd program takes without being told */

/* The four as struct layer_format has them. */
int zstd_decode(const struct layer_index *index, uint64_t first, uint64_t last, const void *in,
		size_t in_len, uint64_t chunk_first, uint64_t chunk_last,
		const struct chunk_sink *sink);
int zstd_stream_new(const struct layer_index *index, uint64_t first, uint64_t chunk_first,
		    uint64_t chunk_last, const struct chunk_sink *sink, struct chunk_stream **ret);
int zstd_stream_feed(struct chunk_stream *s, const void *data, size_t n);
void zstd_stream_free(struct chunk_stream *s);

#endif
