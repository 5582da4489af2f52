/* SPDX-License-Identifier: MIT */
/*
 * The file layers/<key>/present: a header, then one byte a chunk, its mark.
 *
 *   0x80 | epoch   the chunk's bytes are in `data`
 *   epoch          they are not
 *
 * The epoch (7 bits) goes up by one whenever a chunk leaves, so that a mark read before and after
 * a pread tells whether the bytes in between can be those that were verified under it: nobody
 * refills a chunk 128 times during one pread. A byte and not a bit, because many processes write
 * here at once: a byte is written by pwrite without a lock or a read-modify-write.
 *
 * Marks are written by pwrite and read through a shared mapping. The file is never replaced and
 * never changes its size while its layer exists. Marks set under another boot are claims: after a
 * crash the bytes may be missing. Every reader verifies what it serves anyway; `same_boot` only
 * says whether all marks together may be taken for "complete".
 *
 * Behind the end of the file lie lock bytes (open file description locks):
 *   spans   exclusive while a span is fetched and stored, or its chunks are evicted
 *   use     shared by whoever has the layer open
 *   claim   shared by a kernel mount, which reads `data` without us: nothing may be evicted
 */
#ifndef MORSEL_CACHE_PRESENT_H
#define MORSEL_CACHE_PRESENT_H

#include <stdatomic.h>
#include "cache/cache_impl.h"

#define MARK_HERE 0x80u
#define MARK_EPOCH 0x7fu

struct present {
	int fd; /* -1: in memory */
	bool writable, same_boot;
	uint8_t *map; /* the whole file; marks start after the header */
	size_t map_len;
	uint64_t n;
};
#define PRESENT_INIT ((struct present){.fd = -1})

/* Makes the file, durable; full = every chunk is here. */
int present_create(struct cache *c, int dir_fd, const struct layer_key *key, uint64_t n, bool full);
/* -EBADMSG: damaged, or another layer's. Opens read-only where writing isn't possible. */
int present_open(struct cache *c, int dir_fd, const struct layer_key *key, uint64_t n,
		 struct present *ret);
int present_open_memory(uint64_t n, bool full, struct present *ret);
void present_close(struct present *p);
/* The marks that are set were all verified under this boot. */
int present_confirm_boot(struct cache *c, struct present *p, const struct layer_key *key);

#define PRESENT_HEADER_BYTES 64

static inline uint8_t present_get(const struct present *p, uint64_t i)
{
	return atomic_load_explicit((_Atomic uint8_t *)(p->map + PRESENT_HEADER_BYTES + i),
				    memory_order_acquire);
}

/* marks[0..n) for chunks from `first` on. */
int present_set(const struct seam *s, struct present *p, uint64_t first, const uint8_t *marks,
		uint64_t n);

/* The mark of a chunk that leaves, or that is about to be overwritten. */
static inline uint8_t mark_gone(uint8_t mark)
{
	return (uint8_t)((mark + (mark & MARK_HERE ? 1u : 0u)) & MARK_EPOCH);
}

/* ---- locks: 0, -EAGAIN (somebody else has it; *ret_first is where), -errno ---- */

int present_lock_spans(int fd, uint64_t first, uint64_t last, uint64_t *ret_first);
void present_unlock_spans(int fd, uint64_t first, uint64_t last);
int present_share_use(int fd);
int present_share_claim(int fd);
/* While it is barred nobody can claim; -EAGAIN when somebody has. */
int present_bar_claim(int fd);
/* Whether another open file description has the layer in use. */
bool present_is_used(int fd);

#endif
