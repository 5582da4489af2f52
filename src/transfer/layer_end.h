/* SPDX-License-Identifier: MIT */
/*
 * What follows the last compressed byte of the archive: tables, footers, annotations. Compresses no
 * contents: that is over by then.
 */
#ifndef MORSEL_TRANSFER_LAYER_END_H
#define MORSEL_TRANSFER_LAYER_END_H

#include "transfer/layer_write.h"
#include "transfer/stream_hash.h"
#include "transfer/toc_write.h"

/* The blob on its way out. */
struct layer_out {
	const struct layer_sink *sink;
	struct stream_hash *blob_hash; /* owned by whoever made this, as is the next */
	struct stream_hash *diff_hash; /* of the tar stream */
	uint64_t off;		       /* bytes written */
	uint64_t raw_len;	       /* of the tar stream */
	uint64_t sink_ns, hash_ns;
};

/* What a batch was compressed to. */
int layer_out_batch(struct layer_out *o, const struct batch *b, struct error *err);
/* What follows the last batch. */
int layer_out_write(struct layer_out *o, const void *data, size_t n, struct error *err);
/* eStargz: the table as the archive's last file, the archive's end, the footer. */
int layer_end_estargz(struct layer_out *o, struct toc_write *t, struct layer_result *res,
		      struct error *err);
/* zstd:chunked: three skippable frames. */
int layer_end_zstd_chunked(struct layer_out *o, struct toc_write *t, struct layer_result *res,
			   struct error *err);

#endif
