/* SPDX-License-Identifier: MIT */
#include "image/manifest.h"

#include <errno.h>
#include <stdio.h>
#include "image/descriptor.h"
#include "image/platform.h"

#define KEY_TOC_DIGEST "containerd.io/snapshot/stargz/toc.digest"
#define KEY_RAW_SIZE "io.containers.estargz.uncompressed-size"
/* podman's key, and the one that stargz-snapshotter writes, as podman did before 2022-11 */
#define KEY_CHUNKED "io.github.containers.zstd-chunked.manifest-"
#define KEY_CHUNKED_OLD "io.containers.zstd-chunked.manifest-"

void manifest_free(struct manifest *m)
{
	if (!m)
		return;
	for (uint32_t i = 0; i < m->n_layers; i++)
		descriptor_fini(&m->layers[i].desc);
	descriptor_fini(&m->config);
	free(m->layers);
	free(m->media_type);
	free(m->created);
	free(m);
}

int manifest_kind_of(const void *json, size_t len, const char *content_type,
		     enum manifest_kind *ret, struct error *err)
{
	json_auto_t *root = NULL;
	int r = json_parse(json, len, JSON_DOC_MAX, "manifest", &root, err);

	return r < 0 ? r : document_kind(root, content_type, ret, err);
}

/* Decimal digits up to end, 0 .. 2^53. */
static bool decimal_parse(const char *s, const char *end, int64_t *ret)
{
	int64_t v = 0;

	if (s == end || end - s > 16)
		return false;
	for (; s < end; s++) {
		if (*s < '0' || *s > '9')
			return false;
		v = v * 10 + (*s - '0');
	}
	*ret = v;
	return v <= BLOB_SIZE_MAX;
}

/* "offset:length:raw length:type" */
static bool position_parse(const char *s, struct manifest_layer *l)
{
	int64_t *const fields[] = {&l->zstd_off, &l->zstd_len, &l->zstd_raw_len, &l->zstd_type};

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		const char *end = strchrnul(s, ':');
		bool last = i + 1 == ARRAY_SIZE(fields);

		if (!decimal_parse(s, end, fields[i]) || !*end != last)
			return false;
		s = end + 1;
	}
	return true;
}

static int bad_annotation(const char *what, const char *key, const char *value, struct error *err)
{
	return error_set(err, -EBADMSG, "%s: annotation \"%s\" makes no sense: \"%.80s\"", what,
			 key, value);
}

#define KEY_END_MAX 16

/* What stands under the new key or the old one: 0, JSON_ABSENT. Under both: once is enough, but
 * there are no two tables. */
static int either_key(const json_t *annotations, const char *end, const char *what,
		      const char **ret, struct error *err)
{
	char key[sizeof(KEY_CHUNKED) + KEY_END_MAX], old_key[sizeof(key)];
	const char *value = NULL, *old = NULL;
	int r;

	snprintf(key, sizeof(key), "%s%s", KEY_CHUNKED, end);
	snprintf(old_key, sizeof(old_key), "%s%s", KEY_CHUNKED_OLD, end);
	r = json_get_string(annotations, key, what, &value, err);
	if (r >= 0)
		r = json_get_string(annotations, old_key, what, &old, err);
	if (r < 0)
		return r;
	if (value && old && strcmp(value, old))
		return error_set(err, -EBADMSG,
				 "%s: annotations \"%s\" and \"%s\" disagree: there can be one "
				 "table of contents",
				 what, key, old_key);
	*ret = value ? value : old;
	return *ret ? 0 : JSON_ABSENT;
}

static int zstd_chunked_parse(const json_t *annotations, const char *what, struct manifest_layer *l,
			      struct error *err)
{
	const char *sum = NULL, *pos = NULL;
	int r = either_key(annotations, "checksum", what, &sum, err);

	if (r)
		return r < 0 ? r : 0;
	r = digest_parse(sum, &l->zstd_checksum, err);
	if (r < 0)
		return r;
	l->has_zstd_chunked = true;
	r = either_key(annotations, "position", what, &pos, err);
	if (r < 0)
		return r;
	if (!r && !position_parse(pos, l))
		return bad_annotation(what, KEY_CHUNKED "position", pos, err);
	return 0;
}

