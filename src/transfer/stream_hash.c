/* SPDX-License-Identifier: MIT */
/*
 * The fingerprint of what came so far is one of the fingerprint before and the stretch's id: a
 * chain. EVP does not give states away, so this is libcrypto's older interface to the same code.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "transfer/stream_hash.h"

#include <errno.h>
#include <openssl/sha.h>

#include "cache/members.h"

/* And the kind. No codec is described by this: the keys of pieces are others. */
#define LABEL "sha256\0"

struct stream_hash {
	SHA256_CTX sha;
	struct members *store; /* borrowed; NULL */
	struct fingerprint *finger;
	uint8_t kind, chain[FINGERPRINT_BYTES];
	struct buf kept; /* scratch */
};

/* As it stands in the store. */
struct state {
	uint32_t h[8];
	uint64_t bytes;
	uint8_t rest[SHA256_CBLOCK];
};
static_assert(sizeof(struct state) == 104, "on-disk record");

static void begin(struct stream_hash *h)
{
	SHA256_Init(&h->sha);
	memset(h->chain, 0, sizeof(h->chain));
}

int stream_hash_new(enum stream_kind kind, struct members *m, struct stream_hash **ret)
{
	_cleanup_(stream_hash_freep) struct stream_hash *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	h->kind = (uint8_t)kind;
	h->store = m;
	r = m ? members_fingerprint(m, &h->finger) : 0;
	if (r < 0)
		return r;
	begin(h);
	*ret = steal_ptr(h);
	return 0;
}

static void state_put(struct stream_hash *h)
{
	struct state s = {.bytes = ((uint64_t)h->sha.Nh << 32 | h->sha.Nl) / 8};

	for (size_t i = 0; i < ARRAY_SIZE(s.h); i++)
		s.h[i] = h->sha.h[i];
	memcpy(s.rest, h->sha.data, s.bytes % SHA256_CBLOCK);
	members_put(h->store, h->chain, NULL, &s, sizeof(s));
}

static bool state_get(struct stream_hash *h)
{
	struct state s;

	h->kept.len = 0;
	if (members_get(h->store, h->chain, NULL, &h->kept) || h->kept.len != sizeof(s))
		return false;
	memcpy(&s, h->kept.data, sizeof(s));
	SHA256_Init(&h->sha);
	for (size_t i = 0; i < ARRAY_SIZE(s.h); i++)
		h->sha.h[i] = s.h[i];
	h->sha.Nl = (SHA_LONG)(s.bytes * 8);
	h->sha.Nh = (SHA_LONG)(s.bytes >> 29);
	h->sha.num = s.bytes % SHA256_CBLOCK;
	memcpy(h->sha.data, s.rest, h->sha.num);
	return true;
}

void stream_hash_stretch(struct stream_hash *h, const uint8_t id[static FINGERPRINT_BYTES],
			 const void *data, size_t n)
{
	if (h->store) {
		fingerprint_add(h->finger, LABEL, sizeof(LABEL));
		fingerprint_add(h->finger, &h->kind, 1);
		fingerprint_add(h->finger, h->chain, sizeof(h->chain));
		fingerprint_add(h->finger, id, FINGERPRINT_BYTES);
		fingerprint_end(h->finger, h->chain);
		if (state_get(h))
			return;
	}
	SHA256_Update(&h->sha, data, n);
	if (h->store)
		state_put(h);
}

void stream_hash_rest(struct stream_hash *h, const void *data, size_t n)
{
	SHA256_Update(&h->sha, data, n);
}

void stream_hash_final(struct stream_hash *h, struct digest *ret)
{
	*ret = (struct digest){.algo = DIGEST_SHA256};
	SHA256_Final(ret->bytes, &h->sha);
	begin(h);
}

void stream_hash_free(struct stream_hash *h)
{
	if (!h)
		return;
	fingerprint_free(h->finger);
	buf_fini(&h->kept);
	free(h);
}
