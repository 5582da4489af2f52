/* SPDX-License-Identifier: MIT */
/*
 * A tar file that docker save wrote as a source: manifest.json names a config and layers by path;
 * there is no image manifest in it, so one of Docker's schema 2 is made up here, the same bytes for
 * the same archive every time.
 *
 * A descriptor needs a digest. Of a layer that is a plain tar (what docker, podman, skopeo and
 * buildah write) it stands in the config: a diff_id is the digest of the uncompressed layer. Only
 * of a compressed layer (what kaniko and crane write) is it computed here, each time the image is
 * resolved. Either way what is read later is compared with it, as everywhere.
 *
 * docker since version 25 writes an OCI layout with a manifest.json beside it: both sources read
 * it.
 */
#include "registry/source_impl.h"

#include <errno.h>

#include "base/json.h"
#include "registry/blob_file.h"
#include "registry/docker_manifest.h"

#define DOCKER "application/vnd.docker."
#define MANIFEST_TYPE DOCKER "distribution.manifest.v2+json"
#define HASH_BYTES (1u << 20)

struct part { /* the config or a layer */
	struct digest digest;
	uint64_t size;
	const char *path; /* in the archive; borrowed from names */
	const char *media_type;
};

struct source_docker {
	struct source source;
	const struct seam *seam;
	struct files *files;
	struct docker_manifest names;
	char *name; /* wanted, or NULL: the only one */
	struct part config, *layers;
	size_t n_layers;
	struct buf config_json, manifest; /* manifest.len = 0: not made yet */
	struct digest digest;		  /* of the manifest */
};

static struct source_docker *docker_of(struct source *s)
{
	return (struct source_docker *)s;
}

/* ---- making the manifest ---- */

static int part_find(struct source_docker *d, const char *path, struct file_place *ret,
		     struct error *err)
{
	int r = files_find(d->files, path, ret, err);

	if (r == -ENOENT)
		return error_set(err, -EBADMSG,
				 "%s: manifest.json names %s, which the archive does not hold",
				 d->source.name, path);
	return r;
}

static int place_digest(struct source_docker *d, const struct file_place *p, struct digest *ret,
			struct error *err)
{
	_cleanup_(hasher_freep) struct hasher *h = NULL;
	_cleanup_(freep) uint8_t *buf = malloc(HASH_BYTES);
	int r = buf ? hasher_new(DIGEST_SHA256, &h) : -ENOMEM;

	for (uint64_t off = 0; r >= 0 && off < p->size; off += HASH_BYTES) {
		size_t n = min_u64(p->size - off, HASH_BYTES);

		r = seam_pread_full(d->seam, p->fd, buf, n, p->off + off);
		if (r < 0)
			return error_set_errno(err, r == -ENODATA ? -EBADMSG : r,
					       "%s: can't read a layer", d->source.name);
		hasher_update(h, buf, n);
	}
	if (r >= 0)
		hasher_final(h, ret);
	return r;
}

/* diff_id: the config's; the layer's own digest when it is not compressed. */
static int layer_find(struct source_docker *d, const char *path, const struct digest *diff_id,
		      struct part *ret, struct error *err)
{
	struct file_place p = {.fd = -1};
	uint8_t magic[4] = {0};
	int r = part_find(d, path, &p, err);

	if (r < 0)
		return r;
	*ret = (struct part){.digest = *diff_id,
			     .size = p.size,
			     .path = path,
			     .media_type = DOCKER "image.rootfs.diff.tar"};
	if (p.size >= sizeof(magic))
		r = seam_pread_full(d->seam, p.fd, magic, sizeof(magic), p.off);
	if (r >= 0 && magic[0] == 0x1f && magic[1] == 0x8b)
		ret->media_type = DOCKER "image.rootfs.diff.tar.gzip";
	else if (r >= 0 && !memcmp(magic, "\x28\xb5\x2f\xfd", 4))
		ret->media_type = DOCKER "image.rootfs.diff.tar.zstd";
	else
		goto out;
	r = place_digest(d, &p, &ret->digest, err);
out:
	close(p.fd);
	return r;
}

