/* SPDX-License-Identifier: MIT */
#include "image/zstd_decode.h"

#include <errno.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "image/chunk_cut.h"

#define OUT_BYTES (512u << 10)

struct chunk_stream {
	ZSTD_DCtx *z;
	struct chunk_sink sink;
	struct chunk_cut cut;
	uint8_t *out; /* OUT_BYTES */
};

int zstd_stream_new(const struct layer_index *index, uint64_t first, uint64_t chunk_first,
		    uint64_t chunk_last, const struct chunk_sink *sink, struct chunk_stream **ret)
{
	struct chunk_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->sink = *sink;
	s->cut = (struct chunk_cut){.index = index,
				    .sink = &s->sink,
				    .first_span = first,
				    .next = chunk_first,
				    .last = chunk_last};
	s->z = ZSTD_createDCtx();
	s->out = malloc(OUT_BYTES);
	if (!s->z || !s->out ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(s->z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX))) {
		zstd_stream_free(s);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}

/* Ends with the last wanted chunk, so that the tables bound the output. */
int zstd_stream_feed(struct chunk_stream *s, const void *data, size_t n)
{
	ZSTD_inBuffer in = {.src = data, .size = n};
	bool full = false;

	while (!chunk_cut_done(&s->cut) && (in.pos < in.size || full)) {
		ZSTD_outBuffer out = {.dst = s->out, .size = OUT_BYTES};
		size_t z = ZSTD_decompressStream(s->z, &out, &in);
		int r;

		if (ZSTD_isError(z))
			return ZSTD_getErrorCode(z) == ZSTD_error_memory_allocation ? -ENOMEM
										    : -EBADMSG;
		full = z && out.pos == out.size;
		r = chunk_cut_feed(&s->cut, s->out, out.pos);
		if (r < 0)
			return r;
	}
	return chunk_cut_done(&s->cut) ? CHUNKS_COMPLETE : 0;
}

void zstd_stream_free(struct chunk_stream *s)
{
	if (!s)
		return;
	ZSTD_freeDCtx(s->z);
	chunk_cut_fini(&s->cut);
	free(s->out);
	free(s);
}

int zstd_decode(const struct layer_index *index, uint64_t first, uint64_t last, const void *in,
		size_t in_len, uint64_t chunk_first, uint64_t chunk_last,
		const struct chunk_sink *sink)
{
	struct chunk_stream *s;
	int r = zstd_stream_new(index, first, chunk_first, chunk_last, sink, &s);

	if (r < 0)
		return r;
	r = zstd_stream_feed(s, in, in_len);
	zstd_stream_free(s);
	return r < 0 ? r : r == CHUNKS_COMPLETE ? 0 : -EBADMSG;
}
