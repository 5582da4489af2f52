/* SPDX-License-Identifier: MIT */
/*
 * The seam: all file I/O of the cache, every wait and every clock goes through this table, so that
 * a test can make any call fail, delay, shorten or reorder it, and can turn the clock itself.
 *
 * A module that does I/O or waits takes a `const struct seam *` when it is created and keeps it.
 * Production code passes seam_real(). A test copies *seam_real() and replaces members.
 *
 * Members behave as the system call of their name, except that they return -errno instead of -1
 * and are retried on EINTR inside. What is not in the table is not worth failing (mkdirat, fstat
 * and friends fail often enough by themselves in real directories).
 */
#ifndef MORSEL_BASE_SEAM_H
#define MORSEL_BASE_SEAM_H

#include <fcntl.h>
#include <sys/types.h>
#include "base/util.h"

struct seam {
	void *data; /* for the test's own use; real members ignore it */

	int (*openat)(const struct seam *s, int dir_fd, const char *path, int flags, mode_t mode);
	/* May return fewer bytes than asked, as the system calls do. flags: RWF_*. */
	ssize_t (*pread)(const struct seam *s, int fd, void *buf, size_t n, uint64_t off,
			 int flags);
	ssize_t (*pwrite)(const struct seam *s, int fd, const void *buf, size_t n, uint64_t off);
	int (*ftruncate)(const struct seam *s, int fd, uint64_t size_bytes);
	int (*punch)(const struct seam *s, int fd, uint64_t off,
		     uint64_t len); /* hole, same size */
	int (*fsync)(const struct seam *s, int fd);
	int (*renameat)(const struct seam *s, int from_dir, const char *from, int to_dir,
			const char *to);
	int (*unlinkat)(const struct seam *s, int dir_fd, const char *path, int flags);

	uint64_t (*monotonic_ns)(const struct seam *s); /* CLOCK_MONOTONIC */
	int64_t (*realtime_s)(const struct seam *s);	/* for cert checks, stamps, dates only */
	/* Sleeps until the monotonic clock says deadline_ns. May return early: look again. */
	void (*sleep_until)(const struct seam *s, uint64_t deadline_ns);
	void (*random)(const struct seam *s, void *buf, size_t n);
};

const struct seam *seam_real(void);

/* Loops over short counts. 0, -errno, and -ENODATA when the file ends early. */
int seam_pread_full(const struct seam *s, int fd, void *buf, size_t n, uint64_t off);
int seam_pwrite_full(const struct seam *s, int fd, const void *buf, size_t n, uint64_t off);

/* Reads a whole small file below dir_fd; -E2BIG above max_bytes. *ret is owned by the caller and
 * has a NUL after its last byte. O_NOFOLLOW | O_CLOEXEC, regular files only (-EINVAL else). */
int seam_read_file(const struct seam *s, int dir_fd, const char *path, size_t max_bytes, char **ret,
		   size_t *ret_len);
/* Makes the file visible whole or not at all: temporary name in the same directory, fsync, rename,
 * fsync of the directory. Mode 0600. */
int seam_write_file(const struct seam *s, int dir_fd, const char *path, const void *data, size_t n);

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

#endif
