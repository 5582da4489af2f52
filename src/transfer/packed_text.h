/* SPDX-License-Identifier: MIT */
/*
 * Text that is compressed as it is appended, as one deflate stream or one zstd frame, and counted
 * and hashed on the way. For tables, whose raw text is not kept.
 */
#ifndef MORSEL_TRANSFER_PACKED_TEXT_H
#define MORSEL_TRANSFER_PACKED_TEXT_H

#include "base/buf.h"
#include "base/digest.h"

enum packing { PACK_DEFLATE /* raw: no header, no checksum */, PACK_ZSTD };

struct packed_text {
	struct buf bytes; /* what came out so far */
	uint64_t raw_len;
	struct digest digest; /* of the raw text; after packed_text_finish() */
	struct packed_impl *impl;
};

int packed_text_init(struct packed_text *t, enum packing packing);
int packed_text_append(struct packed_text *t, const void *data, size_t n);
/* The digest is over what came before this; more may be appended, which it is not over. */
void packed_text_seal(struct packed_text *t);
/* Nothing more will come. */
int packed_text_finish(struct packed_text *t);
/* Unpacks a finished deflate text again, piece by piece. */
int packed_text_read(const struct packed_text *t,
		     void (*fn)(void *userdata, const void *data, size_t n), void *userdata);
void packed_text_fini(struct packed_text *t);

#endif
