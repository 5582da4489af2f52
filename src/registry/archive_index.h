/* SPDX-License-Identifier: MIT */
/*
 * Where the members of an uncompressed tar file are, so that they can be read in place: one pass
 * over its headers, none over its contents. Knows ustar, GNU's and pax' long names and large sizes.
 *
 * Keeps names, places and link texts, nothing else of a header; extracts nothing; sparse members
 * and devices are there only to be walked over. Names are clean: no leading "./" or "/", and one
 * that climbs out with ".." refuses the archive. (A library would not do: libarchive does not say
 * where in the file a member's bytes begin.)
 *
 * Pure but for the caller's read function.
 */
#ifndef MORSEL_REGISTRY_ARCHIVE_INDEX_H
#define MORSEL_REGISTRY_ARCHIVE_INDEX_H

#include "base/error.h"
#include "base/util.h"

#define ARCHIVE_MEMBERS_MAX 100000u
#define ARCHIVE_NAME_MAX 4095u /* bytes of a member's name or link text */

struct archive_input {
	/* Fills buf with bytes [off, off + n), which are below size. 0 or -errno. */
	int (*read)(void *userdata, uint64_t off, void *buf, size_t n);
	void *userdata;
	uint64_t size; /* bytes of the file */
};

enum member_kind { MEMBER_FILE, MEMBER_SYMLINK, MEMBER_HARDLINK, MEMBER_OTHER };

struct archive_member {
	char *name;
	char *link; /* as it stands there; NULL unless a link */
	enum member_kind kind;
	uint64_t off, size; /* of its bytes in the file; both within it */
};

struct archive_index {
	struct archive_member *members;
	size_t n, cap;
};

/* -EBADMSG: not a tar, damaged or truncated; -E2BIG; -ENOMEM; what read returned. fini it also
 * after an error; starts zeroed. */
int archive_index_read(const struct archive_input *in, struct archive_index *ret,
		       struct error *err);
void archive_index_fini(struct archive_index *ix);

/* A regular member by its name; of several with one name the last. Links are followed inside
 * the archive. 0, -ENOENT, -ELOOP (more than 10 links), -EINVAL: not a file, or a link that leads
 * out of the archive. *ret is borrowed. */
int archive_index_find(const struct archive_index *ix, const char *name,
		       const struct archive_member **ret);

#endif
