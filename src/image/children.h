/* SPDX-License-Identifier: MIT */
/*
 * What a manifest or an index points at, of whatever kind it is: for copying without looking
 * inside. Pure and fuzzed; does not judge whether it is an image.
 */
#ifndef MORSEL_IMAGE_CHILDREN_H
#define MORSEL_IMAGE_CHILDREN_H

#include "image/manifest.h"

struct children {
	enum manifest_kind kind;
	struct descriptor *list; /* of a manifest: config, then layers; of an index: manifests */
	size_t n;
};

/* content_type: as manifest_kind_of(). -EBADMSG, -ENOTSUP, -E2BIG (more than LAYERS_MAX layers, or
 * 1000 manifests). */
int children_parse(const void *json, size_t len, const char *content_type, struct children *ret,
		   struct error *err);
void children_fini(struct children *c);
/* A layer that is not given to registries, but fetched from its maker. */
bool descriptor_is_foreign(const struct descriptor *d);

#endif
