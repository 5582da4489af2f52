/* SPDX-License-Identifier: MIT */
/*
 * What manifests and indexes have in common: descriptors, media types, the rules that tell the two
 * apart. Private to the manifest parsers of this folder; pure. Does not look at what a descriptor
 * points to.
 */
#ifndef MORSEL_IMAGE_DESCRIPTOR_H
#define MORSEL_IMAGE_DESCRIPTOR_H

#include "base/json.h"
#include "image/manifest.h"

#define BLOB_SIZE_MAX (INT64_C(1) << 53) /* bytes; what JSON numbers hold exactly everywhere */

enum media_role {
	MEDIA_OTHER,
	MEDIA_INDEX,
	MEDIA_MANIFEST,
	MEDIA_CONFIG,
	MEDIA_LAYER,
	MEDIA_SCHEMA1,
	MEDIA_GENERIC, /* "application/json" and the like: says nothing */
};
enum media_role media_role_of(const char *media_type);

/* obj is an element called what ("layer 3"). -EBADMSG, -ENOTSUP (digest algorithm), -ENOMEM. */
int descriptor_parse(const json_t *obj, const char *what, struct descriptor *ret,
		     struct error *err);

/* A manifest or an index, by its root object: see manifest_kind_of(). */
int document_kind(const json_t *root, const char *content_type, enum manifest_kind *ret,
		  struct error *err);

#endif
