/* SPDX-License-Identifier: MIT */
/* GMAC is GCM without anything to encrypt. One nonce for all messages: it would hide the key from
 * who sees fingerprints, and nobody does. */
#include "base/fingerprint.h"

#include <errno.h>
#include <openssl/evp.h>

#define STEP_BYTES ((size_t)1 << 30) /* libcrypto counts in int */

struct fingerprint {
	EVP_CIPHER_CTX *ctx;
};

static void message_begin(struct fingerprint *f)
{
	static const uint8_t nonce[12];

	EVP_EncryptInit_ex(f->ctx, NULL, NULL, NULL, nonce);
}

int fingerprint_new(const uint8_t key[static FINGERPRINT_KEY_BYTES], struct fingerprint **ret)
{
	_cleanup_(fingerprint_freep) struct fingerprint *f = calloc(1, sizeof(*f));

	if (!f || !(f->ctx = EVP_CIPHER_CTX_new()) ||
	    EVP_EncryptInit_ex(f->ctx, EVP_aes_128_gcm(), NULL, key, NULL) != 1)
		return -ENOMEM;
	message_begin(f);
	*ret = steal_ptr(f);
	return 0;
}

void fingerprint_add(struct fingerprint *f, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t step; n; p += step, n -= step) {
		int out;

		step = min_u64(n, STEP_BYTES);
		EVP_EncryptUpdate(f->ctx, NULL, &out, p, (int)step);
	}
}

void fingerprint_end(struct fingerprint *f, uint8_t ret[static FINGERPRINT_BYTES])
{
	uint8_t none[16];
	int n;

	EVP_EncryptFinal_ex(f->ctx, none, &n);
	EVP_CIPHER_CTX_ctrl(f->ctx, EVP_CTRL_AEAD_GET_TAG, FINGERPRINT_BYTES, ret);
	message_begin(f);
}

void fingerprint_free(struct fingerprint *f)
{
	if (f)
		EVP_CIPHER_CTX_free(f->ctx);
	free(f);
}
