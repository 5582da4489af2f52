/* SPDX-License-Identifier: MIT */
/*
 * An OCI image layout directory as a source: oci-layout, index.json, blobs/<algorithm>/<hex>.
 * Only regular files are opened, and no symlink of a blob's name is followed.
 */
#include "registry/source_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/json.h"

#define READ_BYTES (256u << 10)

struct source_layout {
	struct source source;
	const struct seam *seam;
	int dir_fd;
	char *dir;
	char *name; /* wanted, or NULL: the only one */
};

struct blob_layout {
	struct blob blob;
	const struct seam *seam;
	int fd;
	char name[DIGEST_TEXT_MAX];
};

static struct source_layout *layout_of(struct source *s)
{
	return (struct source_layout *)s;
}

static int blob_file_open(struct source_layout *l, const struct digest *d, uint64_t *ret_size,
			  struct error *err)
{
	char hex[DIGEST_TEXT_MAX], path[DIGEST_TEXT_MAX + 32];
	_cleanup_(closep) int fd = -1;
	struct stat st;

	digest_format_hex(d, hex);
	snprintf(path, sizeof(path), "blobs/%s/%s", digest_algo_name(d->algo), hex);
	fd = l->seam->openat(l->seam, l->dir_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd == -ENOENT)
		return error_set(err, fd, "%s: the layout has no blob %s:%s", l->source.name,
				 digest_algo_name(d->algo), hex);
	if (fd < 0)
		return error_set_errno(err, fd, "%s: can't open %s", l->source.name, path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, -EBADMSG, "%s: %s is not a regular file", l->source.name,
				 path);
	*ret_size = (uint64_t)st.st_size;
	return steal_fd(&fd);
}

static int blob_file_read(struct source_layout *l, const struct digest *d, int64_t size,
			  size_t max_bytes, struct buf *ret, struct error *err)
{
	_cleanup_(closep) int fd = -1;
	uint64_t have;
	int r;

	fd = blob_file_open(l, d, &have, err);
	if (fd < 0)
		return fd;
	if (size >= 0 && (uint64_t)size != have)
		return error_set(err, -EBADMSG,
				 "%s: a blob has %llu bytes, its descriptor says %lld",
				 l->source.name, (unsigned long long)have, (long long)size);
	if (have > max_bytes)
		return error_set(err, -E2BIG, "%s: a document of %llu bytes, the limit is %zu",
				 l->source.name, (unsigned long long)have, max_bytes);
	r = buf_reserve(ret, have);
	if (r >= 0)
		r = seam_pread_full(l->seam, fd, ret->data, have, 0);
	if (r < 0)
		return error_set_errno(err, r, "%s: can't read a blob", l->source.name);
	ret->len = have;
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
			"%s: the layout holds %zu images; name one of them: oci:DIR:NAME (%s)",
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
	_cleanup_(freep) char *text = NULL;
	_cleanup_(json_decrefp) json_t *index = NULL;
	const char *digest, *type = NULL;
	const json_t *entry = NULL;
	struct digest d;
	int64_t size = -1;
	size_t n;
	int r = seam_read_file(l->seam, l->dir_fd, "index.json", DOCUMENT_MAX, &text, &n);

	if (r == -ENODATA)
		r = -EBADMSG;
	if (r < 0)
		return error_set_errno(err, r, "%s: can't read index.json", l->source.name);
	r = json_parse(text, n, DOCUMENT_MAX, "index.json", &index, err);
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
	_cleanup_(freep) char *text = NULL;
	_cleanup_(json_decrefp) json_t *index = NULL;
	json_t *manifests = NULL, *e;
	char **tags;
	size_t n, i, count = 0;
	int r = seam_read_file(l->seam, l->dir_fd, "index.json", DOCUMENT_MAX, &text, &n);

	if (r < 0)
		return error_set_errno(err, r, "%s: can't read index.json", l->source.name);
	r = json_parse(text, n, DOCUMENT_MAX, "index.json", &index, err);
	if (r >= 0)
		r = json_get_array(index, "manifests", "index.json", &manifests, err);
	if (r < 0)
		return r;
	tags = calloc(json_array_size(manifests) + 1, sizeof(*tags));
	if (!tags)
		return -ENOMEM;
	json_array_foreach (manifests, i, e)
		if (entry_name(e))
			tags[count++] = strdup(entry_name(e));
	*ret = tags;
	return 0;
}

