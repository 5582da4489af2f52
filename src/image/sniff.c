/* SPDX-License-Identifier: MIT */
#include "image/sniff.h"

#include <errno.h>

static bool starts(const uint8_t *p, size_t n, const char *magic, size_t len)
{
	return n >= len && !memcmp(p, magic, len);
}

static bool is_zeros(const uint8_t *p, size_t n)
{
	while (n && !*p) {
		p++;
		n--;
	}
	return !n;
}

/* A tar header says so itself: the sum of its bytes, its checksum field taken as spaces. Very old
 * writers summed signed bytes; their headers have no "ustar" but ASCII names, so both sums agree.
 */
static bool is_tar(const uint8_t *p, size_t n)
{
	uint32_t sum = 0, want = 0;

	if (n < 512)
		return false;
	if (!memcmp(p + 257, "ustar", 5))
		return true;
	for (size_t i = 0; i < 512; i++)
		sum += i >= 148 && i < 156 ? ' ' : p[i];
	for (size_t i = 148; i < 156; i++)
		if (p[i] >= '0' && p[i] <= '7')
			want = want * 8 + (uint32_t)(p[i] - '0');
		else if (p[i] != ' ' && p[i])
			return false;
	return sum == want;
}

int layer_sniff(const void *data, size_t n, enum layer_format_id *ret, struct error *err)
{
	const uint8_t *p = data;

	if (starts(p, n, "\x1f\x8b\x08", 3))
		*ret = LAYER_GZIP;
	else if (starts(p, n, "\x28\xb5\x2f\xfd", 4) ||
		 (n >= 4 && (p[0] & 0xf0) == 0x50 && starts(p + 1, n - 1, "\x2a\x4d\x18", 3)))
		*ret = LAYER_ZSTD;
	else if (is_zeros(p, n) || is_tar(p, n))
		*ret = LAYER_TAR;
	else if (starts(p, n, "BZh", 3))
		return error_set(err, -ENOTSUP,
				 "compressed with bzip2, which no image format uses");
	else if (starts(p, n,
			"\xfd"
			"7zXZ",
			5))
		return error_set(err, -ENOTSUP, "compressed with xz, which no image format uses");
	else
		return error_set(err, -ENOTSUP, "neither gzip, zstd nor tar data");
	return 0;
}
