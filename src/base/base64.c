/* SPDX-License-Identifier: MIT */
#include "base/base64.h"

#include <errno.h>

static int value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t n, struct buf *ret)
{
	size_t pad = n && text[n - 1] == '=' ? 1 + (n > 1 && text[n - 2] == '=') : 0;
	int r;

	if (n % 4)
		return -EBADMSG;
	r = buf_reserve(ret, n / 4 * 3);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i += 4) {
		uint32_t v = 0;
		size_t bytes = i + 4 == n ? 3 - pad : 3;

		for (size_t j = 0; j < 4; j++) {
			int d = i + 4 == n && j >= 4 - pad ? 0 : value(text[i + j]);

			if (d < 0)
				return -EBADMSG;
			v = v << 6 | (uint32_t)d;
		}
		for (size_t j = 0; j < bytes; j++)
			ret->data[ret->len++] = (uint8_t)(v >> (16 - 8 * j));
	}
	return 0;
}

int base64_encode(const void *data, size_t n, struct buf *ret)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *in = data;
	int r = buf_reserve(ret, (n + 2) / 3 * 4);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)in[i] << 16;
		char *out = (char *)ret->data + ret->len;

		v |= i + 1 < n ? (uint32_t)in[i + 1] << 8 : 0;
		v |= i + 2 < n ? in[i + 2] : 0;
		for (int k = 0; k < 4; k++)
			out[k] = digits[v >> (18 - 6 * k) & 63];
		if (i + 1 >= n)
			out[2] = '=';
		if (i + 2 >= n)
			out[3] = '=';
		ret->len += 4;
	}
	return 0;
}
