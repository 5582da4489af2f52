/* SPDX-License-Identifier: MIT */
/*
 * The tree as batches: headers, contents, padding, cut into pieces where the format wants a
 * decompressor to be able to start. Where that is depends on the tree and the chunk size alone.
 * Compresses nothing, and takes no digest.
 */
#ifndef MORSEL_TRANSFER_LAYER_FILL_H
#define MORSEL_TRANSFER_LAYER_FILL_H

#include "transfer/layer_write.h"
#include "transfer/pipeline.h"

struct layer_fill {
	const struct layer_source *source;
	const struct layer_params *params;
	const char *prefix;		  /* clean */
	const struct ignore_list *ignore; /* may be NULL */
	uint32_t chunk_size;

	/* Outputs; to be read when the pipeline has ended. */
	uint64_t entries, files, file_bytes, hardlinks, sockets, dropped_xattrs;
	uint64_t read_ns;
	uint64_t raw_bytes;
};

/* A pipeline's fill job, with a struct layer_fill as the userdata's first member. */
int layer_fill_run(struct layer_fill *f, struct pipeline *p, struct error *err);

static inline bool layer_has_table(enum layer_compression c)
{
	return c == LAYER_COMPRESS_ESTARGZ || c == LAYER_COMPRESS_ZSTD_CHUNKED;
}

#endif
