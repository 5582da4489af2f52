/* SPDX-License-Identifier: MIT */
/*
 * What the formats with a table of contents have in common: its entries become layer tables, and
 * the gzip members or zstd frames of a chunk become the chunk. Does not know what the table was
 * wrapped in (toc_unwrap.h), and verifies no chunk. Pure.
 */
#ifndef MORSEL_IMAGE_TOC_FORMAT_H
#define MORSEL_IMAGE_TOC_FORMAT_H

#include "image/layer_format.h"

#define TOC_UNIT_RAW_MAX (UINT64_C(64) << 20) /* bytes decoded from one span */

/* Whether files may say where their bytes end ("endOffset") and chunks that they are zeros: those
 * members are nobody's in eStargz. */
enum toc_grammar { TOC_ESTARGZ, TOC_ZSTD_CHUNKED };

/* The raw JSON comes from in. -EILSEQ: nothing is wrong with the layer, but it can't be shown by
 * this table (names were lost, chunks too large or interleaved): stream it. */
int toc_format_index(const struct index_source *in, struct layer_builder *b,
		     enum toc_grammar grammar, struct error *err);

/* Decodes from in until out is full, whatever follows. -EBADMSG: it does not get full. */
struct toc_unit_decoder {
	int (*decode)(void *userdata, const uint8_t *in, size_t in_len, uint8_t *out,
		      size_t out_len);
	void *userdata;
};

/* As decode in struct layer_format. */
int toc_format_decode(const struct layer_index *index, uint64_t first, uint64_t last,
		      const void *in, size_t in_len, uint64_t chunk_first, uint64_t chunk_last,
		      const struct toc_unit_decoder *decoder, const struct chunk_sink *sink);

#endif
