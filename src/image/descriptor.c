/* SPDX-License-Identifier: MIT */
#include "image/descriptor.h"

#include <errno.h>
#include <stdio.h>

#define OCI "application/vnd.oci.image."
#define DOCKER "application/vnd.docker."

/* Whole names only: a suffix we do not know ("+gzip+encrypted") is another type. */
static const struct {
	const char *name;
	enum media_role role;
} media_types[] = {
	{OCI "index.v1+json", MEDIA_INDEX},
	{OCI "manifest.v1+json", MEDIA_MANIFEST},
	{OCI "config.v1+json", MEDIA_CONFIG},
	{OCI "layer.v1.tar", MEDIA_LAYER},
	{OCI "layer.v1.tar+gzip", MEDIA_LAYER},
	{OCI "layer.v1.tar+zstd", MEDIA_LAYER},
	{OCI "layer.nondistributable.v1.tar", MEDIA_LAYER},
	{OCI "layer.nondistributable.v1.tar+gzip", MEDIA_LAYER},
	{OCI "layer.nondistributable.v1.tar+zstd", MEDIA_LAYER},
	{DOCKER "distribution.manifest.list.v2+json", MEDIA_INDEX},
	{DOCKER "distribution.manifest.v2+json", MEDIA_MANIFEST},
	{DOCKER "container.image.v1+json", MEDIA_CONFIG},
	{DOCKER "image.rootfs.diff.tar", MEDIA_LAYER},
	{DOCKER "image.rootfs.diff.tar.gzip", MEDIA_LAYER},
	{DOCKER "image.rootfs.diff.tar.zstd", MEDIA_LAYER},
	{DOCKER "image.rootfs.foreign.diff.tar", MEDIA_LAYER},
	{DOCKER "image.rootfs.foreign.diff.tar.gzip", MEDIA_LAYER},
	{DOCKER "distribution.manifest.v1+json", MEDIA_SCHEMA1},
	{DOCKER "distribution.manifest.v1+prettyjws", MEDIA_SCHEMA1},
	{"application/json", MEDIA_GENERIC},
	{"application/octet-stream", MEDIA_GENERIC},
	{"text/plain", MEDIA_GENERIC},
};

enum media_role media_role_of(const char *media_type)
{
	for (size_t i = 0; i < ARRAY_SIZE(media_types); i++)
		if (!strcmp(media_type, media_types[i].name))
			return media_types[i].role;
	return MEDIA_OTHER;
}

void descriptor_fini(struct descriptor *d)
{
	free(d->media_type);
	d->media_type = NULL;
}

int descriptor_parse(const json_t *obj, const char *what, struct descriptor *ret, struct error *err)
{
	const char *type = NULL, *digest = NULL;
	struct descriptor d = {0};
	int r;

	if (!json_is_object(obj))
		return error_set(err, -EBADMSG, "%s: not a descriptor", what);
	r = json_get_string(obj, "mediaType", what, &type, err);
	if (r >= 0)
		r = json_get_string(obj, "digest", what, &digest, err);
	if (r >= 0)
		r = json_get_int(obj, "size", what, &d.size, err);
	if (r < 0)
		return r;
	if (r == JSON_ABSENT || !type || !digest)
		return error_set(err, -EBADMSG, "%s: a descriptor needs mediaType, digest and size",
				 what);
	if (d.size < 0 || d.size > BLOB_SIZE_MAX)
		return error_set(err, -EBADMSG, "%s: impossible size %lld", what,
				 (long long)d.size);
	r = digest_parse(digest, &d.digest, err);
	if (r < 0)
		return r;
	d.media_type = strdup(type);
	if (!d.media_type)
		return error_set_errno(err, -ENOMEM, "%s", what);
	*ret = d;
	return 0;
}

static int schema1(struct error *err)
{
	return error_set(err, -ENOTSUP,
			 "the manifest is of Docker schema 1, which is not supported: "
			 "push the image again with a current tool");
}

/* What the members say. The names must not allow two readings (CVE-2021-41190). */
static int kind_by_content(const json_t *root, enum manifest_kind *ret, struct error *err)
{
	bool index = json_is_array(json_object_get(root, "manifests"));
	bool image = json_object_get(root, "config") || json_object_get(root, "layers");

	if (index && image)
		return error_set(err, -EBADMSG,
				 "ambiguous: the document has \"manifests\" and \"%s\"",
				 json_object_get(root, "layers") ? "layers" : "config");
	if (!index && !image) {
		if (json_object_get(root, "fsLayers"))
			return schema1(err);
		return error_set(
			err, -EBADMSG,
			"neither a manifest nor an index: no \"layers\", no \"manifests\"");
	}
	*ret = index ? MANIFEST_INDEX : MANIFEST_IMAGE;
	return 0;
}

static int kind_by_type(const char *type, enum manifest_kind *ret, struct error *err)
{
	switch (media_role_of(type)) {
	case MEDIA_INDEX:
		*ret = MANIFEST_INDEX;
		return 0;
	case MEDIA_MANIFEST:
		*ret = MANIFEST_IMAGE;
		return 0;
	case MEDIA_SCHEMA1:
		return schema1(err);
	case MEDIA_OTHER:
	case MEDIA_CONFIG:
	case MEDIA_LAYER:
	case MEDIA_GENERIC:
		break;
	}
	return error_set(err, -ENOTSUP, "media type \"%s\" is neither a manifest nor an index",
			 type);
}

int document_kind(const json_t *root, const char *content_type, enum manifest_kind *ret,
		  struct error *err)
{
	enum manifest_kind declared = MANIFEST_IMAGE, found = MANIFEST_IMAGE;
	const char *type = NULL;
	int64_t schema = 2;
	int r;

	if (!json_is_object(root))
		return error_set(err, -EBADMSG, "the manifest is not a JSON object");
	r = json_get_string(root, "mediaType", "manifest", &type, err);
	if (r >= 0)
		r = json_get_int(root, "schemaVersion", "manifest", &schema, err);
	if (r < 0)
		return r;
	if (content_type && media_role_of(content_type) == MEDIA_GENERIC)
		content_type = NULL;
	if (schema == 1)
		return schema1(err);
	if (schema != 2)
		return error_set(err, -ENOTSUP,
				 "manifest of schemaVersion %lld: only 2 is supported",
				 (long long)schema);
	if (type && content_type && strcmp(type, content_type) != 0)
		return error_set(err, -EBADMSG,
				 "the manifest says it is \"%s\", its Content-Type says \"%s\"",
				 type, content_type);
	type = type ? type : content_type;
	r = type ? kind_by_type(type, &declared, err) : 0;
	if (r < 0)
		return r;
	r = kind_by_content(root, &found, err);
	if (r < 0)
		return r;
	if (type && declared != found)
		return error_set(err, -EBADMSG,
				 "ambiguous: typed \"%s\", but with the members of %s", type,
				 found == MANIFEST_INDEX ? "an index" : "a manifest");
	*ret = found;
	return 0;
}
