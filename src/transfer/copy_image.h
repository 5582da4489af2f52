/* SPDX-License-Identifier: MIT */
/*
 * An image as it is, from a source into an OCI layout: manifests byte for byte, configs and layers
 * streamed, each verified against its digest before it has a name. Keeps what the layout has.
 * Does not look into layers, and leaves the cache alone.
 */
#ifndef MORSEL_TRANSFER_COPY_IMAGE_H
#define MORSEL_TRANSFER_COPY_IMAGE_H

#include "image/manifest.h"
#include "registry/layout_write.h"
#include "registry/source.h"

struct copy_progress {
	uint64_t done_bytes, total_bytes;
	uint32_t blobs_done, blobs_total;
};

struct copy_options {
	const struct seam *seam;
	struct source *source;
	struct layout_writer *to;
	const struct platform *platform; /* of an index; NULL = all of it */
	const atomic_bool *cancel;
	/* From the calling thread about ten times a second; != 0: give up. May be NULL. */
	int (*progress)(void *userdata, const struct copy_progress *p);
	void *userdata;
};

struct copy_result {
	struct digest digest; /* of what was copied: the index, or the platform's manifest */
	char *media_type;     /* owned */
	uint64_t size;	      /* bytes of that document */
	uint32_t manifests, blobs;
	uint64_t bytes; /* of the blobs */
	uint64_t moved_bytes, skipped_bytes, requests;
	uint64_t documents_ns, blobs_ns;
};

/* Everything but the tag. *ret->media_type is for free(3), also after an error. -ENOTSUP: no such
 * platform; -EBADMSG; -E2BIG: an index nested too deeply, too many blobs. */
int copy_image(const struct copy_options *o, struct copy_result *ret, struct error *err);

#endif
