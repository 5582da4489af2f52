/* SPDX-License-Identifier: MIT */
/*
 * An OCI image layout directory, written to. What is there already stays: blobs are added, and an
 * entry of index.json is added or replaced, by a rename under a lock on the directory, so that
 * several processes may write to one layout and readers see one index or the next.
 *
 * Knows nothing of what blobs mean, and does not check that a manifest's blobs are there: put them
 * first, the tag last.
 */
#ifndef MORSEL_REGISTRY_LAYOUT_WRITE_H
#define MORSEL_REGISTRY_LAYOUT_WRITE_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/seam.h"

struct layout_writer;
/* Makes the directory (not its parents) when it is missing, and a layout of it when it is empty.
 * -EEXIST: it holds something else; -ENOTSUP: a layout of another version. */
int layout_writer_open(const struct seam *seam, const char *path, struct layout_writer **ret,
		       struct error *err);
/* A layout that this writer began and put no tag into is removed again. Accepts NULL. */
void layout_writer_close(struct layout_writer *w);
DEFINE_CLEANUP(struct layout_writer *, layout_writer_close)

/* Whether there is a blob of this digest and size (-1: any). Its bytes are not read. */
bool layout_has(const struct layout_writer *w, const struct digest *d, int64_t size);

/* A blob being written, under a name of its own until it is committed. Many at once, each by one
 * thread at a time. */
struct layout_blob;
int layout_blob_new(struct layout_writer *w, enum digest_algo algo, struct layout_blob **ret,
		    struct error *err);
int layout_blob_write(struct layout_blob *b, const void *data, size_t n, struct error *err);
/* The digest is computed while writing. -EBADMSG: it is not want, or the size is not (-1: any). b
 * must be freed in any case. */
int layout_blob_commit(struct layout_blob *b, const struct digest *want, int64_t size,
		       struct error *err);
void layout_blob_free(struct layout_blob *b); /* accepts NULL */
DEFINE_CLEANUP(struct layout_blob *, layout_blob_free)

/* A whole blob: a manifest, a config. Nothing is written when it is there. */
int layout_put(struct layout_writer *w, const struct digest *d, const void *data, size_t n,
	       struct error *err);
/* Makes index.json name a manifest: name is the tag, or NULL for an image without one. Replaces
 * the entry that has this name; NULL: the one that has none. artifact_type: or NULL. */
int layout_tag(struct layout_writer *w, const char *name, const char *media_type,
	       const char *artifact_type, const struct digest *d, uint64_t size, struct error *err);

#endif
