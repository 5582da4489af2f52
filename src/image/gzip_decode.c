/* SPDX-License-Identifier: MIT */
/*
 * Starts at a span: at a member's start zlib reads the header, elsewhere raw deflate goes on with
 * the span's window and leftover bits. Output is cut up into chunks as it comes.
 */
#include "image/gzip_decode.h"

#include <errno.h>
#include <zlib.h>
#include <zstd.h>

#include "image/chunk_cut.h"

#define OUT_BYTES (512u << 10)

struct gzip_decode {
	struct chunk_cut cut;
	z_stream z;
	uint8_t *out;
};

static int decode_start(struct gzip_decode *d, const struct layer_span *s, const uint8_t **in,
			size_t *n)
{
	uint8_t window[GZIP_WINDOW];
	size_t w;

	if (!s->window_len && !s->bits)
		return inflateInit2(&d->z, 31) == Z_OK ? 0 : -ENOMEM;
	if (inflateInit2(&d->z, -15) != Z_OK)
		return -ENOMEM;
	w = ZSTD_decompress(window, sizeof(window), d->cut.index->windows + s->window_off,
			    s->window_len);
	if (s->window_len && ZSTD_isError(w))
		return -EBADMSG;
	if (s->bits) {
		if (!*n || inflatePrime(&d->z, s->bits, **in >> (8 - s->bits)) != Z_OK)
			return -EBADMSG;
		(*in)++;
		(*n)--;
	}
	if (s->window_len && inflateSetDictionary(&d->z, window, (uInt)w) != Z_OK)
		return -EBADMSG;
	return 0;
}

/* In the middle of the blob zlib reads raw deflate and does not see the member's trailer. */
static int member_skip(struct gzip_decode *d, bool *raw)
{
	if (*raw) {
		if (d->z.avail_in < 8)
			return -EBADMSG;
		d->z.next_in += 8;
		d->z.avail_in -= 8;
	}
	*raw = false;
	return d->z.avail_in && inflateReset2(&d->z, 31) == Z_OK ? 0 : -EBADMSG;
}

static int decode_run(struct gzip_decode *d, bool raw)
{
	int r = 0;

	while (r >= 0 && !chunk_cut_done(&d->cut)) {
		int z;
		size_t got;

		d->z.next_out = d->out;
		d->z.avail_out = OUT_BYTES;
		z = inflate(&d->z, Z_NO_FLUSH);
		got = OUT_BYTES - d->z.avail_out;
		if (z != Z_OK && z != Z_STREAM_END)
			return z == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
		r = chunk_cut_feed(&d->cut, d->out, got);
		if (r >= 0 && z == Z_STREAM_END && !chunk_cut_done(&d->cut))
			r = member_skip(d, &raw);
	}
	return r;
}

int gzip_decode(const struct layer_index *index, uint64_t first, uint64_t last, const void *in,
		size_t in_len, uint64_t chunk_first, uint64_t chunk_last,
		const struct chunk_sink *sink)
{
	struct gzip_decode d = {.cut = {.index = index,
					.sink = sink,
					.first_span = first,
					.next = chunk_first,
					.last = chunk_last}};
	_cleanup_(freep) uint8_t *out = malloc(OUT_BYTES);
	const struct layer_span *s = &index->spans[first];
	const uint8_t *p = in;
	int r;

	if (!out)
		return -ENOMEM;
	if (in_len > UINT32_MAX)
		return -E2BIG;
	d.out = out;
	r = decode_start(&d, s, &p, &in_len);
	d.z.next_in = (uint8_t *)p;
	d.z.avail_in = (uInt)in_len;
	if (r >= 0)
		r = decode_run(&d, s->window_len || s->bits);
	inflateEnd(&d.z);
	chunk_cut_fini(&d.cut);
	return r;
}
