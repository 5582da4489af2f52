/* SPDX-License-Identifier: MIT */
#include "registry/base64.h"

#include <errno.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t len, struct buf *ret)
{
	size_t start = ret->len, digits = 0, pads = 0;
	uint32_t bits = 0;
	unsigned n_bits = 0;
	int r = 0;

	for (size_t i = 0; i < len && !r; i++) {
		int v = value_of(text[i]);
		uint8_t byte;

		if (text[i] == '\r' || text[i] == '\n')
			continue;
		if (text[i] == '=') {
			pads++;
			continue;
		}
		if (v < 0 || pads) {
			r = -EBADMSG;
			break;
		}
		digits++;
		bits = bits << 6 | (uint32_t)v;
		n_bits += 6;
		if (n_bits < 8)
			continue;
		n_bits -= 8;
		byte = (uint8_t)(bits >> n_bits);
		bits &= (1u << n_bits) - 1;
		r = buf_append(ret, &byte, 1);
	}
	if (!r && (bits || digits % 4 == 1 || (pads && (pads > 2 || (digits + pads) % 4))))
		r = -EBADMSG;
	if (r < 0)
		ret->len = start;
	return r;
}

int base64_encode(const void *data, size_t len, struct buf *ret)
{
	const uint8_t *p = data;
	size_t start = ret->len;

	for (size_t i = 0; i < len; i += 3) {
		size_t n = min_u64(len - i, 3);
		uint32_t v = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
			     (n > 2 ? p[i + 2] : 0);
		char out[4] = {alphabet[v >> 18], alphabet[v >> 12 & 63],
			       n > 1 ? alphabet[v >> 6 & 63] : '=', n > 2 ? alphabet[v & 63] : '='};
		int r = buf_append(ret, out, 4);

		if (r < 0) {
			ret->len = start;
			return r;
		}
	}
	return 0;
}
