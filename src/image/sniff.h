/* SPDX-License-Identifier: MIT */
/*
 * What a layer's first bytes are, whatever its media type says: suffixes are sometimes missing and
 * sometimes wrong. Tells containers apart, not tables of contents: those are at the end. Pure.
 */
#ifndef MORSEL_IMAGE_SNIFF_H
#define MORSEL_IMAGE_SNIFF_H

#include "image/layer_index.h"

#define SNIFF_BYTES 512 /* give so many, or the whole layer when it is shorter */

/* 0 with LAYER_GZIP, LAYER_ZSTD or LAYER_TAR (also for no bytes and for zeros: an empty archive);
 * -ENOTSUP naming bzip2, xz or "unknown data". */
int layer_sniff(const void *data, size_t n, enum layer_format_id *ret, struct error *err);

#endif