static json_t *descriptor_make(const struct part *p)
{
	char digest[DIGEST_TEXT_MAX];

	digest_format(&p->digest, digest);
	return json_pack("{s:s, s:I, s:s}", "mediaType", p->media_type, "size", (json_int_t)p->size,
			 "digest", digest);
}

static int manifest_write(struct source_docker *d)
{
	_cleanup_(json_decrefp) json_t *root = NULL;
	_cleanup_(freep) char *text = NULL;
	json_t *layers = json_array();
	int r = 0;

	for (size_t i = 0; i < d->n_layers; i++)
		if (json_array_append_new(layers, descriptor_make(&d->layers[i])) < 0)
			r = -ENOMEM;
	root = json_pack("{s:i, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType", MANIFEST_TYPE,
			 "config", descriptor_make(&d->config), "layers", layers);
	text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	if (r < 0 || !text)
		return -ENOMEM;
	r = buf_append_str(&d->manifest, text);
	if (r >= 0)
		digest_of(DIGEST_SHA256, d->manifest.data, d->manifest.len, &d->digest);
	return r;
}

static int layers_find(struct source_docker *d, const struct docker_image *image, struct error *err)
{
	_cleanup_(freep) struct digest *ids = NULL;
	const json_t *path;
	size_t i;
	int r;

	d->n_layers = json_array_size(image->layers);
	ids = calloc(d->n_layers + 1, sizeof(*ids));
	d->layers = calloc(d->n_layers + 1, sizeof(*d->layers));
	if (!ids || !d->layers)
		return -ENOMEM;
	r = docker_config_diff_ids(d->config_json.data, d->config_json.len, d->n_layers, ids, err);
	json_array_foreach (image->layers, i, path)
		if (r >= 0)
			r = layer_find(d, json_string_value(path), &ids[i], &d->layers[i], err);
	return r;
}

static int manifest_make(struct source_docker *d, struct error *err)
{
	struct docker_image image;
	struct file_place p;
	int r;

	if (d->manifest.len)
		return 0;
	free(d->layers); /* of an attempt that failed */
	d->layers = NULL;
	buf_fini(&d->config_json);
	r = docker_manifest_choose(&d->names, d->name, d->source.name, &image, err);
	if (r >= 0)
		r = part_find(d, image.config, &p, err);
	if (r < 0)
		return r;
	r = file_place_read(d->seam, &p, DOCUMENT_MAX, &d->config_json, d->source.name,
			    "the config", err);
	close(p.fd);
	if (r < 0)
		return r;
	d->config = (struct part){.size = p.size,
				  .path = image.config,
				  .media_type = DOCKER "container.image.v1+json"};
	digest_of(DIGEST_SHA256, d->config_json.data, d->config_json.len, &d->config.digest);
	r = layers_find(d, &image, err);
	return r < 0 ? r : manifest_write(d);
}

/* ---- the verbs ---- */

static int docker_resolve(struct source *s, struct source_document *ret, struct error *err)
{
	struct source_docker *d = docker_of(s);
	int r = manifest_make(d, err);

	if (r >= 0)
		r = buf_append(&ret->body, d->manifest.data, d->manifest.len);
	if (r < 0)
		return r;
	ret->digest = d->digest;
	ret->media_type = strdup(MANIFEST_TYPE);
	return 0;
}

static int docker_manifest(struct source *s, const struct digest *digest, int64_t size,
			   struct source_document *ret, struct error *err)
{
	struct source_docker *d = docker_of(s);
	char text[DIGEST_TEXT_MAX];
	int r = manifest_make(d, err);

	if (r < 0)
		return r;
	if (digest_equal(digest, &d->digest))
		return docker_resolve(s, ret, err);
	digest_format(digest, text);
	return error_set(err, -ENOENT, "%s: the archive has no manifest %s", d->source.name, text);
}

static int docker_small_blob(struct source *s, const struct digest *digest, int64_t size,
			     size_t max_bytes, struct buf *ret, struct error *err)
{
	struct source_docker *d = docker_of(s);
	char text[DIGEST_TEXT_MAX];
	int r = manifest_make(d, err);

	if (r < 0)
		return r;
	if (digest_equal(digest, &d->config.digest) && d->config_json.len <= max_bytes)
		return buf_append(ret, d->config_json.data, d->config_json.len);
	digest_format(digest, text);
	return error_set(err, -ENOENT, "%s: the archive has no config %s", d->source.name, text);
}

