/* SPDX-License-Identifier: MIT */
/*
 * The table of contents, written while the layer is: each entry as soon as its last compressed byte
 * has its place. The text is compressed at once, since that of a million entries is hundreds of
 * megabytes. Makes the JSON of eStargz and of zstd:chunked, and the tar-split data of the latter.
 * Puts nothing into the blob: layer_end.h does.
 */
#ifndef MORSEL_TRANSFER_TOC_WRITE_H
#define MORSEL_TRANSFER_TOC_WRITE_H

#include "transfer/batch.h"
#include "transfer/packed_text.h"

struct toc_write;
int toc_write_new(bool chunked, struct toc_write **ret);
/* A batch that was compressed and hashed, in order; out_off: where its output begins in the blob.
 */
int toc_write_batch(struct toc_write *t, const struct batch *b, uint64_t out_off);
/* The last batch has come. Borrowed outputs: the JSON, sealed but not finished (its digest is
 * known, more text may be appended), and for zstd:chunked the finished tar-split data, else NULL.
 */
int toc_write_finish(struct toc_write *t, struct packed_text **ret_json,
		     struct packed_text **ret_split);
void toc_write_free(struct toc_write *t);
DEFINE_CLEANUP(struct toc_write *, toc_write_free)

#endif
