/* SPDX-License-Identifier: MIT */
#include "registry/target_impl.h"

#include <errno.h>

int target_open(struct registry *r, const struct ref *ref, const char *from, struct target **ret,
		struct error *err)
{
	switch (ref->kind) {
	case REF_LAYOUT:
		return target_layout_open(r, ref, ret, err);
	case REF_REGISTRY:
		return target_registry_open(r, ref, from, ret, err);
	case REF_OCI_ARCHIVE:
	case REF_DOCKER_ARCHIVE:
		break;
	}
	return error_set(err, -EINVAL,
			 "%s: an archive can't be pushed to; push to oci:DIR and pack that",
			 ref->text);
}

void target_close(struct target *t)
{
	if (t)
		t->ops->close(t);
}

int target_has(struct target *t, const struct digest *d, uint64_t size, struct error *err)
{
	return t->ops->has(t, d, size, err);
}

int target_mount(struct target *t, const struct digest *d, uint64_t size, struct error *err)
{
	return t->ops->mount ? t->ops->mount(t, d, size, err) : TARGET_ABSENT;
}

int target_upload(struct target *t, const struct digest *known, int64_t size, struct upload **ret,
		  struct error *err)
{
	return t->ops->upload(t, known, size, ret, err);
}

int upload_write(struct upload *u, const void *data, size_t n, struct error *err)
{
	return n ? u->ops->write(u, data, n, err) : 0;
}

uint64_t upload_offset(const struct upload *u)
{
	return u->offset;
}

int upload_finish(struct upload *u, const struct digest *d, uint64_t size, struct error *err)
{
	return u->ops->finish(u, d, size, err);
}

uint64_t upload_wire_bytes(const struct upload *u)
{
	return atomic_load_explicit(&u->wire_bytes, memory_order_relaxed);
}

void upload_free(struct upload *u)
{
	if (u)
		u->ops->free(u);
}

int target_put_manifest(struct target *t, const struct target_manifest *m, struct error *err)
{
	return t->ops->put_manifest(t, m, err);
}
