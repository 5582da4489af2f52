/* SPDX-License-Identifier: MIT */
/*
 * Spans of plain gzip layers to chunk contents: the decode of format_gzip.c's row. Does not verify
 * what comes out: the chunks' digests are the caller's to compare.
 */
#ifndef MORSEL_IMAGE_GZIP_DECODE_H
#define MORSEL_IMAGE_GZIP_DECODE_H

#include "image/layer_format.h"

#define GZIP_WINDOW 32768u

int gzip_decode(const struct layer_index *index, uint64_t first, uint64_t last, const void *in,
		size_t in_len, uint64_t chunk_first, uint64_t chunk_last,
		const struct chunk_sink *sink);

#endif
