/* SPDX-License-Identifier: MIT */
#include "registry/docker_manifest.h"

#include <errno.h>

#include "base/buf.h"
#include "registry/ref.h"

#define WHAT "manifest.json"

static int image_check(const json_t *image, struct error *err)
{
	const char *config;
	json_t *layers, *tags, *e;
	size_t i;
	int r;

	if (!json_is_object(image))
		return error_set(err, -EBADMSG, WHAT ": an image is not an object");
	r = json_get_string(image, "Config", WHAT, &config, err);
	if (!r)
		r = json_get_array(image, "Layers", WHAT, &layers, err);
	if (r)
		return r < 0 ? r
			     : error_set(err, -EBADMSG, WHAT ": an image needs Config and Layers");
	if (json_array_size(layers) > DOCKER_LAYERS_MAX)
		return error_set(err, -E2BIG, WHAT ": %zu layers, the limit is %d",
				 json_array_size(layers), DOCKER_LAYERS_MAX);
	json_array_foreach (layers, i, e)
		if (!json_is_string(e))
			return error_set(err, -EBADMSG, WHAT ": a layer is not a string");
	r = json_get_array(image, "RepoTags", WHAT, &tags, err);
	if (r)
		return r < 0 ? r : 0;
	json_array_foreach (tags, i, e)
		if (!json_is_string(e))
			return error_set(err, -EBADMSG, WHAT ": a name is not a string");
	return 0;
}

int docker_manifest_parse(const void *data, size_t len, struct docker_manifest *ret,
			  struct error *err)
{
	json_t *image;
	size_t i;
	int r = json_parse(data, len, JSON_DOC_MAX, WHAT, &ret->root, err);

	if (r >= 0 && !json_is_array(ret->root))
		r = error_set(err, -EBADMSG, WHAT ": not an array of images");
	if (r < 0)
		return r;
	json_array_foreach (ret->root, i, image) {
		r = image_check(image, err);
		if (r < 0)
			return r;
	}
	return 0;
}

void docker_manifest_fini(struct docker_manifest *m)
{
	json_decref(m->root);
	m->root = NULL;
}

/* "alpine:3" and "docker.io/library/alpine:3" are one name: docker writes the first, podman the
 * second. */
static bool same_name(const char *a, const char *b)
{
	_cleanup_(ref_freep) struct ref *x = NULL, *y = NULL;

	if (!strcmp(a, b))
		return true;
	if (ref_parse(a, &x, NULL) < 0 || ref_parse(b, &y, NULL) < 0 || x->kind != REF_REGISTRY ||
	    y->kind != REF_REGISTRY || !x->tag || !y->tag)
		return false;
	return !strcmp(x->host, y->host) && !strcmp(x->path, y->path) && !strcmp(x->tag, y->tag);
}

static int list_name(void *userdata, const char *name)
{
	struct buf *names = userdata;

	return buf_printf(names, "%s%s", names->len ? ", " : "", name);
}

static int not_chosen(const struct docker_manifest *m, const char *name, const char *what,
		      struct error *err)
{
	_cleanup_(buf_fini) struct buf names = BUF_INIT_MAX(300);
	size_t n = json_array_size(m->root);

	docker_manifest_names(m, list_name, &names);
	if (!name && n)
		return error_set(err, -EINVAL,
				 "%s: the archive holds %zu images; name one of them behind a ':' "
				 "(%s)",
				 what, n, names.len ? buf_str(&names) : "none has a name");
	return error_set(err, -ENOENT, "%s: the archive has no image \"%s\"; it has: %s", what,
			 name ? name : "", names.len ? buf_str(&names) : "none with a name");
}

int docker_manifest_choose(const struct docker_manifest *m, const char *name, const char *what,
			   struct docker_image *ret, struct error *err)
{
	const json_t *image, *found = NULL, *tag;
	size_t i, j;

	if (!name && json_array_size(m->root) == 1)
		found = json_array_get(m->root, 0);
	json_array_foreach (m->root, i, image)
		json_array_foreach (json_object_get(image, "RepoTags"), j, tag)
			if (name && !found && same_name(name, json_string_value(tag)))
				found = image;
	if (!found)
		return not_chosen(m, name, what, err);
	*ret = (struct docker_image){.config = json_string_value(json_object_get(found, "Config")),
				     .layers = json_object_get(found, "Layers")};
	return 0;
}

int docker_manifest_names(const struct docker_manifest *m,
			  int (*fn)(void *userdata, const char *name), void *userdata)
{
	const json_t *image, *tag;
	size_t i, j;

	json_array_foreach (m->root, i, image)
		json_array_foreach (json_object_get(image, "RepoTags"), j, tag) {
			int r = fn(userdata, json_string_value(tag));

			if (r)
				return r;
		}
	return 0;
}

int docker_config_diff_ids(const void *data, size_t len, size_t n, struct digest *ret,
			   struct error *err)
{
	_cleanup_(json_decrefp) json_t *root = NULL;
	json_t *rootfs = NULL, *ids = NULL, *id;
	size_t i;
	int r = json_parse(data, len, JSON_DOC_MAX, "config", &root, err);

	if (r >= 0)
		r = json_get_object(root, "rootfs", "config", &rootfs, err);
	if (!r)
		r = json_get_array(rootfs, "diff_ids", "config", &ids, err);
	if (r < 0)
		return r;
	if (r || json_array_size(ids) != n)
		return error_set(err, -EBADMSG,
				 "config: it names %zu layers (diff_ids), " WHAT " names %zu",
				 r ? 0 : json_array_size(ids), n);
	json_array_foreach (ids, i, id) {
		if (!json_is_string(id))
			return error_set(err, -EBADMSG, "config: a diff_id is not a string");
		r = digest_parse(json_string_value(id), &ret[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}
