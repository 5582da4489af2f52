/* SPDX-License-Identifier: MIT */
#include "image/toc_format.h"

#include <errno.h>

static int unit_decode(const struct layer_index *index, uint64_t span,
		       const struct toc_unit_decoder *decoder, const uint8_t *in, size_t in_len,
		       uint64_t *chunk, uint64_t chunk_last, const struct chunk_sink *sink)
{
	_cleanup_(freep) uint8_t *out = NULL;
	uint64_t end = *chunk, need = 0;
	int r = 0;

	for (; end <= chunk_last && index->chunks[end].span == span; end++)
		need = max_u64(need, index->chunks[end].span_off + index->chunks[end].len);
	if (!need)
		return 0;
	if (need > TOC_UNIT_RAW_MAX)
		return -E2BIG;
	out = malloc(need);
	if (!out)
		return -ENOMEM;
	r = decoder->decode(decoder->userdata, in, in_len, out, need);
	for (; *chunk < end && r >= 0; (*chunk)++) {
		const struct layer_chunk *c = &index->chunks[*chunk];

		r = sink->chunk(sink->userdata, *chunk, out + c->span_off, c->len);
	}
	return r;
}

int toc_format_decode(const struct layer_index *index, uint64_t first, uint64_t last,
		      const void *in, size_t in_len, uint64_t chunk_first, uint64_t chunk_last,
		      const struct toc_unit_decoder *decoder, const struct chunk_sink *sink)
{
	uint64_t base = index->spans[first].in_off;
	int r = 0;

	for (uint64_t s = first; s <= last && r >= 0 && chunk_first <= chunk_last; s++) {
		const struct layer_span *span = &index->spans[s];

		if (span->in_end - base > in_len)
			return -EBADMSG;
		r = unit_decode(index, s, decoder, (const uint8_t *)in + (span->in_off - base),
				span->in_end - span->in_off, &chunk_first, chunk_last, sink);
	}
	return r;
}
