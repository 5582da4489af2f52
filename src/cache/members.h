/* SPDX-License-Identifier: MIT */
/*
 * What pushing a layer has worked out, so that what has not changed need not be compressed and
 * hashed again: members/<random>, one pack a push, written once, removed whole. A pack is pieces,
 * then a table of them, sorted by key, then where the table is.
 *
 * A key is a fingerprint of everything that the piece depends on, with a secret that all packs
 * share: the first push of a cache takes it at random, and what another one took is not used.
 * Pieces are checked when they are taken: one that is damaged is not found, and put again. Nothing
 * is synced: a pack that a crash has torn is one with damaged pieces.
 */
#ifndef MORSEL_CACHE_MEMBERS_H
#define MORSEL_CACHE_MEMBERS_H

#include "base/fingerprint.h"
#include "cache/cache.h"

#define MEMBER_KEY_BYTES FINGERPRINT_BYTES
#define MEMBER_NOTE_BYTES 32
#define MEMBER_BYTES_MAX (16u << 20)

struct members;
/* What is there, the newest packs first. Nothing is wrong with none. -ENOMEM. */
int members_open(struct cache *c, struct members **ret);
/* What makes keys. -ENOMEM. */
int members_fingerprint(const struct members *m, struct fingerprint **ret);
/* Appends the piece to out, and tells its note. 0, CACHE_MISS, -ENOMEM. By any thread. */
int members_get(struct members *m, const uint8_t key[static MEMBER_KEY_BYTES],
		uint8_t *ret_note /* may be NULL */, struct buf *out);
/* For the pack of this push; what can't be kept is not kept. The note may be NULL: zeros. By any
 * thread. */
void members_put(struct members *m, const uint8_t key[static MEMBER_KEY_BYTES], const uint8_t *note,
		 const void *data, size_t n);
/* Makes what was put visible to others; without it all that is forgotten. */
void members_commit(struct members *m);
void members_close(struct members *m); /* accepts NULL */
DEFINE_CLEANUP(struct members *, members_close)

/* Reads a pack whole. step as cache_verify()'s. -EBADMSG: something in it is damaged; -errno. */
int members_verify(struct cache *c, const char *name, cache_step_fn step, void *userdata);

#endif
