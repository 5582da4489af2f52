/* SPDX-License-Identifier: MIT */
/*
 * From a decompressed tar stream to layer tables: what every format without an index of its own
 * shares. Contents go to the layer's device as they pass, cut into chunks of CHUNK_OWN bytes with
 * their digests; where a chunk is in the compressed blob is worked out at the end from the spans.
 *
 * Hashes chunks only; the diffID is the format's to hash.
 */
#ifndef MORSEL_IMAGE_TAR_INDEX_H
#define MORSEL_IMAGE_TAR_INDEX_H

#include "image/layer_format.h"
#include "image/tar.h"

struct tar_index;
/* b and sink are borrowed. */
int tar_index_new(struct layer_builder *b, const struct index_sink *sink, struct tar_index **ret);
/* The decompressed stream, in any slicing. */
int tar_index_feed(struct tar_index *ix, const void *data, size_t n, struct error *err);
/* A span starts here: the chunk under way ends, so that every chunk lies in one span and no span is
 * ever fetched for the tail of a chunk. */
int tar_index_cut(struct tar_index *ix);
/* After the stream's end and after all spans were added with their out_off: resolves the chunks'
 * spans and completes the header. */
int tar_index_finish(struct tar_index *ix, struct error *err);
void tar_index_free(struct tar_index *ix);
DEFINE_CLEANUP(struct tar_index *, tar_index_free)

#endif
