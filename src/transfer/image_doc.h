/* SPDX-License-Identifier: MIT */
/*
 * The documents of an image that is being made: its config and its manifest, as OCI image-spec 1.1
 * has them. Facts in, JSON text out, always the same text for the same facts. Pure; digests of
 * layers are the caller's. Does not send them.
 */
#ifndef MORSEL_TRANSFER_IMAGE_DOC_H
#define MORSEL_TRANSFER_IMAGE_DOC_H

#include "base/buf.h"
#include "base/digest.h"
#include "image/manifest.h"

#define TYPE_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define TYPE_CONFIG "application/vnd.oci.image.config.v1+json"
#define TYPE_EMPTY "application/vnd.oci.empty.v1+json"
#define EMPTY_TEXT "{}"

/* What the user says of an image. Lists end with NULL and may be NULL; texts may be NULL: not
 * said, what the base has stays. */
struct image_wish {
	const char *entrypoint, *cmd;	/* see words.h */
	const char *const *env;		/* "NAME=VALUE" */
	const char *const *labels;	/* "KEY=VALUE", "KEY" */
	const char *const *annotations; /* "KEY=VALUE", of the manifest */
	const char *workdir, *user, *author;
	const char *artifact_type; /* an artifact: no config, no base */
	int64_t created_s;	   /* since 1970 */
};

struct image_doc_layer {
	const char *media_type;
	struct digest digest, diff_id;
	uint64_t size;
	const struct image_doc_annotation {
		const char *key, *value;
	} * annotations;
	size_t n_annotations;
	const char *created_by; /* of its line in the history */
};

/* Checks what can be checked before anything is read or sent. -EINVAL. */
int image_wish_check(const struct image_wish *w, struct error *err);

/* base_config: of the image below, or NULL. platform is that of an image without a base. */
int image_config_make(const struct image_wish *w, const struct platform *platform,
		      const struct buf *base_config, const struct image_doc_layer *layers, size_t n,
		      struct buf *ret, struct error *err);
/* base_manifest: whose layers come first, or NULL. config: ignored for an artifact. */
int image_manifest_make(const struct image_wish *w, const struct digest *config,
			uint64_t config_size, const struct buf *base_manifest,
			const struct image_doc_layer *layers, size_t n, struct buf *ret,
			struct error *err);

#endif
