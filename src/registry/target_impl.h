/* SPDX-License-Identifier: MIT */
/* What the kinds of targets share: two tables of verbs. Nothing outside of this folder sees it. */
#ifndef MORSEL_REGISTRY_TARGET_IMPL_H
#define MORSEL_REGISTRY_TARGET_IMPL_H

#include "registry/target.h"

struct target_ops {
	int (*has)(struct target *t, const struct digest *d, uint64_t size, struct error *err);
	int (*mount)(struct target *t, const struct digest *d, uint64_t size, struct error *err);
	int (*upload)(struct target *t, const struct digest *known, int64_t size,
		      struct upload **ret, struct error *err);
	int (*put_manifest)(struct target *t, const struct target_manifest *m, struct error *err);
	void (*close)(struct target *t);
};

struct upload_ops {
	int (*write)(struct upload *u, const void *data, size_t n, struct error *err);
	int (*finish)(struct upload *u, const struct digest *d, uint64_t size, struct error *err);
	void (*free)(struct upload *u);
};

/* Embedded first in each implementation's own struct. */
struct target {
	const struct target_ops *ops;
};

struct upload {
	const struct upload_ops *ops;
	uint64_t offset; /* of the next byte to be written */
	_Atomic uint64_t wire_bytes;
};

int target_layout_open(struct registry *r, const struct ref *ref, struct target **ret,
		       struct error *err);
int target_registry_open(struct registry *r, const struct ref *ref, const char *from,
			 struct target **ret, struct error *err);

#endif
