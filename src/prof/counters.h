/* SPDX-License-Identifier: MIT */
/*
 * What a mount counts while it works: monotonic totals, added by any thread, read at any time.
 * Relaxed atomics: a reader may see one total a moment older than another. They do not say which
 * file or process it was (access.h), nor when (trace.h).
 */
#ifndef MORSEL_PROF_COUNTERS_H
#define MORSEL_PROF_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

/* X(name, what it counts) */
#define COUNTERS(X)                                                                                \
	X(requests, "HTTP requests sent, with retries and redirects")                              \
	X(bytes_fetched, "body bytes received from the network or a layout")                       \
	X(prefetch_requests, "of these requests, those of a prefetch")                             \
	X(prefetch_bytes, "of these bytes, those of a prefetch")                                   \
	X(bytes_served, "bytes given to readers")                                                  \
	X(bytes_decoded, "bytes decompressed")                                                     \
	X(reads, "read requests from the kernel or the library")                                   \
	X(hits, "reads answered from the cache at once")                                           \
	X(waits, "reads that had to wait for a fetch or a disk")                                   \
	X(wait_ns, "time those waited, summed")                                                    \
	X(joins, "waits that joined a fetch already under way")                                    \
	X(retries, "fetch attempts that had to be repeated")                                       \
	X(digest_errors, "chunks whose digest did not match")                                      \
	X(read_errors, "reads answered EIO")                                                       \
	X(lookups, "names looked up")                                                              \
	X(evictions, "chunks evicted by this process")

struct counters {
#define X(name, text) _Atomic uint64_t name;
	COUNTERS(X)
#undef X
};

static inline void counter_add(_Atomic uint64_t *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static inline uint64_t counter_get(const _Atomic uint64_t *c)
{
	return atomic_load_explicit((_Atomic uint64_t *)c, memory_order_relaxed);
}

#endif
