/* SPDX-License-Identifier: MIT */
/*
 * What each file of an image cost each process, always counted: opens (the first read of a file by
 * a process; the kernel asks us for no opens), reads, bytes delivered, bytes fetched, and time
 * waited.
 *
 * Fetched bytes are charged to the file and process whose read caused the request, with what was
 * read ahead for it; what a prefetch fetched to "prefetch", and what cannot be told to "other".
 * Each number is added where the server's own counter is, so that the totals are equal.
 *
 * Counting costs two atomic additions; looking an entry up a few tens of nanoseconds. Memory is
 * bounded: after ACCESS_ENTRIES_MAX pairs of file and process everything else is "other".
 */
#ifndef MORSEL_PROF_ACCESS_H
#define MORSEL_PROF_ACCESS_H

#include <stdatomic.h>
#include <sys/types.h>
#include "base/util.h"

#define ACCESS_ENTRIES_MAX (1u << 18)

struct access_entry {
	struct access_entry *next;
	uint64_t ino; /* 0: one of the two below */
	uint32_t process;
	_Atomic uint32_t opens;
	_Atomic uint64_t reads, bytes, fetched_bytes, wait_ns;
};

struct access;
int access_new(struct access **ret);
void access_free(struct access *a); /* accepts NULL */
DEFINE_CLEANUP(struct access *, access_free)

/* Small, and no other image's of this process: for trace events. */
uint32_t access_id(const struct access *a);
/* The entry of a file and a process (as processes.h numbers them), made when it is new. Never NULL.
 */
struct access_entry *access_of(struct access *a, uint64_t ino, uint32_t process);
struct access_entry *access_prefetch(struct access *a);
struct access_entry *access_other(struct access *a);
/* Of all entries. */
uint64_t access_opens(const struct access *a);

static inline void access_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* A copy of an entry's numbers. */
struct access_row {
	uint64_t ino; /* 0: of no file */
	uint32_t image, process;
	bool prefetch; /* of no file: of the prefetch */
	uint64_t opens, reads, bytes, fetched_bytes, wait_ns;
};

/* All that are not zero, by file and process; *ret for free(). since: what this gave earlier, when
 * only the difference is wanted; may be NULL. -ENOMEM. */
int access_rows(struct access *a, const struct access_row *since, size_t n_since,
		struct access_row **ret, size_t *ret_n);

#endif
