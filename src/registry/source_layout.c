/* SPDX-License-Identifier: MIT */
/*
 * An OCI image layout as a source: oci-layout, index.json, blobs/<algorithm>/<hex>, in a directory
 * or in a tar file of one. Only regular files are opened, and no symlink of a blob's name is
 * followed in a directory.
 */
#include "registry/source_impl.h"

#include <errno.h>
#include <stdio.h>

#include "base/json.h"
#include "registry/blob_file.h"

struct source_layout {
	struct source source;
	const struct seam *seam;
	struct files *files;
	char *name; /* wanted, or NULL: the only one */
	bool is_archive;
};

static struct source_layout *layout_of(struct source *s)
{
	return (struct source_layout *)s;
}

static int blob_find(struct source_layout *l, const struct digest *d, struct file_place *ret,
		     struct error *err)
{
	char hex[DIGEST_TEXT_MAX], path[DIGEST_TEXT_MAX + 32];
	int r;

	digest_format_hex(d, hex);
	snprintf(path, sizeof(path), "blobs/%s/%s", digest_algo_name(d->algo), hex);
	r = files_find(l->files, path, ret, err);
	if (r == -ENOENT)
		return error_set(err, r, "%s: the layout has no blob %s:%s", l->source.name,
				 digest_algo_name(d->algo), hex);
	return r;
}

static int blob_file_read(struct source_layout *l, const struct digest *d, int64_t size,
			  size_t max_bytes, struct buf *ret, struct error *err)
{
	struct file_place p = {.fd = -1};
	int r = blob_find(l, d, &p, err);

	if (r < 0)
		return r;
	if (size >= 0 && (uint64_t)size != p.size)
		r = error_set(err, -EBADMSG, "%s: a blob has %llu bytes, its descriptor says %lld",
			      l->source.name, (unsigned long long)p.size, (long long)size);
	else
		r = file_place_read(l->seam, &p, max_bytes, ret, l->source.name, "a blob", err);
	close(p.fd);
	if (r < 0)
		return r;
	return document_verify(l->source.name, "a document's digest", ret->data, ret->len, d, err);
}

static int layout_manifest(struct source *s, const struct digest *d, int64_t size,
			   struct source_document *ret, struct error *err)
{
	int r = blob_file_read(layout_of(s), d, size, DOCUMENT_MAX, &ret->body, err);

	ret->digest = *d;
	if (r < 0)
		source_document_fini(ret);
	return r;
}

/* ---- index.json ---- */

static int document_load(struct source_layout *l, const char *name, size_t max_bytes, json_t **ret,
			 struct error *err)
{
	_cleanup_(buf_fini) struct buf text = BUF_INIT;
	int r = files_read(l->files, name, max_bytes, &text, err);

	if (r < 0)
		return error_set_errno(err, r, "%s: can't read %s", l->source.name, name);
	return json_parse(text.data, text.len, max_bytes, name, ret, err);
}

static const char *entry_name(const json_t *entry)
{
	const json_t *a = json_object_get(entry, "annotations");
	const char *name =
		json_string_value(json_object_get(a, "org.opencontainers.image.ref.name"));

	return name ? name : json_string_value(json_object_get(a, "io.containerd.image.name"));
}

static int entry_missing(struct source_layout *l, const json_t *manifests, struct error *err)
{
	_cleanup_(buf_fini) struct buf names = BUF_INIT_MAX(300);
	const json_t *e;
	size_t i;

	json_array_foreach (manifests, i, e)
		if (entry_name(e))
			buf_printf(&names, "%s%s", names.len ? ", " : "", entry_name(e));
	if (!l->name)
		return error_set(
			err, json_array_size(manifests) ? -EINVAL : -ENOENT,
			"%s: the layout holds %zu images; name one of them behind a ':' (%s)",
			l->source.name, json_array_size(manifests), buf_str(&names));
	return error_set(err, -ENOENT, "%s: the layout has no image \"%s\"; it has: %s",
			 l->source.name, l->name, names.len ? buf_str(&names) : "none with a name");
}

static int entry_find(struct source_layout *l, const json_t *index, const json_t **ret,
		      struct error *err)
{
	json_t *manifests, *e;
	size_t i;
	int r = json_get_array(index, "manifests", l->source.name, &manifests, err);

	if (r)
		return r < 0 ? r
			     : error_set(err, -EBADMSG, "%s: index.json has no manifests",
					 l->source.name);
	if (!l->name && json_array_size(manifests) == 1) {
		*ret = json_array_get(manifests, 0);
		return 0;
	}
	json_array_foreach (manifests, i, e)
		if (l->name && entry_name(e) && !strcmp(entry_name(e), l->name)) {
			*ret = e;
			return 0;
		}
	return entry_missing(l, manifests, err);
}

