/* SPDX-License-Identifier: MIT */
/*
 * Inflates one gzip member after the other, and can stop at a border between two deflate blocks,
 * from where a decoder can start again with the last 32 KiB of output. Keeps no output, knows
 * nothing of spans.
 */
#ifndef MORSEL_IMAGE_GZIP_STREAM_H
#define MORSEL_IMAGE_GZIP_STREAM_H

#include "base/error.h"

struct gzip_stream;

int gzip_stream_new(struct gzip_stream **ret);
void gzip_stream_free(struct gzip_stream *s); /* accepts NULL */
DEFINE_CLEANUP(struct gzip_stream *, gzip_stream_free)

/* The next bytes are a member's first. */
void gzip_stream_begin(struct gzip_stream *s);

enum gzip_event {
	GZIP_GOES_ON,	 /* wants input when all was taken, else room */
	GZIP_BORDER,	 /* all output before it has been delivered */
	GZIP_MEMBER_END, /* its checksum matched; what follows was not taken */
};

struct gzip_step {
	const uint8_t *in;
	size_t in_len; /* what is not taken must be offered again */
	uint8_t *out;
	size_t room;
	bool want_border;
	/* results */
	size_t taken, got;
	enum gzip_event event;
	uint64_t border_bits; /* before the end of what was taken: where the block begins */
};

/* -EBADMSG: not gzip data; err says why. Makes progress when there is room and either input or
 * output that is still held back: taken or got, else an event. */
int gzip_stream_step(struct gzip_stream *s, struct gzip_step *x, struct error *err);

#endif
