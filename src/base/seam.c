/* SPDX-License-Identifier: MIT */
#include "base/seam.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

static int real_openat(const struct seam *s, int dir_fd, const char *path, int flags, mode_t mode)
{
	int fd;

	(void)s;
	do
		fd = openat(dir_fd, path, flags | O_CLOEXEC, mode);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

static ssize_t real_pread(const struct seam *s, int fd, void *buf, size_t n, uint64_t off,
			  int flags)
{
	struct iovec iov = {.iov_base = buf, .iov_len = n};
	ssize_t r;

	(void)s;
	do
		r = preadv2(fd, &iov, 1, (off_t)off, flags);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

static ssize_t real_pwrite(const struct seam *s, int fd, const void *buf, size_t n, uint64_t off)
{
	ssize_t r;

	(void)s;
	do
		r = pwrite(fd, buf, n, (off_t)off);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

static int real_ftruncate(const struct seam *s, int fd, uint64_t size_bytes)
{
	(void)s;
	return ftruncate(fd, (off_t)size_bytes) < 0 ? -errno : 0;
}

static int real_punch(const struct seam *s, int fd, uint64_t off, uint64_t len)
{
	(void)s;
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) < 0)
		return -errno;
	return 0;
}

static int real_fsync(const struct seam *s, int fd)
{
	(void)s;
	return fsync(fd) < 0 ? -errno : 0;
}

static int real_renameat(const struct seam *s, int from_dir, const char *from, int to_dir,
			 const char *to)
{
	(void)s;
	return renameat(from_dir, from, to_dir, to) < 0 ? -errno : 0;
}

static int real_unlinkat(const struct seam *s, int dir_fd, const char *path, int flags)
{
	(void)s;
	return unlinkat(dir_fd, path, flags) < 0 ? -errno : 0;
}

static uint64_t real_monotonic_ns(const struct seam *s)
{
	struct timespec ts;

	(void)s;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static int64_t real_realtime_s(const struct seam *s)
{
	(void)s;
	return time(NULL);
}

static void real_sleep_until(const struct seam *s, uint64_t deadline_ns)
{
	struct timespec ts = {.tv_sec = (time_t)(deadline_ns / NS_PER_S),
			      .tv_nsec = (long)(deadline_ns % NS_PER_S)};

	(void)s;
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

static void real_random(const struct seam *s, void *buf, size_t n)
{
	uint8_t *p = buf;

	(void)s;
	while (n) {
		ssize_t r = getrandom(p, n, 0);

		if (r > 0) {
			p += r;
			n -= (size_t)r;
		}
	}
}

static const struct seam real = {
	.openat = real_openat,
	.pread = real_pread,
	.pwrite = real_pwrite,
	.ftruncate = real_ftruncate,
	.punch = real_punch,
	.fsync = real_fsync,
	.renameat = real_renameat,
	.unlinkat = real_unlinkat,
	.monotonic_ns = real_monotonic_ns,
	.realtime_s = real_realtime_s,
	.sleep_until = real_sleep_until,
	.random = real_random,
};

const struct seam *seam_real(void)
{
	return &real;
}

int seam_pread_full(const struct seam *s, int fd, void *buf, size_t n, uint64_t off)
{
	for (uint8_t *p = buf; n;) {
		ssize_t r = s->pread(s, fd, p, n, off, 0);

		if (r < 0)
			return (int)r;
		if (!r)
			return -ENODATA;
		p += r;
		off += (uint64_t)r;
		n -= (size_t)r;
	}
	return 0;
}

int seam_pwrite_full(const struct seam *s, int fd, const void *buf, size_t n, uint64_t off)
{
	for (const uint8_t *p = buf; n;) {
		ssize_t r = s->pwrite(s, fd, p, n, off);

		if (r < 0)
			return (int)r;
		if (!r)
			return -EIO;
		p += r;
		off += (uint64_t)r;
		n -= (size_t)r;
	}
	return 0;
}

int seam_read_file(const struct seam *s, int dir_fd, const char *path, size_t max_bytes, char **ret,
		   size_t *ret_len)
{
	_cleanup_(freep) char *data = NULL;
	_cleanup_(closep) int fd = -1;
	struct stat st;
	int r;

	fd = s->openat(s, dir_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > max_bytes)
		return -E2BIG;
	data = malloc((size_t)st.st_size + 1);
	if (!data)
		return -ENOMEM;
	r = seam_pread_full(s, fd, data, (size_t)st.st_size, 0);
	if (r < 0)
		return r;
	data[st.st_size] = 0;
	*ret = steal_ptr(data);
	*ret_len = (size_t)st.st_size;
	return 0;
}

int seam_write_file(const struct seam *s, int dir_fd, const char *path, const void *data, size_t n)
{
	const char *slash = strrchr(path, '/');
	_cleanup_(closep) int own_dir = -1, fd = -1;
	char tmp[300], dir[4096];
	uint64_t nonce;
	int r;

	if (slash) { /* the directory itself must be fsynced, so work in it */
		if ((size_t)(slash - path) >= sizeof(dir))
			return -ENAMETOOLONG;
		memcpy(dir, path, (size_t)(slash - path));
		dir[slash - path] = 0;
		own_dir = s->openat(s, dir_fd, dir, O_RDONLY | O_DIRECTORY, 0);
		if (own_dir < 0)
			return own_dir;
		dir_fd = own_dir;
		path = slash + 1;
	}
	s->random(s, &nonce, sizeof(nonce));
	snprintf(tmp, sizeof(tmp), ".tmp-%016llx", (unsigned long long)nonce);
	fd = s->openat(s, dir_fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	r = seam_pwrite_full(s, fd, data, n, 0);
	if (r >= 0)
		r = s->fsync(s, fd);
	if (r >= 0)
		r = s->renameat(s, dir_fd, tmp, dir_fd, path);
	if (r < 0) {
		s->unlinkat(s, dir_fd, tmp, 0);
		return r;
	}
	return s->fsync(s, dir_fd);
}
