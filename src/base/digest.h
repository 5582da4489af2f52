/* SPDX-License-Identifier: MIT */
/*
 * Digests in the grammar of the OCI image specification ("sha256:<64 hex>", "sha512:<128 hex>",
 * lower case only), and running hashes of bytes. Other registered algorithms are refused: what
 * cannot be verified is not served.
 */
#ifndef MORSEL_BASE_DIGEST_H
#define MORSEL_BASE_DIGEST_H

#include "base/error.h"

enum digest_algo { DIGEST_SHA256 = 1, DIGEST_SHA512 = 2 };

struct digest {
	enum digest_algo algo;
	uint8_t bytes[64]; /* 32 used for sha256; the rest is zero */
};

#define DIGEST_TEXT_MAX (sizeof("sha512:") + 128) /* with the NUL */

/* -EBADMSG: not in the grammar; -ENOTSUP: another algorithm. Pure. */
int digest_parse(const char *text, struct digest *ret, struct error *err);
int digest_parse_n(const char *text, size_t len, struct digest *ret, struct error *err);
/* Writes "sha256:<hex>". */
void digest_format(const struct digest *d, char out[static DIGEST_TEXT_MAX]);
/* The text without "algo:". */
void digest_format_hex(const struct digest *d, char out[static DIGEST_TEXT_MAX]);
/* "sha256" or "sha512" */
const char *digest_algo_name(enum digest_algo algo);
bool digest_equal(const struct digest *a, const struct digest *b);

/* A running hash. One thread at a time. */
struct hasher;
int hasher_new(enum digest_algo algo, struct hasher **ret);
void hasher_update(struct hasher *h, const void *data, size_t n);
/* Writes the digest and makes the hasher ready for new bytes. */
void hasher_final(struct hasher *h, struct digest *ret);
void hasher_free(struct hasher *h); /* accepts NULL */
DEFINE_CLEANUP(struct hasher *, hasher_free)

void digest_of(enum digest_algo algo, const void *data, size_t n, struct digest *ret);

#endif
