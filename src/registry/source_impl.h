/* SPDX-License-Identifier: MIT */
/*
 * What the kinds of sources share: a table of verbs, and the registry they came from. Nothing
 * outside of this folder sees it.
 */
#ifndef MORSEL_REGISTRY_SOURCE_IMPL_H
#define MORSEL_REGISTRY_SOURCE_IMPL_H

#include "registry/source.h"

#define DOCUMENT_MAX ((size_t)4 << 20) /* bytes of a manifest, index or config */

struct source_ops {
	int (*resolve)(struct source *s, struct source_document *ret, struct error *err);
	int (*manifest)(struct source *s, const struct digest *d, int64_t size,
			struct source_document *ret, struct error *err);
	int (*small_blob)(struct source *s, const struct digest *d, int64_t size, size_t max_bytes,
			  struct buf *ret, struct error *err);
	int (*blob)(struct source *s, const struct digest *d, uint64_t size, struct blob **ret,
		    struct error *err);
	int (*tags)(struct source *s, char ***ret, struct error *err);
	void (*close)(struct source *s);
};

/* Embedded first in each implementation's own struct. */
struct source {
	const struct source_ops *ops;
	struct registry *registry; /* borrowed */
	const char *name;	   /* the reference as typed, for errors; owned */
};

int source_layout_open(struct registry *r, const struct ref *ref, struct source **ret,
		       struct error *err);
int source_docker_open(struct registry *r, const struct ref *ref, struct source **ret,
		       struct error *err);
int source_registry_open(struct registry *r, const struct ref *ref, struct source **ret,
			 struct error *err);

const struct seam *registry_seam(const struct registry *r);

/* -EBADMSG naming what was expected and what came. */
int document_verify(const char *source, const char *what, const void *data, size_t n,
		    const struct digest *want, struct error *err);

#endif
