/* SPDX-License-Identifier: MIT */
/*
 * Verified bytes of an image's devices, from the cache or else from where the layers came from.
 *
 * The reader never makes a FUSE thread wait: reader_submit() either fills the buffer at once
 * (everything present, verified by this process, and in the page cache) or takes the request over
 * and calls back from a pool thread. One chunk is fetched once, whoever and however many ask:
 * single flight inside the process, a byte-range lock (OFD) on the layer's `present` file between
 * processes.
 *
 * Every chunk is verified once per process before its first byte is served, whether it came from
 * the network or the cache. A mismatch from the network is fetched once more, bypassing caches,
 * then -EIO; a mismatch in the cache is thrown away and fetched.
 *
 * Knows devices and chunks; not files, not FUSE, not references.
 */
#ifndef MORSEL_CACHE_READER_H
#define MORSEL_CACHE_READER_H

#include "base/work.h"
#include "cache/cache.h"
#include "image/layer_format.h"
#include "prof/access.h"
#include "prof/counters.h"
#include "registry/blob.h"

enum { READER_PENDING = 1 };

struct reader_layer {
	struct layer *layer;		   /* borrowed; outlives the reader */
	const struct layer_format *format; /* decodes spans */
	struct blob *blob;		   /* borrowed; NULL = can't be fetched (offline): -EIO */
};

struct reader_options {
	const struct seam *seam;
	const struct log *log;
	struct counters *counters;	   /* one set for the mount */
	struct counters *per_layer;	   /* array, one a layer; NULL = not wanted */
	struct access *access;		   /* charged as the counters are; NULL = not wanted */
	const char *label;		   /* of the image, prof_intern()'s; or NULL */
	struct work_pool *pool;		   /* fetches and disk waits run here */
	const struct reader_layer *layers; /* copied */
	uint32_t n_layers;
	uint64_t deadline_ns; /* how long a read may take before -EIO; 0 = 30 s */
};

struct reader;
int reader_new(const struct reader_options *o, struct reader **ret, struct error *err);
/* Cancels what is under way, waits for callbacks to end. Accepts NULL. */
void reader_free(struct reader *r);
DEFINE_CLEANUP(struct reader *, reader_free)

/* One read request. The caller owns it and keeps it alive until done() was called. */
struct reader_request {
	uint32_t layer;
	uint64_t dev_off;
	uint32_t len; /* <= 1 MiB; may cross chunks and holes */
	void *buf;    /* len bytes; filled before done() */
	/* Called once, when reader_submit() returned READER_PENDING (perhaps before it has), from a
	 * thread of the pool or of the reader, never from inside reader_submit() or
	 * reader_cancel(). 0 = buf is filled; else -EIO, -ETIMEDOUT, -EINTR (cancelled). Must not
	 * block; may free the request. */
	void (*done)(struct reader_request *rq, int result);
	void *userdata;
	/* the reader's own: NULL before it is submitted for the first time */
	struct reader *reader;
	struct parked *parked;
};

/* Fills buf and counts a hit when that needs no waiting: 0; anything else: submit a request. */
int reader_try(struct reader *r, uint32_t layer, uint64_t dev_off, void *buf, uint32_t len);
/* A read that touches no chunk: it is counted all the same. */
void reader_count_hole(struct reader *r, uint64_t len);
/* 0: filled, done() will not be called. READER_PENDING. -EINVAL: outside the device. -EIO. */
int reader_submit(struct reader *r, struct reader_request *rq);
/* The request's task is dying: done(-EINTR) soon, unless it is being answered already. The shared
 * fetch goes on. Any thread; rq must still be alive (the caller serialises with its done()). Does
 * nothing to a request that is not parked yet. */
void reader_cancel(struct reader *r, struct reader_request *rq);
/* While it is on, what is parked is given up, fetches end soon and new ones fail at once: for who
 * wants to get out. */
void reader_interrupt(struct reader *r, bool on);
/* Blocking convenience for callers that are not a FUSE thread or a pool job. What would be -EIO is
 * the class of what went wrong: -EBADMSG, -ENETUNREACH and other classes of the
 * network. */
int reader_read(struct reader *r, uint32_t layer, uint64_t dev_off, void *buf, size_t len,
		const atomic_bool *cancel, struct error *err);

/* Makes verified bytes that are in the cache a part of the file fd, which then shares their blocks:
 * whole blocks, so that the file may have to be cut at its end. READER_PENDING: they have to be
 * read first. -errno: not between these files. */
int reader_clone(struct reader *r, uint32_t layer, uint64_t dev_off, uint64_t len, int fd,
		 uint64_t off);

/* Digest of a layer, for profiles: as long as the process lives; NULL = no such layer. */
const char *reader_layer_label(const struct reader *r, uint32_t layer);

/* From now on failures are warnings in the log: those who read get a bare errno, as from a mount.
 * Else they are only noted there, since reader_read() says them. */
void reader_warn(struct reader *r);

/* Why the last read failed, for one log line or error text; "" when none did. */
void reader_last_error(struct reader *r, char *buf, size_t n);

#endif
