/* SPDX-License-Identifier: MIT */
/*
 * Files that keep zeros as holes. A run is of whole blocks of the file; the last block of what is
 * written may be a short one. Does not ask where a file has holes already, and leaves a file's
 * length to the caller.
 */
#ifndef MORSEL_BASE_SPARSE_H
#define MORSEL_BASE_SPARSE_H

#include "base/seam.h"

#define SPARSE_BLOCK 4096u
/* Runs that take no room in the cache, whoever writes there. */
#define SPARSE_RUN_CACHE (16u << 10)

/* Where the first run of at least min zeros begins in p, n bytes that are at off of a file: n when
 * there is none. *ret_end: where it ends; n when there is none. */
size_t sparse_zeros(const uint8_t *p, size_t n, uint64_t off, size_t min, size_t *ret_end);

/* Writes what is in no such run to a file that has nothing else there: the runs are left out, so
 * that the file may have to be made longer at its end. *ret_end (NULL = not wanted): of the last
 * bytes written, untouched when there are none. */
int sparse_write(const struct seam *s, int fd, const void *buf, size_t n, uint64_t off, size_t min,
		 uint64_t *ret_end);

/* The same for a file that may hold other bytes there: runs are punched out, or written where the
 * filesystem can't do that. */
int sparse_overwrite(const struct seam *s, int fd, const void *buf, size_t n, uint64_t off,
		     size_t min);

#endif
