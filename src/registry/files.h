/* SPDX-License-Identifier: MIT */
/*
 * Files by name, read in place: those below a directory, or the members of a tar file. What image
 * sources on disk stand on; knows nothing of what the files mean. Thread-safe once opened.
 */
#ifndef MORSEL_REGISTRY_FILES_H
#define MORSEL_REGISTRY_FILES_H

#include "base/buf.h"
#include "base/seam.h"

struct files;

/* path: of the directory. what: names the source in errors. */
int files_open_directory(const struct seam *seam, const char *path, const char *what,
			 struct files **ret, struct error *err);
/* path: of the tar file, which stays open. Its headers are read now. -ENOTSUP: it is compressed. */
int files_open_archive(const struct seam *seam, const char *path, const char *what,
		       struct files **ret, struct error *err);
void files_free(struct files *f); /* accepts NULL */
DEFINE_CLEANUP(struct files *, files_free)

struct file_place {
	int fd; /* the caller's to close */
	uint64_t off, size;
};

/* name: relative, clean. -ENOENT (with no text: the caller knows what is missing); -EBADMSG: it is
 * not a regular file. Symlinks in a directory are not followed; those in an archive are, inside. */
int files_find(struct files *f, const char *name, struct file_place *ret, struct error *err);
/* A place's bytes, into an empty buf. -E2BIG above max_bytes. what and name are for errors. */
int file_place_read(const struct seam *seam, const struct file_place *p, size_t max_bytes,
		    struct buf *ret, const char *what, const char *name, struct error *err);
/* A small file, whole, into an empty buf. -E2BIG above max_bytes; else as files_find(). */
int files_read(struct files *f, const char *name, size_t max_bytes, struct buf *ret,
	       struct error *err);

#endif
