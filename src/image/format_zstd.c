/* SPDX-License-Identifier: MIT */
/*
 * Plain zstd. A decoder can start at a frame and nowhere else, and its state can't be taken out of
 * the library: a span is a frame, or several small ones. The one frame that most writers make is
 * one span, whatever its size. Skippable frames (also the tables of zstd:chunked and of the
 * seekable format, which are at the end) belong to no span unless they stand inside one.
 */
#include "image/layer_format.h"

#include <errno.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "image/tar_index.h"
#include "image/zstd_decode.h"

#define IN_BYTES (256u << 10)
#define OUT_BYTES (512u << 10)
#define SPAN_BYTES (256u << 10) /* of output: smaller frames share a span */
#define MAGIC_BYTES 4

struct zstd_index {
	const struct index_source *in;
	struct layer_builder *b;
	struct tar_index *ix;
	struct hasher *hash;
	ZSTD_DCtx *z;
	uint8_t *input, *out; /* IN_BYTES, OUT_BYTES */
	size_t at, len;	      /* input[at, len) is still to be read */
	uint64_t in_total, out_total;
	bool eof;
	struct error *err;
};

static uint64_t in_pos(const struct zstd_index *g)
{
	return g->in_total - (g->len - g->at);
}

/* At least n bytes, unless the blob ends. */
static int refill(struct zstd_index *g, size_t n)
{
	if (g->len - g->at >= n)
		return 0;
	memmove(g->input, g->input + g->at, g->len - g->at);
	g->len -= g->at;
	g->at = 0;
	while (g->len < n && !g->eof) {
		ssize_t got = g->in->read(g->in->userdata, g->input + g->len, IN_BYTES - g->len);

		if (got < 0)
			return (int)got;
		g->eof = !got;
		g->len += (size_t)got;
		g->in_total += (uint64_t)got;
	}
	return 0;
}

static int frame_error(struct zstd_index *g, uint64_t frame, size_t z)
{
	unsigned long long at = frame;

	switch (ZSTD_getErrorCode(z)) {
	case ZSTD_error_memory_allocation:
		return -ENOMEM;
	case ZSTD_error_dictionary_wrong:
		return error_set(g->err, -ENOTSUP,
				 "the zstd frame at byte %llu needs a dictionary, which no image "
				 "format has",
				 at);
	case ZSTD_error_frameParameter_windowTooLarge:
		return error_set(g->err, -E2BIG,
				 "the zstd frame at byte %llu needs a window of more than %u MiB: "
				 "compress it with --long=%d or less",
				 at, 1u << (ZSTD_WINDOW_LOG_MAX - 20), ZSTD_WINDOW_LOG_MAX);
	case ZSTD_error_checksum_wrong:
		return error_set(g->err, -EBADMSG,
				 "the contents of the zstd frame at byte %llu don't match its "
				 "checksum",
				 at);
	default:
		return error_set(g->err, -EBADMSG,
				 "not valid zstd data in the frame at byte %llu: %s", at,
				 ZSTD_getErrorName(z));
	}
}

static int output_take(struct zstd_index *g, size_t n)
{
	hasher_update(g->hash, g->out, n);
	g->out_total += n;
	return n ? tar_index_feed(g->ix, g->out, n, g->err) : 0;
}

/* From the frame's magic on to its end. */
static int frame_read(struct zstd_index *g)
{
	uint64_t frame = in_pos(g);

	for (;;) {
		ZSTD_inBuffer in = {.src = g->input, .size = g->len, .pos = g->at};
		ZSTD_outBuffer out = {.dst = g->out, .size = OUT_BYTES};
		size_t z = ZSTD_decompressStream(g->z, &out, &in);
		bool stuck = in.pos == g->at && !out.pos;
		int r;

		if (ZSTD_isError(z))
			return frame_error(g, frame, z);
		g->at = in.pos;
		r = output_take(g, out.pos);
		if (r < 0 || !z)
			return r;
		if (g->at < g->len || out.pos == out.size)
			continue;
		r = refill(g, 1);
		if (r < 0)
			return r;
		if (g->eof && g->at == g->len && stuck)
			return error_set(g->err, -EBADMSG, "the zstd data is cut off at byte %llu",
					 (unsigned long long)in_pos(g));
	}
}

static int span_begin(struct zstd_index *g, uint64_t frame)
{
	struct layer_span *last = layer_builder_last_span(g->b);
	int r;

	if (last && g->out_total - last->out_off < SPAN_BYTES)
		return 0;
	r = tar_index_cut(g->ix);
	if (r < 0)
		return r;
	return layer_builder_add_span(g->b,
				      &(struct layer_span){.in_off = frame,
							   .in_end = frame + MAGIC_BYTES,
							   .out_off = g->out_total},
				      NULL, 0);
}

/* Frames up to the end of the blob. */
static int frames_read(struct zstd_index *g)
{
	for (;;) {
		uint64_t frame = in_pos(g);
		uint32_t magic;
		int r = refill(g, MAGIC_BYTES);

		if (r < 0 || g->at == g->len)
			return r;
		magic = g->len - g->at < MAGIC_BYTES ? 0 : le32_get(g->input + g->at);
		if ((magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START) {
			r = frame_read(g);
		} else if (magic == ZSTD_MAGICNUMBER) {
			r = span_begin(g, frame);
			if (r >= 0)
				r = frame_read(g);
			if (r >= 0)
				layer_builder_last_span(g->b)->in_end = in_pos(g);
		} else {
			r = error_set(g->err, -EBADMSG, "%s at byte %llu",
				      frame ? "garbage after the end of the zstd data"
					    : "no zstd frame",
				      (unsigned long long)frame);
		}
		if (r < 0)
			return r;
	}
}

static int index_run(struct zstd_index *g)
{
	struct layer_index_header *h = layer_builder_header(g->b);
	struct digest d;
	int r = frames_read(g);

	if (r < 0)
		return r;
	hasher_final(g->hash, &d);
	memcpy(h->diff_id, d.bytes, sizeof(h->diff_id));
	h->blob_bytes = g->in_total;
	return tar_index_finish(g->ix, g->err);
}

static int zstd_index(const struct index_source *in, const struct index_sink *out,
		      struct layer_builder *b, struct error *err)
{
	_cleanup_(freep) uint8_t *input = malloc(IN_BYTES), *output = malloc(OUT_BYTES);
	_cleanup_(hasher_freep) struct hasher *hash = NULL;
	_cleanup_(tar_index_freep) struct tar_index *ix = NULL;
	struct zstd_index g = {.in = in, .b = b, .input = input, .out = output, .err = err};
	int r = input && output ? hasher_new(DIGEST_SHA256, &hash) : -ENOMEM;

	if (r >= 0)
		r = tar_index_new(b, out, &ix);
	if (r < 0)
		return r;
	g.hash = hash;
	g.ix = ix;
	g.z = ZSTD_createDCtx();
	if (!g.z ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(g.z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX)))
		r = -ENOMEM;
	else
		r = index_run(&g);
	ZSTD_freeDCtx(g.z);
	return r;
}

const struct layer_format format_zstd = {.id = LAYER_ZSTD,
					 .name = "zstd",
					 .index = zstd_index,
					 .decode = zstd_decode,
					 .stream_new = zstd_stream_new,
					 .stream_feed = zstd_stream_feed,
					 .stream_free = zstd_stream_free};