/* Annotations count whatever dialect the layer's type is of: tools put them on Docker types too. */
static int annotations_parse(const json_t *obj, const char *what, struct manifest_layer *l,
			     struct error *err)
{
	const char *text = NULL;
	json_t *annotations = NULL;
	int r = json_get_object(obj, "annotations", what, &annotations, err);

	if (r)
		return r < 0 ? r : 0;
	r = json_get_string(annotations, KEY_TOC_DIGEST, what, &text, err);
	if (!r) {
		r = digest_parse(text, &l->toc_digest, err);
		l->has_toc = !r;
	}
	if (r < 0)
		return r;
	r = json_get_string(annotations, KEY_RAW_SIZE, what, &text, err);
	if (!r && !decimal_parse(text, text + strlen(text), &l->uncompressed_size))
		return bad_annotation(what, KEY_RAW_SIZE, text, err);
	if (r < 0)
		return r;
	return zstd_chunked_parse(annotations, what, l, err);
}

static int layer_parse(const json_t *obj, size_t i, struct manifest_layer *l, struct error *err)
{
	char what[32];
	int r;

	snprintf(what, sizeof(what), "layer %zu", i + 1);
	*l = (struct manifest_layer){
		.zstd_off = -1,
		.zstd_len = -1,
		.zstd_raw_len = -1,
		.zstd_type = -1,
		.uncompressed_size = -1,
	};
	r = descriptor_parse(obj, what, &l->desc, err);
	if (r < 0)
		return r;
	if (media_role_of(l->desc.media_type) != MEDIA_LAYER)
		return error_set(err, -ENOTSUP, "%s: media type \"%.200s\" is not supported", what,
				 l->desc.media_type);
	return annotations_parse(obj, what, l, err);
}

