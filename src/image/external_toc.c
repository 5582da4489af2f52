/* SPDX-License-Identifier: MIT */
#include "image/external_toc.h"

#include <errno.h>

#include "base/json.h"
#include "image/descriptor.h"

#define KEY_LAYER "containerd.io/snapshot/stargz/layer.digest"

int external_toc_find(const void *json, size_t len, const struct digest *layer,
		      struct descriptor *ret, struct error *err)
{
	static const char what[] = "the image of tables of contents";
	_cleanup_(json_decrefp) json_t *doc = NULL;
	char want[DIGEST_TEXT_MAX];
	json_t *layers, *l;
	size_t i;
	int r = json_parse(json, len, JSON_DOC_MAX, what, &doc, err);

	if (r >= 0)
		r = json_get_array(doc, "layers", what, &layers, err);
	if (r)
		return r < 0 ? r : EXTERNAL_TOC_NONE;
	digest_format(layer, want);
	json_array_foreach (layers, i, l) {
		const json_t *a = json_object_get(l, "annotations");
		const char *of = json_string_value(json_object_get(a, KEY_LAYER));

		if (of && !strcmp(of, want))
			return descriptor_parse(l, what, ret, err);
	}
	return EXTERNAL_TOC_NONE;
}