static int docker_blob(struct source *s, const struct digest *digest, uint64_t size,
		       struct blob **ret, struct error *err)
{
	struct source_docker *d = docker_of(s);
	char text[DIGEST_TEXT_MAX];
	struct file_place p = {.fd = -1};
	int r = manifest_make(d, err);

	for (size_t i = 0; r >= 0 && i <= d->n_layers; i++) {
		const struct part *l = i < d->n_layers ? &d->layers[i] : &d->config;

		if (!digest_equal(digest, &l->digest) || l->size != size)
			continue;
		r = part_find(d, l->path, &p, err);
		return r < 0 ? r : blob_file_new(d->seam, &p, digest, ret);
	}
	if (r < 0)
		return r;
	digest_format(digest, text);
	return error_set(err, -ENOENT, "%s: the archive has no blob %s", d->source.name, text);
}

struct name_list {
	char **names;
	size_t n;
};

static int name_add(void *userdata, const char *name)
{
	struct name_list *l = userdata;
	char **more = reallocarray(l->names, l->n + 2, sizeof(*more));

	if (!more)
		return -ENOMEM;
	l->names = more;
	more[l->n] = strdup(name);
	if (!more[l->n])
		return -ENOMEM;
	more[++l->n] = NULL;
	return 0;
}

static int docker_tags(struct source *s, char ***ret, struct error *err)
{
	struct name_list l = {.names = calloc(1, sizeof(char *))};
	int r = l.names ? docker_manifest_names(&docker_of(s)->names, name_add, &l) : -ENOMEM;

	if (r >= 0) {
		*ret = l.names;
		return 0;
	}
	for (size_t i = 0; i < l.n; i++)
		free(l.names[i]);
	free(l.names);
	return r;
}

static void docker_close(struct source *s)
{
	struct source_docker *d = docker_of(s);

	files_free(d->files);
	docker_manifest_fini(&d->names);
	buf_fini(&d->config_json);
	buf_fini(&d->manifest);
	free(d->layers);
	free(d->name);
	free((char *)d->source.name);
	free(d);
}

static int docker_open(struct source_docker *d, const char *path, struct error *err)
{
	_cleanup_(buf_fini) struct buf text = BUF_INIT;
	struct error why = ERROR_INIT;
	int r = files_open_archive(d->seam, path, d->source.name, &d->files, err);

	if (r < 0)
		return r;
	r = files_read(d->files, "manifest.json", DOCUMENT_MAX, &text, err);
	if (r == -ENOENT)
		return error_set(
			err, -EBADMSG,
			"%s: not a docker-archive: it has no manifest.json (a tar of an OCI "
			"layout is an oci-archive:)",
			d->source.name);
	if (r >= 0)
		r = docker_manifest_parse(text.data, text.len, &d->names, &why);
	if (r < 0 && why.code)
		error_set(err, r, "%s: %s", d->source.name, why.text);
	return r;
}

int source_docker_open(struct registry *r, const struct ref *ref, struct source **ret,
		       struct error *err)
{
	static const struct source_ops ops = {.resolve = docker_resolve,
					      .manifest = docker_manifest,
					      .small_blob = docker_small_blob,
					      .blob = docker_blob,
					      .tags = docker_tags,
					      .close = docker_close};
	struct source_docker *d = calloc(1, sizeof(*d));
	int e;

	if (!d)
		return -ENOMEM;
	*d = (struct source_docker){
		.source = {.ops = &ops, .registry = r, .name = strdup(ref->text)},
		.seam = registry_seam(r),
		.name = ref->tag ? strdup(ref->tag) : NULL};
	e = d->source.name && (!ref->tag || d->name) ? docker_open(d, ref->path, err) : -ENOMEM;
	if (e < 0) {
		docker_close(&d->source);
		return e;
	}
	*ret = &d->source;
	return 0;
}
