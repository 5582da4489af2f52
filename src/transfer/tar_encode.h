/* SPDX-License-Identifier: MIT */
/*
 * Headers of a pax archive (POSIX.1-2001, pax(1)), the same bytes for the same entry everywhere:
 * no names of users and groups, no access or change times, no numbers of processes. What fits the
 * ustar header stands there; a pax header comes before it only for what does not. Pure.
 */
#ifndef MORSEL_TRANSFER_TAR_ENCODE_H
#define MORSEL_TRANSFER_TAR_ENCODE_H

#include "base/buf.h"

#define TAR_BLOCK_BYTES 512u

struct tar_xattr {
	const char *name; /* without "=" and NUL */
	const uint8_t *value;
	size_t len; /* > 0: pax can't say "empty" */
};

struct tar_header {
	const char *path; /* clean, without a "/" at its end; "" is the root, only a directory */
	uint32_t mode;	  /* st_mode with the type bits; not a socket */
	const char *link; /* a symlink's text, or, in any other entry, the file it is a link to */
	uint32_t uid, gid;
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint64_t size; /* of a regular file that is no link */
	uint32_t rdev_major, rdev_minor;
	const struct tar_xattr *xattrs; /* sorted by name */
	size_t n_xattrs;
};

/* Appends a multiple of 512 bytes. -ENOMEM; -E2BIG over the buffer's cap. */
int tar_header_encode(const struct tar_header *h, struct buf *out);
/* The name as it stands in the archive: "./" for the root, a directory with its "/". */
int tar_header_name(const struct tar_header *h, struct buf *out);

#endif