static int layout_resolve(struct source *s, struct source_document *ret, struct error *err)
{
	struct source_layout *l = layout_of(s);
	_cleanup_(json_decrefp) json_t *index = NULL;
	const char *digest, *type = NULL;
	const json_t *entry = NULL;
	struct digest d;
	int64_t size = -1;
	int r = document_load(l, "index.json", DOCUMENT_MAX, &index, err);

	if (r >= 0)
		r = entry_find(l, index, &entry, err);
	if (r < 0)
		return r;
	r = json_get_string(entry, "digest", "index.json", &digest, err);
	if (!r)
		r = digest_parse(digest, &d, err);
	if (r >= 0 && json_get_int(entry, "size", "index.json", &size, err) < 0)
		r = -EBADMSG;
	if (r)
		return r < 0 ? r : error_set(err, -EBADMSG, "index.json: an entry has no digest");
	r = layout_manifest(s, &d, size, ret, err);
	if (r < 0)
		return r;
	if (!json_get_string(entry, "mediaType", "index.json", &type, NULL) && type)
		ret->media_type = strdup(type);
	return 0;
}

static int layout_small_blob(struct source *s, const struct digest *d, int64_t size,
			     size_t max_bytes, struct buf *ret, struct error *err)
{
	return blob_file_read(layout_of(s), d, size, max_bytes, ret, err);
}

static int layout_tags(struct source *s, char ***ret, struct error *err)
{
	struct source_layout *l = layout_of(s);
	_cleanup_(json_decrefp) json_t *index = NULL;
	json_t *manifests = NULL, *e;
	char **tags;
	size_t i, count = 0;
	int r = document_load(l, "index.json", DOCUMENT_MAX, &index, err);

	if (r >= 0)
		r = json_get_array(index, "manifests", "index.json", &manifests, err);
	if (r < 0)
		return r;
	tags = calloc(json_array_size(manifests) + 1, sizeof(*tags));
	if (!tags)
		return -ENOMEM;
	json_array_foreach (manifests, i, e)
		if (entry_name(e) && (tags[count] = strdup(entry_name(e))))
			count++;
	*ret = tags;
	return 0;
}

/* ---- blobs ---- */

static int layout_blob(struct source *s, const struct digest *d, uint64_t size, struct blob **ret,
		       struct error *err)
{
	struct source_layout *l = layout_of(s);
	struct file_place p = {.fd = -1};
	int r = blob_find(l, d, &p, err);

	if (r < 0)
		return r;
	if (p.size == size)
		return blob_file_new(l->seam, &p, d, ret);
	close(p.fd);
	return error_set(err, -EBADMSG, "%s: a blob has %llu bytes, its descriptor says %llu",
			 l->source.name, (unsigned long long)p.size, (unsigned long long)size);
}

static void layout_close(struct source *s)
{
	struct source_layout *l = layout_of(s);

	files_free(l->files);
	free(l->name);
	free((char *)l->source.name);
	free(l);
}

static int layout_check(struct source_layout *l, struct error *err)
{
	_cleanup_(json_decrefp) json_t *doc = NULL;
	const char *version;
	int r = document_load(l, "oci-layout", 4096, &doc, err);

	if (r >= 0)
		r = json_get_string(doc, "imageLayoutVersion", "oci-layout", &version, err);
	if (r < 0)
		return r;
	if (r || strncmp(version, "1.", 2))
		return error_set(err, -ENOTSUP,
				 "%s: OCI layout version \"%s\" is not known (1.0.0 is)",
				 l->source.name, r ? "" : version);
	return 0;
}

static int layout_files_open(struct source_layout *l, const char *path, struct error *err)
{
	struct file_place p;
	int r = l->is_archive ? files_open_archive(l->seam, path, l->source.name, &l->files, err)
			      : files_open_directory(l->seam, path, l->source.name, &l->files, err);

	if (r >= 0)
		r = files_find(l->files, "oci-layout", &p, err);
	if (r >= 0)
		close(p.fd);
	if (r != -ENOENT || !l->files)
		return r;
	return error_set(err, r, "%s: not an OCI image layout: it has no oci-layout file%s",
			 l->source.name,
			 l->is_archive ? " (what docker save wrote is a docker-archive:)" : "");
}

int source_layout_open(struct registry *r, const struct ref *ref, struct source **ret,
		       struct error *err)
{
	static const struct source_ops ops = {.resolve = layout_resolve,
					      .manifest = layout_manifest,
					      .small_blob = layout_small_blob,
					      .blob = layout_blob,
					      .tags = layout_tags,
					      .close = layout_close};
	struct source_layout *l = calloc(1, sizeof(*l));
	int e;

	if (!l)
		return -ENOMEM;
	*l = (struct source_layout){
		.source = {.ops = &ops, .registry = r, .name = strdup(ref->text)},
		.seam = registry_seam(r),
		.name = ref->tag ? strdup(ref->tag) : NULL,
		.is_archive = ref->kind == REF_OCI_ARCHIVE};
	e = l->source.name && (!ref->tag || l->name) ? layout_files_open(l, ref->path, err)
						     : -ENOMEM;
	if (e >= 0)
		e = layout_check(l, err);
	if (e < 0) {
		layout_close(&l->source);
		return e;
	}
	*ret = &l->source;
	return 0;
}
