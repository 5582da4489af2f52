/* SPDX-License-Identifier: MIT */
/*
 * From a reference to a verified manifest and config, through the cache and by the tag policy.
 * Decides nothing about layers.
 */
#ifndef MORSEL_LIB_RESOLVE_H
#define MORSEL_LIB_RESOLVE_H

#include "lib/context.h"

struct resolved {
	struct ref *ref;
	struct source *source;
	struct digest digest; /* of the image's manifest, after any index */
	struct buf manifest_json, config_json;
	struct manifest *manifest;
	bool from_cache; /* the registry could not be asked; what the tag named earlier is used */
};

/* resolved must be zeroed; fini it also after an error. */
int image_resolve(struct morsel *m, const char *ref_text, struct resolved *ret, struct error *err);
void resolved_fini(struct resolved *rv);

#endif
