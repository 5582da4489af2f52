/* SPDX-License-Identifier: MIT */
/*
 * A second opinion on a tar archive: libarchive reads the same headers beside our walk, which is
 * the authority, and where the two see another name, type or size the layer is refused: so may
 * other programs. libarchive's warnings don't count (it has one for every name that is not ASCII).
 *
 * It runs in a thread of its own and is not shown the contents of files, only how long they are.
 * For the indexer's sandbox: it is code for hostile input that is not ours.
 */
#ifndef MORSEL_IMAGE_TAR_OPINION_H
#define MORSEL_IMAGE_TAR_OPINION_H

#include "image/tar.h"

struct tar_opinion;
int tar_opinion_new(struct tar_opinion **ret);
/* In the order of the archive: bytes that are no contents, and lengths of contents. An entry is
 * told before the bytes that end its header. -EBADMSG: the two disagree, and where. */
int tar_opinion_meta(struct tar_opinion *o, const void *data, size_t n, struct error *err);
int tar_opinion_contents(struct tar_opinion *o, uint64_t n);
int tar_opinion_entry(struct tar_opinion *o, const struct tar_entry *e);
/* The archive was read to its end by the walk. */
int tar_opinion_finish(struct tar_opinion *o, struct error *err);
void tar_opinion_free(struct tar_opinion *o); /* accepts NULL, also in the middle */
DEFINE_CLEANUP(struct tar_opinion *, tar_opinion_free)

#endif
