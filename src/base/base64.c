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
