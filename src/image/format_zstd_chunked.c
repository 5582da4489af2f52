/* SPDX-License-Identifier: MIT */
/*
 * zstd:chunked: a zstd blob of many frames with a table of contents, as containers/storage writes
 * it and as stargz-snapshotter does. A span is the frames of one chunk.
 */
#include "image/layer_format.h"

#include <errno.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "image/toc_format.h"

/* 32 MiB: what containers/storage's compressor asks for in every frame of more than 128 KiB,
 * however short it is. No more of it is touched than the chunk has bytes. */
#define WINDOW_LOG_MAX 25

static int zstd_chunked_index(const struct index_source *in, const struct index_sink *out,
			      struct layer_builder *b, struct error *err)
{
	return toc_format_index(in, b, TOC_ZSTD_CHUNKED, err);
}

static int frames_decode(void *userdata, const uint8_t *in, size_t in_len, uint8_t *out,
			 size_t out_len)
{
	ZSTD_DCtx *z = userdata;
	ZSTD_inBuffer i = {.src = in, .size = in_len};
	ZSTD_outBuffer o = {.dst = out, .size = out_len};

	ZSTD_DCtx_reset(z, ZSTD_reset_session_only);
	while (o.pos < o.size) {
		size_t i_before = i.pos, o_before = o.pos, n = ZSTD_decompressStream(z, &o, &i);

		if (ZSTD_isError(n))
			return ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation ? -ENOMEM
										    : -EBADMSG;
		if (i.pos == i_before && o.pos == o_before)
			return -EBADMSG;
	}
	return 0;
}

static int zstd_chunked_decode(const struct layer_index *index, uint64_t first, uint64_t last,
			       const void *in, size_t in_len, uint64_t chunk_first,
			       uint64_t chunk_last, const struct chunk_sink *sink)
{
	ZSTD_DCtx *z = ZSTD_createDCtx();
	const struct toc_unit_decoder decoder = {frames_decode, z};
	int r = -ENOMEM;

	if (z && !ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)))
		r = toc_format_decode(index, first, last, in, in_len, chunk_first, chunk_last,
				      &decoder, sink);
	ZSTD_freeDCtx(z);
	return r;
}

const struct layer_format format_zstd_chunked = {.id = LAYER_ZSTD_CHUNKED,
						 .name = "zstd:chunked",
						 .from_toc = true,
						 .index = zstd_chunked_index,
						 .decode = zstd_chunked_decode};
