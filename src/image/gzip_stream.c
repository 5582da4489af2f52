/* SPDX-License-Identifier: MIT */
/*
 * ISA-L inflates twice as fast as zlib, but has no call that stops at a block border. What it does
 * do: when the input ends inside a block's header it keeps those bytes aside until more come, and
 * says so (ISAL_BLOCK_HDR). So while a border is wanted the input is given in slices shorter than
 * most headers; sooner or later one ends inside a header, and that header's first bit is as far
 * back as what was put aside. Of a stored block, whose header is short, it is known how many bytes
 * are left, so a slice can end exactly with it.
 */
#include "image/gzip_stream.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>

#define SLICE 64u		   /* bytes: headers of compressed blocks have 60 to 100 */
#define SLICE_AFTER (256u << 10)   /* without success: fixed codes, whose headers have 3 bits */
#define STEP_MAX (UINT32_MAX >> 1) /* ISA-L counts in 32 bits */

struct gzip_stream {
	struct inflate_state z;
	uint64_t sought; /* bytes since a border is wanted */
};

int gzip_stream_new(struct gzip_stream **ret)
{
	struct gzip_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	isal_inflate_init(&s->z);
	gzip_stream_begin(s);
	*ret = s;
	return 0;
}

void gzip_stream_free(struct gzip_stream *s)
{
	free(s);
}

void gzip_stream_begin(struct gzip_stream *s)
{
	isal_inflate_reset(&s->z);
	s->z.crc_flag = ISAL_GZIP;
	s->sought = 0;
}

static size_t slice_of(const struct gzip_stream *s, size_t most)
{
	size_t n = s->sought < SLICE_AFTER ? SLICE : 1;

	if (s->z.block_state == ISAL_BLOCK_TYPE0) {
		int64_t left = (int64_t)s->z.type0_block_len - s->z.read_in_length / 8;

		n = left > 0 ? (size_t)left : 1;
	}
	return min_u64(n, most);
}

static const char *reason(int z)
{
	switch (z) {
	case ISAL_INVALID_BLOCK:
		return "invalid block";
	case ISAL_INVALID_SYMBOL:
		return "invalid code";
	case ISAL_INVALID_LOOKBACK:
		return "invalid distance";
	case ISAL_INVALID_WRAPPER:
		return "no gzip header";
	case ISAL_UNSUPPORTED_METHOD:
		return "unknown compression method";
	case ISAL_INCORRECT_CHECKSUM:
		return "wrong checksum";
	default:
		return "damaged";
	}
}

static bool is_at_border(const struct inflate_state *z)
{
	return z->block_state == ISAL_BLOCK_HDR && !z->avail_in && z->read_in_length >= 0 &&
	       z->tmp_out_valid == z->tmp_out_processed;
}

int gzip_stream_step(struct gzip_stream *s, struct gzip_step *x, struct error *err)
{
	struct inflate_state *z = &s->z;
	size_t offered = min_u64(x->in_len, STEP_MAX), room = min_u64(x->room, STEP_MAX);
	int r;

	if (x->want_border)
		offered = slice_of(s, offered);
	z->next_in = (uint8_t *)x->in;
	z->avail_in = (uint32_t)offered;
	z->next_out = x->out;
	z->avail_out = (uint32_t)room;
	r = isal_inflate(z);
	x->taken = offered - z->avail_in;
	x->got = room - z->avail_out;
	x->event = GZIP_GOES_ON;
	if (r < 0)
		return error_set(err, -EBADMSG, "%s", reason(r));
	if (z->block_state == ISAL_BLOCK_FINISH) {
		x->event = GZIP_MEMBER_END;
		return 0;
	}
	s->sought = x->want_border ? s->sought + x->taken : 0;
	if (x->want_border && is_at_border(z)) {
		x->event = GZIP_BORDER;
		x->border_bits = (uint64_t)z->tmp_in_size * 8 + (uint64_t)z->read_in_length;
		s->sought = 0;
	}
	return 0;
}
