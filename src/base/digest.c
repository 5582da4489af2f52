/* SPDX-License-Identifier: MIT */
#include "base/digest.h"

#include <errno.h>
#include <openssl/evp.h>

struct hasher {
	EVP_MD_CTX *ctx;
	const EVP_MD *md; /* static in libcrypto */
	enum digest_algo algo;
};

static const EVP_MD *algo_md(enum digest_algo algo)
{
	return algo == DIGEST_SHA512 ? EVP_sha512() : EVP_sha256();
}

static size_t digest_size(enum digest_algo algo)
{
	return algo == DIGEST_SHA512 ? 64 : 32;
}

const char *digest_algo_name(enum digest_algo algo)
{
	return algo == DIGEST_SHA512 ? "sha512" : "sha256";
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static int algo_check(const char *text, size_t len, struct error *err)
{
	for (size_t i = 0; i < len; i++)
		if (!((text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '0' && text[i] <= '9') ||
		      (i && strchr("+._-", text[i]))))
			return error_set(err, -EBADMSG, "not a digest: \"%.*s\"",
					 (int)min_u64(len, 150), text);
	return error_set(err, -ENOTSUP,
			 "digest algorithm \"%.*s\" can't be verified here (sha256 and sha512 can)",
			 (int)min_u64(len, 40), text);
}

int digest_parse_n(const char *text, size_t len, struct digest *ret, struct error *err)
{
	struct digest d = {0};
	const char *colon = memchr(text, ':', len);
	size_t alen, n;

	if (!colon || colon == text)
		return error_set(err, -EBADMSG, "not a digest: \"%.*s\"", (int)min_u64(len, 150),
				 text);
	alen = (size_t)(colon - text);
	if (alen == 6 && !memcmp(text, "sha256", 6))
		d.algo = DIGEST_SHA256;
	else if (alen == 6 && !memcmp(text, "sha512", 6))
		d.algo = DIGEST_SHA512;
	else
		return algo_check(text, alen, err);
	n = digest_size(d.algo);
	if (len - alen - 1 != 2 * n)
		return error_set(err, -EBADMSG, "not a digest: \"%.*s\"", (int)min_u64(len, 150),
				 text);
	for (size_t i = 0; i < n; i++) {
		int hi = hex_value(colon[1 + 2 * i]), lo = hex_value(colon[2 + 2 * i]);

		if (hi < 0 || lo < 0)
			return error_set(err, -EBADMSG, "not a digest: \"%.*s\"",
					 (int)min_u64(len, 150), text);
		d.bytes[i] = (uint8_t)(hi << 4 | lo);
	}
	*ret = d;
	return 0;
}

int digest_parse(const char *text, struct digest *ret, struct error *err)
{
	return digest_parse_n(text, strlen(text), ret, err);
}

void digest_format_hex(const struct digest *d, char out[static DIGEST_TEXT_MAX])
{
	static const char hex[] = "0123456789abcdef";
	size_t n = digest_size(d->algo);

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = hex[d->bytes[i] >> 4];
		out[2 * i + 1] = hex[d->bytes[i] & 15];
	}
	out[2 * n] = 0;
}

void digest_format(const struct digest *d, char out[static DIGEST_TEXT_MAX])
{
	size_t prefix = strlen(digest_algo_name(d->algo)) + 1;
	char hex[DIGEST_TEXT_MAX];

	digest_format_hex(d, hex);
	memcpy(out, d->algo == DIGEST_SHA512 ? "sha512:" : "sha256:", prefix);
	memcpy(out + prefix, hex, 2 * digest_size(d->algo) + 1);
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return a->algo == b->algo && !memcmp(a->bytes, b->bytes, digest_size(a->algo));
}

int hasher_new(enum digest_algo algo, struct hasher **ret)
{
	_cleanup_(hasher_freep) struct hasher *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->algo = algo;
	h->md = algo_md(algo);
	h->ctx = EVP_MD_CTX_new();
	if (!h->ctx || EVP_DigestInit_ex(h->ctx, h->md, NULL) != 1)
		return -ENOMEM;
	*ret = steal_ptr(h);
	return 0;
}

void hasher_update(struct hasher *h, const void *data, size_t n)
{
	EVP_DigestUpdate(h->ctx, data, n);
}

void hasher_final(struct hasher *h, struct digest *ret)
{
	*ret = (struct digest){.algo = h->algo};
	EVP_DigestFinal_ex(h->ctx, ret->bytes, NULL);
	EVP_DigestInit_ex(h->ctx, NULL, NULL);
}

void hasher_free(struct hasher *h)
{
	if (!h)
		return;
	EVP_MD_CTX_free(h->ctx);
	free(h);
}

void digest_of(enum digest_algo algo, const void *data, size_t n, struct digest *ret)
{
	*ret = (struct digest){.algo = algo};
	EVP_Digest(data, n, ret->bytes, NULL, algo_md(algo), NULL);
}
