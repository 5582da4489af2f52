/* SPDX-License-Identifier: MIT */
/*
 * A keyed hash of bytes at a sixth of what SHA-256 costs: GMAC with AES-128. That two messages have
 * the same one happens once in 2^100 pairs of messages, whoever made them, as long as the key is
 * secret and random, and fingerprints are shown to nobody.
 *
 * Not a digest: it proves nothing to anybody else, and does not outlive its key.
 */
#ifndef MORSEL_BASE_FINGERPRINT_H
#define MORSEL_BASE_FINGERPRINT_H

#include "base/util.h"

#define FINGERPRINT_BYTES 16
#define FINGERPRINT_KEY_BYTES 16

/* One message after the other. By one thread at a time. */
struct fingerprint;
/* -ENOMEM. */
int fingerprint_new(const uint8_t key[static FINGERPRINT_KEY_BYTES], struct fingerprint **ret);
/* More of the message. How it is cut makes no difference. */
void fingerprint_add(struct fingerprint *f, const void *data, size_t n);
/* Ends the message; the next byte begins a new one. */
void fingerprint_end(struct fingerprint *f, uint8_t ret[static FINGERPRINT_BYTES]);
void fingerprint_free(struct fingerprint *f); /* accepts NULL */
DEFINE_CLEANUP(struct fingerprint *, fingerprint_free)

#endif
