/* SPDX-License-Identifier: MIT */
/*
 * Where an image goes: a repository of a registry, or an OCI layout directory, behind one set of
 * verbs; the counterpart of source.h.
 *
 * Sends bytes and documents; does not make them, and decides neither their order (blobs, then
 * manifests, then the tag) nor what is sent at all.
 */
#ifndef MORSEL_REGISTRY_TARGET_H
#define MORSEL_REGISTRY_TARGET_H

#include "registry/source.h"

struct target;
/* from: a repository of the same registry whose blobs may be mounted, or NULL. Dials nothing yet.
 * -EINVAL: an archive, which can't be written to. */
int target_open(struct registry *r, const struct ref *ref, const char *from, struct target **ret,
		struct error *err);
/* Uploads must be freed before. Accepts NULL. */
void target_close(struct target *t);
DEFINE_CLEANUP(struct target *, target_close)

enum { TARGET_ABSENT = 1 };

/* Whether it has a blob. 0, TARGET_ABSENT, < 0. */
int target_has(struct target *t, const struct digest *d, uint64_t size, struct error *err);
/* Takes a blob over from the repository given as `from`. 0, TARGET_ABSENT, < 0. */
int target_mount(struct target *t, const struct digest *d, uint64_t size, struct error *err);

/*
 * A blob on its way. Bytes are written in order; a window of the latest is kept, so that what the
 * registry lost can be sent again. What has left the window has to be made again:
 *
 *   UPLOAD_REWIND   write again, from upload_offset() on
 *   UPLOAD_WHOLE    this registry takes a blob only when digest and size are known beforehand:
 *                   free this one, find them out, start again with them
 *
 * One thread at a time.
 */
enum { UPLOAD_REWIND = 1, UPLOAD_WHOLE = 2 };
struct upload;
/* known, size: of the blob, or NULL and -1 when they are not known yet. */
int target_upload(struct target *t, const struct digest *known, int64_t size, struct upload **ret,
		  struct error *err);
/* 0, UPLOAD_REWIND, UPLOAD_WHOLE, < 0. Waits while the window is full. */
int upload_write(struct upload *u, const void *data, size_t n, struct error *err);
uint64_t upload_offset(const struct upload *u);
/* All is written: waits until the target has it all and says so. As upload_write(). */
int upload_finish(struct upload *u, const struct digest *d, uint64_t size, struct error *err);
uint64_t upload_wire_bytes(const struct upload *u); /* sent so far, with what was sent again */
/* What was not finished is cancelled at the target. Accepts NULL. */
void upload_free(struct upload *u);
DEFINE_CLEANUP(struct upload *, upload_free)

struct target_manifest {
	const char *media_type;
	const char *artifact_type; /* or NULL */
	const void *body;
	size_t len;
	struct digest digest;
	bool is_child; /* of an index that comes later: no tag is moved */
};
/* Puts a manifest or an index, under the reference's tag unless it is a child, and reads back what
 * is there then. -EBUSY: the tag names another manifest by now. */
int target_put_manifest(struct target *t, const struct target_manifest *m, struct error *err);

#endif
