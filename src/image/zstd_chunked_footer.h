/* SPDX-License-Identifier: MIT */
/*
 * The last bytes of a zstd:chunked blob: a skippable zstd frame of 64-bit numbers that tells where
 * the table of contents is, which is the payload of a skippable frame too. Three sizes exist:
 *
 *   40   stargz-snapshotter, and containers/storage up to 1.46
 *   56   containers/storage 1.47 to 1.49: room for the tar-split's place, which was left empty
 *   64   containers/storage from 1.50 on, with the place of the tar-split data
 *
 * Does not look at the table, nor ever at the tar-split data. Pure.
 */
#ifndef MORSEL_IMAGE_ZSTD_CHUNKED_FOOTER_H
#define MORSEL_IMAGE_ZSTD_CHUNKED_FOOTER_H

#include "base/error.h"

#define ZSTD_CHUNKED_FOOTER_MAX 72 /* bytes at the end of the blob, with the frame's header */
#define ZSTD_SKIPPABLE_HEADER 8

/* Where the compressed table is. The data ends where its frame starts, so many bytes before. */
struct zstd_chunked_position {
	uint64_t off, len;
	uint64_t raw_len; /* of the JSON */
};

enum { ZSTD_CHUNKED_NO_FOOTER = 1 };

/* tail: the last n bytes of a blob of blob_bytes. 0; ZSTD_CHUNKED_NO_FOOTER also for positions that
 * can't be: such a blob is zstd like any other. */
int zstd_chunked_footer_parse(const void *tail, size_t n, uint64_t blob_bytes,
			      struct zstd_chunked_position *ret);

/* A position from elsewhere, with the manifest type that stands beside it (1). */
bool zstd_chunked_position_fits(const struct zstd_chunked_position *p, uint64_t type,
				uint64_t blob_bytes);

#endif
