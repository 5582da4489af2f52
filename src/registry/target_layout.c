/* SPDX-License-Identifier: MIT */
/* An OCI layout directory as a target. */
#include "registry/target_impl.h"

#include <errno.h>

#include "registry/layout_write.h"
#include "registry/source_impl.h"

struct target_layout {
	struct target target;
	struct layout_writer *writer;
	char *text, *name; /* name: NULL without one */
	bool has_digest;
	struct digest digest;
};

struct upload_layout {
	struct upload upload;
	struct target_layout *t;
	struct layout_blob *blob;
};

static struct target_layout *layout_of(struct target *t)
{
	return (struct target_layout *)t;
}

static int target_layout_has(struct target *t, const struct digest *d, uint64_t size,
			     struct error *err)
{
	return layout_has(layout_of(t)->writer, d, (int64_t)size) ? 0 : TARGET_ABSENT;
}

static int upload_layout_write(struct upload *upload, const void *data, size_t n, struct error *err)
{
	struct upload_layout *u = (struct upload_layout *)upload;
	int r = layout_blob_write(u->blob, data, n, err);

	if (r < 0)
		return r;
	u->upload.offset += n;
	atomic_fetch_add_explicit(&u->upload.wire_bytes, n, memory_order_relaxed);
	return 0;
}

static int upload_layout_finish(struct upload *upload, const struct digest *d, uint64_t size,
				struct error *err)
{
	struct upload_layout *u = (struct upload_layout *)upload;

	return layout_blob_commit(u->blob, d, (int64_t)size, err);
}

static void upload_layout_free(struct upload *upload)
{
	struct upload_layout *u = (struct upload_layout *)upload;

	layout_blob_free(u->blob);
	free(u);
}

static int target_layout_upload(struct target *t, const struct digest *known, int64_t size,
				struct upload **ret, struct error *err)
{
	static const struct upload_ops ops = {.write = upload_layout_write,
					      .finish = upload_layout_finish,
					      .free = upload_layout_free};
	struct upload_layout *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	u->upload.ops = &ops;
	u->t = layout_of(t);
	r = layout_blob_new(u->t->writer, known ? known->algo : DIGEST_SHA256, &u->blob, err);
	if (r < 0) {
		free(u);
		return r;
	}
	*ret = &u->upload;
	return 0;
}

static int target_layout_put_manifest(struct target *target, const struct target_manifest *m,
				      struct error *err)
{
	struct target_layout *t = layout_of(target);
	int r;

	if (!m->is_child && t->has_digest && !digest_equal(&t->digest, &m->digest))
		return error_set(err, -EINVAL, "%s: what is pushed has another digest", t->text);
	r = layout_put(t->writer, &m->digest, m->body, m->len, err);
	if (r < 0 || m->is_child)
		return r;
	return layout_tag(t->writer, t->name, m->media_type, m->artifact_type, &m->digest, m->len,
			  err);
}

static void target_layout_close(struct target *target)
{
	struct target_layout *t = layout_of(target);

	layout_writer_close(t->writer);
	free(t->text);
	free(t->name);
	free(t);
}

int target_layout_open(struct registry *r, const struct ref *ref, struct target **ret,
		       struct error *err)
{
	static const struct target_ops ops = {.has = target_layout_has,
					      .upload = target_layout_upload,
					      .put_manifest = target_layout_put_manifest,
					      .close = target_layout_close};
	struct target_layout *t = calloc(1, sizeof(*t));
	int e;

	if (!t)
		return -ENOMEM;
	*t = (struct target_layout){.target.ops = &ops,
				    .text = strdup(ref->text),
				    .name = ref->tag ? strdup(ref->tag) : NULL,
				    .has_digest = ref->has_digest,
				    .digest = ref->digest};
	e = t->text && (t->name || !ref->tag)
		    ? layout_writer_open(registry_seam(r), ref->path, &t->writer, err)
		    : -ENOMEM;
	if (e < 0) {
		target_layout_close(&t->target);
		return e;
	}
	*ret = &t->target;
	return 0;
}
