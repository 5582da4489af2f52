/* SPDX-License-Identifier: MIT */
#include "registry/source_impl.h"

#include <errno.h>

int source_open(struct registry *r, const struct ref *ref, struct source **ret, struct error *err)
{
	switch (ref->kind) {
	case REF_LAYOUT:
	case REF_OCI_ARCHIVE:
		return source_layout_open(r, ref, ret, err);
	case REF_DOCKER_ARCHIVE:
		return source_docker_open(r, ref, ret, err);
	case REF_REGISTRY:
		break;
	}
	return source_registry_open(r, ref, ret, err);
}

void source_close(struct source *s)
{
	if (s)
		s->ops->close(s);
}

void source_document_fini(struct source_document *d)
{
	buf_fini(&d->body);
	free(d->media_type);
	*d = (struct source_document){0};
}

int document_verify(const char *source, const char *what, const void *data, size_t n,
		    const struct digest *want, struct error *err)
{
	char w[DIGEST_TEXT_MAX], g[DIGEST_TEXT_MAX];
	struct digest got;

	digest_of(want->algo, data, n, &got);
	if (digest_equal(&got, want))
		return 0;
	digest_format(want, w);
	digest_format(&got, g);
	return error_set(err, -EBADMSG,
			 "%s: %s is %s, expected %s: it is corrupt or was tampered with", source,
			 what, g, w);
}

int source_resolve(struct source *s, struct source_document *ret, struct error *err)
{
	return s->ops->resolve(s, ret, err);
}

int source_manifest(struct source *s, const struct digest *d, int64_t size,
		    struct source_document *ret, struct error *err)
{
	return s->ops->manifest(s, d, size, ret, err);
}

int source_small_blob(struct source *s, const struct digest *d, int64_t size, size_t max_bytes,
		      struct buf *ret, struct error *err)
{
	if (size > 0 && (uint64_t)size > max_bytes)
		return error_set(err, -E2BIG, "%s: a config of %lld bytes, the limit is %zu",
				 s->name, (long long)size, max_bytes);
	return s->ops->small_blob(s, d, size, max_bytes, ret, err);
}

int source_blob(struct source *s, const struct digest *d, uint64_t size, struct blob **ret,
		struct error *err)
{
	return s->ops->blob(s, d, size, ret, err);
}

int source_tags(struct source *s, char ***ret, struct error *err)
{
	return s->ops->tags(s, ret, err);
}
