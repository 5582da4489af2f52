/* SPDX-License-Identifier: MIT */
/*
 * Where an image comes from: a repository of a registry, an OCI layout (a directory or a tar file
 * of one), or what docker save wrote, behind one set of verbs. struct registry is what all sources
 * of a process share: connections, credentials, tokens, what is known of hosts.
 *
 * Delivers bytes and verifies documents against the digest they were asked by; does not know what
 * a manifest means, does not cache on disk (the caller does).
 */
#ifndef MORSEL_REGISTRY_SOURCE_H
#define MORSEL_REGISTRY_SOURCE_H

#include "base/buf.h"
#include "base/log.h"
#include "base/seam.h"
#include "registry/blob.h"
#include "registry/ref.h"

struct registry_options {
	const struct seam *seam;
	const struct log *log;
	const char *authfile; /* NULL: the documented look-up order */
	bool insecure;	      /* plain HTTP for every host */
	bool tls_noverify;    /* TLS without verification; never covers a token realm elsewhere */
	bool offline;	      /* never dial: documents are -ENOENT, all else -ENETUNREACH */
	const char *user_agent;
	/* Gives an empty file without a name, for bytes of a blob that come unasked: a descriptor,
	 * or < 0: there is no room. NULL: they are not kept. */
	int (*spool_open)(void *userdata, uint64_t bytes);
	void *spool_userdata;
	const atomic_bool *cancel; /* ends what fetches documents: -ECANCELED; or NULL */
	/* Timing; 0 = the defaults: connect 5 s, first byte 10 s, slow = under 1 KiB/s for 10 s,
	 * 5 attempts, back-off 0.1 s doubling to 5 s with full jitter, whole call 30 s. */
	uint64_t connect_ns, first_byte_ns, slow_ns, call_ns;
	unsigned attempts;
};

struct registry;
int registry_new(const struct registry_options *o, struct registry **ret, struct error *err);
/* All sources and blobs must be closed before. Accepts NULL. */
void registry_free(struct registry *r);
DEFINE_CLEANUP(struct registry *, registry_free)

/* HTTP requests sent, and bytes of their bodies, both ways: all of this process's through r. */
struct registry_traffic {
	uint64_t requests, received_bytes, sent_bytes;
};
void registry_traffic(struct registry *r, struct registry_traffic *ret);

struct source;
/* Dials nothing yet. ref is copied. */
int source_open(struct registry *r, const struct ref *ref, struct source **ret, struct error *err);
void source_close(struct source *s); /* blobs stay usable until closed themselves */
DEFINE_CLEANUP(struct source *, source_close)

struct source_document {
	struct buf body;      /* verified against digest */
	struct digest digest; /* computed from the body, never taken from a header */
	char *media_type;     /* Content-Type without parameters, or the layout's; may be NULL */
};
void source_document_fini(struct source_document *d);

/* What the reference's tag (or digest) names now: a manifest or an index, <= 4 MiB, by GET with an
 * Accept of all four types. -ENOENT: no such tag. */
int source_resolve(struct source *s, struct source_document *ret, struct error *err);
/* A manifest or index by digest. size: from the descriptor, or -1. */
int source_manifest(struct source *s, const struct digest *d, int64_t size,
		    struct source_document *ret, struct error *err);
/* A small blob (config), whole, <= max_bytes, verified. */
int source_small_blob(struct source *s, const struct digest *d, int64_t size, size_t max_bytes,
		      struct buf *ret, struct error *err);
/* Dials nothing yet. The blob keeps what it needs of s. */
int source_blob(struct source *s, const struct digest *d, uint64_t size, struct blob **ret,
		struct error *err);
/* All tags, following Link pages; a NULL-terminated array, freed by the caller, each and all. */
int source_tags(struct source *s, char ***ret, struct error *err);

#endif