static int layers_parse(const json_t *root, struct manifest *m, struct error *err)
{
	json_t *array = NULL;
	size_t n;
	int r = json_get_array(root, "layers", "manifest", &array, err);

	if (r < 0)
		return r;
	if (r == JSON_ABSENT)
		return error_set(err, -EBADMSG, "manifest: it has no \"layers\"");
	n = json_array_size(array);
	if (n > LAYERS_MAX)
		return error_set(err, -E2BIG, "manifest: %zu layers, the limit is %d", n,
				 LAYERS_MAX);
	m->layers = calloc(n ? n : 1, sizeof(*m->layers));
	if (!m->layers)
		return error_set_errno(err, -ENOMEM, "manifest");
	while (m->n_layers < n) {
		uint32_t i = m->n_layers++; /* counted before, so that a half-read one is freed */

		r = layer_parse(json_array_get(array, i), i, &m->layers[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* An image is what has an image's config; everything else that travels as a manifest is not. */
static int config_descriptor_parse(const json_t *root, struct manifest *m, struct error *err)
{
	const char *artifact = NULL;
	json_t *config = NULL;
	int r = json_get_object(root, "config", "manifest", &config, err);

	if (r >= 0 && !config)
		return error_set(err, -EBADMSG, "manifest: it has no \"config\"");
	if (r >= 0)
		r = json_get_string(root, "artifactType", "manifest", &artifact, err);
	if (r >= 0)
		r = descriptor_parse(config, "manifest's config", &m->config, err);
	if (r < 0)
		return r;
	if (media_role_of(m->config.media_type) == MEDIA_CONFIG)
		return 0;
	return error_set(err, -ENOTSUP, "not a container image but an artifact of type \"%.200s\"",
			 artifact && *artifact ? artifact : m->config.media_type);
}

int manifest_parse(const void *json, size_t len, struct manifest **ret, struct error *err)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	json_auto_t *root = NULL;
	enum manifest_kind kind;
	const char *type;
	int r;

	r = json_parse(json, len, JSON_DOC_MAX, "manifest", &root, err);
	if (r < 0)
		return r;
	r = document_kind(root, NULL, &kind, err);
	if (r < 0)
		return r;
	if (kind != MANIFEST_IMAGE)
		return error_set(err, -EBADMSG, "not a manifest but an index");
	m = calloc(1, sizeof(*m));
	if (!m)
		return error_set_errno(err, -ENOMEM, "manifest");
	r = config_descriptor_parse(root, m, err);
	if (!r)
		r = layers_parse(root, m, err);
	if (r < 0)
		return r;
	type = json_string_value(json_object_get(root, "mediaType"));
	m->media_type = strdup(type ? type : "application/vnd.oci.image.manifest.v1+json");
	if (!m->media_type)
		return error_set_errno(err, -ENOMEM, "manifest");
	*ret = steal_ptr(m);
	return 0;
}

#define WHAT_CONFIG "image config"

static int diff_ids_parse(const json_t *root, uint32_t n_layers, struct digest *ret,
			  struct error *err)
{
	json_t *rootfs = NULL, *ids = NULL, *id;
	const char *type = "layers";
	size_t i;
	int r = json_get_object(root, "rootfs", WHAT_CONFIG, &rootfs, err);

	if (r >= 0)
		r = json_get_string(rootfs, "type", WHAT_CONFIG, &type, err);
	if (r >= 0)
		r = json_get_array(rootfs, "diff_ids", WHAT_CONFIG, &ids, err);
	if (r < 0)
		return r;
	if (strcmp(type, "layers") != 0)
		return error_set(err, -ENOTSUP,
				 WHAT_CONFIG ": rootfs of type \"%.80s\" is not supported", type);
	if (json_array_size(ids) != n_layers)
		return error_set(err, -EBADMSG,
				 WHAT_CONFIG ": it lists %zu layers, the manifest %u",
				 json_array_size(ids), n_layers);
	json_array_foreach (ids, i, id) {
		if (!json_is_string(id))
			return error_set(err, -EBADMSG, WHAT_CONFIG ": diff_id %zu is not a string",
					 i + 1);
		r = digest_parse(json_string_value(id), &ret[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int config_platform_parse(const json_t *root, struct platform *ret, struct error *err)
{
	const char *os = "", *arch = "", *variant = "";
	int r = json_get_string(root, "os", WHAT_CONFIG, &os, err);

	if (r >= 0)
		r = json_get_string(root, "architecture", WHAT_CONFIG, &arch, err);
	if (r >= 0)
		r = json_get_string(root, "variant", WHAT_CONFIG, &variant, err);
	if (r < 0)
		return r;
	if (!platform_set(os, arch, variant, ret))
		return error_set(err, -EBADMSG, WHAT_CONFIG ": not a platform: \"%.80s/%.80s\"", os,
				 arch);
	return 0;
}

int manifest_set_config(struct manifest *m, const void *json, size_t len, struct error *err)
{
	json_auto_t *root = NULL;
	_cleanup_(freep) struct digest *ids = NULL;
	struct platform platform;
	const char *created = NULL;
	char *copy;
	int r;

	r = json_parse(json, len, JSON_DOC_MAX, WHAT_CONFIG, &root, err);
	if (r < 0)
		return r;
	ids = calloc(m->n_layers + 1u, sizeof(*ids));
	if (!ids)
		return error_set_errno(err, -ENOMEM, WHAT_CONFIG);
	r = diff_ids_parse(root, m->n_layers, ids, err);
	if (r >= 0)
		r = config_platform_parse(root, &platform, err);
	if (r >= 0)
		r = json_get_string(root, "created", WHAT_CONFIG, &created, err);
	if (r < 0)
		return r;
	copy = created ? strdup(created) : NULL;
	if (created && !copy)
		return error_set_errno(err, -ENOMEM, WHAT_CONFIG);
	free(m->created);
	m->created = copy;
	m->platform = platform;
	for (uint32_t i = 0; i < m->n_layers; i++)
		m->layers[i].diff_id = ids[i];
	return 0;
}
