/* SPDX-License-Identifier: MIT */
/*
 * The image that holds the tables of contents of another image's layers (eStargz with an external
 * table): an ordinary manifest under the same name with "-esgztoc" behind the tag, each of whose
 * layers says in an annotation which layer it describes. Fetches nothing and promises nothing: the
 * digest of a table stands in the manifest of its layer. Pure.
 */
#ifndef MORSEL_IMAGE_EXTERNAL_TOC_H
#define MORSEL_IMAGE_EXTERNAL_TOC_H

#include "image/manifest.h"

#define EXTERNAL_TOC_TAG_SUFFIX "-esgztoc"

enum { EXTERNAL_TOC_NONE = 1 };

/* The descriptor of the table of the layer with this digest, to be finished by the caller;
 * EXTERNAL_TOC_NONE; -EBADMSG. */
int external_toc_find(const void *json, size_t len, const struct digest *layer,
		      struct descriptor *ret, struct error *err);

#endif
