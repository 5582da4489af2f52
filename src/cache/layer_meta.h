/* SPDX-License-Identifier: MIT */
/*
 * The file layers/<key>/meta: what the layer is, how long its tables are, and their checksums. It
 * binds the files of a layer to each other and to the layer's key, so that files which were
 * swapped, cut or damaged are found when the layer is opened. Knows nothing of what is in the
 * tables, which layer_index.h checks, nor which chunks are there (present.h). Pure.
 */
#ifndef MORSEL_CACHE_LAYER_META_H
#define MORSEL_CACHE_LAYER_META_H

#include "cache/cache.h"

enum layer_table { TABLE_ENTRIES, TABLE_CHUNKS, TABLE_SPANS, TABLE_WINDOWS, TABLE_COUNT };

struct layer_meta {
	struct layer_key key;
	struct digest blob;
	struct layer_index_header header;
	uint64_t sums[TABLE_COUNT]; /* crc64 of each table's file */
};

#define LAYER_META_BYTES 512

void layer_meta_encode(const struct layer_meta *m, uint8_t out[static LAYER_META_BYTES]);
/* -EBADMSG: damaged, of another version, or of another layer than key. Bounds every table by what
 * fits an address, so that sizes may be computed from it. */
int layer_meta_decode(const void *bytes, size_t len, const struct layer_key *key,
		      struct layer_meta *ret);
/* Bytes of a table's file; the entries' holds records and heap. Only on decoded metas. */
uint64_t layer_table_bytes(const struct layer_index_header *h, enum layer_table t);

#endif
