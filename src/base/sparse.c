/* SPDX-License-Identifier: MIT */
#include "base/sparse.h"

#include <string.h>

static bool is_zero(const uint8_t *p, size_t n)
{
	return !p[0] && !memcmp(p, p + 1, n - 1);
}

size_t sparse_zeros(const uint8_t *p, size_t n, uint64_t off, size_t min, size_t *ret_end)
{
	size_t at = align_up(off, SPARSE_BLOCK) - off, start = n, len;

	for (; at < n; at += len) {
		len = min_u64(n - at, SPARSE_BLOCK);
		if (is_zero(p + at, len)) {
			start = min_u64(start, at);
			continue;
		}
		if (start < at && at - start >= min)
			break;
		start = n;
	}
	*ret_end = min_u64(at, n);
	if (start < n && *ret_end - start < min)
		start = n;
	return start;
}

int sparse_write(const struct seam *s, int fd, const void *buf, size_t n, uint64_t off, size_t min,
		 uint64_t *ret_end)
{
	const uint8_t *p = buf;

	for (size_t at = 0, next; at < n; at = next) {
		size_t data = sparse_zeros(p + at, n - at, off + at, min, &next);
		int r = seam_pwrite_full(s, fd, p + at, data, off + at);

		if (r < 0)
			return r;
		if (data && ret_end)
			*ret_end = off + at + data;
		next += at;
	}
	return 0;
}

int sparse_overwrite(const struct seam *s, int fd, const void *buf, size_t n, uint64_t off,
		     size_t min)
{
	const uint8_t *p = buf;

	for (size_t at = 0, next; at < n; at = next) {
		size_t data = sparse_zeros(p + at, n - at, off + at, min, &next);
		int r = 0;

		next += at;
		if (at + data < next && s->punch(s, fd, off + at + data, next - at - data) < 0)
			data = next - at;
		r = seam_pwrite_full(s, fd, p + at, data, off + at);
		if (r < 0)
			return r;
	}
	return 0;
}