/* ---- blobs ---- */

static int blob_layout_read(struct blob *b, uint64_t off, uint64_t len,
			    const struct blob_read_options *o, blob_sink_fn sink, void *userdata,
			    struct error *err)
{
	struct blob_layout *l = (struct blob_layout *)b;
	_cleanup_(freep) uint8_t *buf = malloc(READ_BYTES);
	int r = 0;

	if (!buf)
		return -ENOMEM;
	while (len && r >= 0) {
		size_t n = min_u64(len, READ_BYTES);

		if (o->cancel && atomic_load(o->cancel))
			return error_set(err, -ECANCELED, "interrupted");
		r = seam_pread_full(l->seam, l->fd, buf, n, off);
		if (r < 0)
			return error_set_errno(err, r == -ENODATA ? -EBADMSG : r,
					       "blob %s: can't read the layout", l->name);
		if (o->cost)
			o->cost->wire_bytes += n;
		r = sink(userdata, buf, n);
		off += n;
		len -= n;
	}
	return r;
}

static void blob_layout_close(struct blob *b)
{
	struct blob_layout *l = (struct blob_layout *)b;

	closep(&l->fd);
	free(l);
}

static int layout_blob(struct source *s, const struct digest *d, uint64_t size, struct blob **ret,
		       struct error *err)
{
	static const struct blob_ops ops = {.read = blob_layout_read, .close = blob_layout_close};
	struct source_layout *l = layout_of(s);
	struct blob_layout *b;
	uint64_t have;
	int fd = blob_file_open(l, d, &have, err);

	if (fd < 0)
		return fd;
	b = calloc(1, sizeof(*b));
	if (!b || have != size) {
		free(b);
		close(fd);
		if (have == size)
			return -ENOMEM;
		return error_set(
			err, -EBADMSG, "%s: a blob has %llu bytes, its descriptor says %llu",
			l->source.name, (unsigned long long)have, (unsigned long long)size);
	}
	*b = (struct blob_layout){
		.blob = {.ops = &ops, .size = size, .digest = *d}, .seam = l->seam, .fd = fd};
	digest_format(d, b->name);
	*ret = &b->blob;
	return 0;
}

static void layout_close(struct source *s)
{
	struct source_layout *l = layout_of(s);

	closep(&l->dir_fd);
	free(l->dir);
	free(l->name);
	free((char *)l->source.name);
	free(l);
}

static int layout_check(struct source_layout *l, struct error *err)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(json_decrefp) json_t *doc = NULL;
	const char *version;
	size_t n;
	int r;

	l->dir_fd = l->seam->openat(l->seam, AT_FDCWD, l->dir, O_RDONLY | O_DIRECTORY, 0);
	if (l->dir_fd < 0)
		return error_set_errno(err, l->dir_fd, "%s: can't open the layout directory",
				       l->source.name);
	r = seam_read_file(l->seam, l->dir_fd, "oci-layout", 4096, &text, &n);
	if (r < 0)
		return error_set_errno(
			err, r, "%s: not an OCI image layout: can't read its oci-layout file",
			l->source.name);
	r = json_parse(text, n, 4096, "oci-layout", &doc, err);
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
		.dir_fd = -1,
		.dir = strdup(ref->path),
		.name = ref->tag ? strdup(ref->tag) : NULL};
	e = l->source.name && l->dir && (!ref->tag || l->name) ? layout_check(l, err) : -ENOMEM;
	if (e < 0) {
		layout_close(&l->source);
		return e;
	}
	*ret = &l->source;
	return 0;
}
