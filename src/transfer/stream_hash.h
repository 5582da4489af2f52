/* SPDX-License-Identifier: MIT */
/*
 * SHA-256 of a stream that is likely to begin as an earlier one did: what the hash's state is after
 * each stretch is kept in the member store, under a fingerprint of all bytes up to there, and where
 * it is found the stretch is not hashed again. The digest is the same as ever.
 */
#ifndef MORSEL_TRANSFER_STREAM_HASH_H
#define MORSEL_TRANSFER_STREAM_HASH_H

#include "base/digest.h"
#include "base/fingerprint.h"

struct members;
/* What is hashed; ids mean the same bytes in streams of one kind only. */
enum stream_kind { STREAM_ARCHIVE, STREAM_BLOB, STREAM_FILE };
struct stream_hash;
/* One thread at a time. m: NULL hashes everything. -ENOMEM. */
int stream_hash_new(enum stream_kind kind, struct members *m, struct stream_hash **ret);
/* The next bytes, cut where they will be cut again when they come again. id: a fingerprint, by the
 * store's secret, that in streams of this kind no other bytes have. */
void stream_hash_stretch(struct stream_hash *h, const uint8_t id[static FINGERPRINT_BYTES],
			 const void *data, size_t n);
/* The next bytes, which are not looked for. Nothing but more of them may follow. */
void stream_hash_rest(struct stream_hash *h, const void *data, size_t n);
/* The digest of the stream; the next byte begins a new one. */
void stream_hash_final(struct stream_hash *h, struct digest *ret);
void stream_hash_free(struct stream_hash *h); /* accepts NULL */
DEFINE_CLEANUP(struct stream_hash *, stream_hash_free)

#endif
