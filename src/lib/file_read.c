/* SPDX-License-Identifier: MIT */
#include "lib/file_read.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int file_read(const char *path, struct buf *ret, struct error *err)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t n;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set_errno(err, -errno, "%s", path);
	if (st.st_size > (off_t)FILE_READ_MAX)
		return error_set(err, -E2BIG, "%s: more than 2 GiB", path);
	do {
		r = buf_reserve(ret, 1 << 16);
		if (r < 0)
			return error_set_errno(err, r, "%s", path);
		n = read(fd, ret->data + ret->len, ret->cap - ret->len);
		if (n < 0)
			return error_set_errno(err, -errno, "%s", path);
		ret->len += (size_t)n;
	} while (n);
	return 0;
}
