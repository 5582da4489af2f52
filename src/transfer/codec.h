/* SPDX-License-Identifier: MIT */
/*
 * One piece in, one gzip member or zstd frame out: the same bytes on every machine that has the
 * same version of the library. (ISA-L is faster, but what it makes depends on the processor.) Does
 * not cut anything into pieces.
 */
#ifndef MORSEL_TRANSFER_CODEC_H
#define MORSEL_TRANSFER_CODEC_H

#include "base/buf.h"

enum codec_kind { CODEC_NONE, CODEC_GZIP, CODEC_ZSTD };

struct codec;
/* For one thread at a time. -ENOMEM. */
int codec_new(enum codec_kind kind, int level, struct codec **ret);
/* Appends. in must not be empty. -ENOMEM. */
int codec_compress(struct codec *c, const void *in, size_t n, struct buf *out);
void codec_free(struct codec *c);
DEFINE_CLEANUP(struct codec *, codec_free)

/* "kind level library version": output of equal text is equal for equal input. */
#define CODEC_TEXT_MAX 64
void codec_describe(enum codec_kind kind, int level, char out[static CODEC_TEXT_MAX]);
int codec_level_max(enum codec_kind kind); /* 0: has no levels */
int codec_level_default(enum codec_kind kind);

#endif
