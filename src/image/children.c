/* SPDX-License-Identifier: MIT */
#include "image/children.h"

#include <errno.h>

#include "image/descriptor.h"

#define MANIFESTS_MAX 1000

static int list_parse(const json_t *root, const char *key, size_t max, struct children *c,
		      struct error *err)
{
	struct descriptor *more;
	json_t *array = NULL;
	size_t n;
	int r = json_get_array(root, key, "manifest", &array, err);

	if (r)
		return r < 0 ? r : 0;
	n = json_array_size(array);
	if (n > max)
		return error_set(err, -E2BIG, "manifest: %zu %s, the limit is %zu", n, key, max);
	more = reallocarray(c->list, c->n + n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	c->list = more;
	for (size_t i = 0; i < n; i++, c->n++) {
		r = descriptor_parse(json_array_get(array, i), key, &c->list[c->n], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int config_parse(const json_t *root, struct children *c, struct error *err)
{
	json_t *config = NULL;
	int r = json_get_object(root, "config", "manifest", &config, err);

	if (r)
		return r < 0 ? r : 0;
	c->list = calloc(1, sizeof(*c->list));
	if (!c->list)
		return -ENOMEM;
	r = descriptor_parse(config, "manifest's config", c->list, err);
	c->n = r >= 0;
	return r;
}

int children_parse(const void *json, size_t len, const char *content_type, struct children *ret,
		   struct error *err)
{
	json_auto_t *root = NULL;
	struct children c = {0};
	int r = json_parse(json, len, JSON_DOC_MAX, "manifest", &root, err);

	if (r >= 0)
		r = document_kind(root, content_type, &c.kind, err);
	if (r >= 0 && c.kind == MANIFEST_INDEX)
		r = list_parse(root, "manifests", MANIFESTS_MAX, &c, err);
	else if (r >= 0)
		r = config_parse(root, &c, err);
	if (r >= 0 && c.kind == MANIFEST_IMAGE)
		r = list_parse(root, "layers", LAYERS_MAX, &c, err);
	if (r < 0) {
		children_fini(&c);
		return r;
	}
	*ret = c;
	return 0;
}

void children_fini(struct children *c)
{
	for (size_t i = 0; i < c->n; i++)
		descriptor_fini(&c->list[i]);
	free(c->list);
	*c = (struct children){0};
}

bool descriptor_is_foreign(const struct descriptor *d)
{
	return strstr(d->media_type, ".nondistributable.") || strstr(d->media_type, ".foreign.");
}
