/* SPDX-License-Identifier: MIT */
/*
 * "Read me bytes a..b of this blob": the one interface between those who know what bytes mean and
 * those who know where they come from.
 *
 * A call blocks its thread (never a FUSE thread: those park the request) until all bytes were
 * delivered, the deadline passed or a fatal error came. Inside: retries with back-off, resuming
 * after the last byte delivered; redirects; tokens; mirrors. Bytes are delivered in order, each
 * once, and are NOT verified: verification is the caller's, who knows the digests.
 *
 * Thread-safe: many reads of one blob may run at once.
 */
#ifndef MORSEL_REGISTRY_BLOB_H
#define MORSEL_REGISTRY_BLOB_H

#include <stdatomic.h>
#include <sys/types.h>
#include "base/digest.h"

/* Called by the thread that called blob_read(). < 0 stops the read and is returned by it. */
typedef int (*blob_sink_fn)(void *userdata, const void *data, size_t n);

/* What one blob_read() cost; added to, so that one struct may sum several reads. */
struct blob_cost {
	uint64_t requests;	/* HTTP requests sent, with retries and redirects; 0 for a layout */
	uint64_t wire_bytes;	/* body bytes received, wanted or not */
	uint64_t queue_ns;	/* until a connection took the request */
	uint64_t connect_ns;	/* name look-up, connect, TLS */
	uint64_t first_byte_ns; /* from sent to first body byte */
	uint64_t transfer_ns;	/* first to last body byte */
	uint64_t retries;
};

struct blob_read_options {
	uint64_t deadline_ns;	   /* on the seam's monotonic clock; 0 = none */
	const atomic_bool *cancel; /* NULL = never; looked at at least every 100 ms */
	bool fresh;	 /* ask caches on the way for a fresh copy: after a digest mismatch */
	bool background; /* prefetch: -EHOSTDOWN while the host wants fewer requests (429) */
	/* Places (mirrors, the registry) that are not asked, one bit each: their bytes were wrong.
	 */
	uint32_t avoid;
	uint32_t
		*served; /* bits are added of those whose bytes were delivered; NULL = not wanted */
	/* Set before the first byte is delivered when a server ignores the range and sends the
	 * whole blob: the call then lasts until all of it has come and is kept. NULL = not wanted.
	 */
	bool *whole;
	struct blob_cost *cost; /* NULL = not wanted */
};

struct blob;

struct blob_ops {
	int (*read)(struct blob *b, uint64_t off, uint64_t len, const struct blob_read_options *o,
		    blob_sink_fn sink, void *userdata, struct error *err);
	/* Whether there is a place that is not in avoid; NULL: there is only one at all. */
	bool (*has_other)(struct blob *b, uint32_t avoid);
	/* Whether all of it is here, and needs no network; NULL: never. drop: it is not needed any
	 * longer. */
	bool (*is_here)(struct blob *b, bool drop);
	void (*close)(struct blob *b);
};

/* Embedded first in each implementation's own struct. */
struct blob {
	const struct blob_ops *ops;
	uint64_t size; /* bytes, from the descriptor */
	struct digest digest;
};

/* Delivers [off, off + len). -EINVAL past the end; -ETIMEDOUT; -ECANCELED; -ENOENT (blob gone);
 * -EACCES; -ENETUNREACH and other network classes; -EBADMSG never: see above. o may be NULL. */
int blob_read(struct blob *b, uint64_t off, uint64_t len, const struct blob_read_options *o,
	      blob_sink_fn sink, void *userdata, struct error *err);
/* The same, into memory the caller provides. */
int blob_read_buf(struct blob *b, uint64_t off, uint64_t len, const struct blob_read_options *o,
		  void *buf, struct error *err);
/* Whether a read may be tried once more, with this avoid. */
bool blob_has_other(struct blob *b, uint32_t avoid);
/* A server has sent all of it unasked, so that reads need no network until blob_forget(). */
bool blob_is_here(struct blob *b);
void blob_forget(struct blob *b);
void blob_close(struct blob *b); /* accepts NULL */
DEFINE_CLEANUP(struct blob *, blob_close)

#endif
