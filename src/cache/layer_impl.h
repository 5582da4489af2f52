/* SPDX-License-Identifier: MIT */
/*
 * An opened layer, from the inside: which chunks are ready, and the four things that can happen to
 * one. What "ready" means is decided by two bytes a chunk:
 *
 *   present   the mark in the shared file: is it in `data`, and since which epoch
 *   mine      what this process knows:
 *               0                       nothing
 *               MARK_HERE | epoch       verified on disk under exactly this mark
 *               1 .. MINE_MEMORY_MAX    verified, in the memory file; which storing of it
 *               MINE_BAD                what the disk holds was found to be wrong
 *
 * A chunk is readable from disk while both bytes agree. A reader notes `mine` of all its chunks,
 * preads, and looks again: when nothing changed, no eviction came in between, and the bytes are
 * those that were verified.
 */
#ifndef MORSEL_CACHE_LAYER_IMPL_H
#define MORSEL_CACHE_LAYER_IMPL_H

#include "cache/cache_impl.h"
#include "cache/layer_meta.h"
#include "cache/present.h"

#define MINE_BAD 0x7fu
#define MINE_MEMORY_MAX 0x7eu

struct table_map {
	void *map; /* NULL = not mapped */
	size_t len;
};

struct layer {
	struct cache *cache;
	struct layer *next; /* in cache->layers */
	struct layer_meta meta;
	struct layer_index index;
	struct table_map tables[TABLE_COUNT]; /* in memory: the first holds everything */
	int dir_fd;			      /* -1: the layer is not in the directory */
	int data_fd;			      /* -1: nothing but memory */
	struct present present;
	_Atomic uint8_t *mine;
	_Atomic uint8_t *used;		 /* second chance: read since eviction last came by */
	bool made_here;			 /* by this process, with its contents */
	atomic_bool nowait_unknown_here; /* the filesystem has no RWF_NOWAIT */
	_Atomic uint32_t windows_state;	 /* 0 not looked at, 1 good, 2 damaged */
	_Atomic uint32_t reads;		 /* since it was last touched */
	pthread_mutex_t repair_lock;
	uint8_t **mem;	   /* memory.c's, under its lock: chunks that are there; NULL = none yet */
	uint8_t mem_epoch; /* likewise */
};

/* ---- opening (layer_store.c) ---- */

/* For eviction and the cache verbs: no use is noted, and a damaged layer is left alone. */
int layer_peek(struct cache *c, const struct layer_key *key, struct layer **ret);
/* From a validated stream of tables that is mapped; owns map and data_fd when it succeeds. */
int layer_from_memory(struct cache *c, const struct layer_meta *meta, const struct layer_index *ix,
		      void *map, size_t map_len, int data_fd, bool contents, struct layer **ret);
/* The decoder state of spans, checked once before its first use. -EBADMSG. */
int layer_windows_check(struct layer *l);
/* The kernel has, or may have, the data file mounted: nothing may be punched out of it. */
bool layer_is_kernels(const struct layer *l);
/* Says that the layer is in use now, to eviction here and elsewhere. */
void layer_touch(struct layer *l);

/* ---- chunks (layer_chunks.c) ---- */

enum chunk_state { CHUNK_ABSENT, CHUNK_CLAIMED, CHUNK_ON_DISK, CHUNK_IN_MEMORY };

static inline uint8_t layer_mine(const struct layer *l, uint64_t i)
{
	return atomic_load_explicit(&l->mine[i], memory_order_acquire);
}

static inline void layer_mine_set(struct layer *l, uint64_t i, uint8_t v)
{
	atomic_store_explicit(&l->mine[i], v, memory_order_release);
}

static inline enum chunk_state layer_chunk_state(const struct layer *l, uint64_t i)
{
	uint8_t mine = layer_mine(l, i), mark;

	if (mine && mine <= MINE_MEMORY_MAX)
		return CHUNK_IN_MEMORY;
	mark = present_get(&l->present, i);
	if (mine == MINE_BAD || !(mark & MARK_HERE))
		return CHUNK_ABSENT;
	return mark == mine ? CHUNK_ON_DISK : CHUNK_CLAIMED;
}

/* Fills buf when every chunk under it is ready. flags: RWF_NOWAIT or 0. LAYER_NOT_READY: one is
 * not, or was evicted meanwhile. -EAGAIN: would wait for the disk. -ENODATA: the data file is
 * shorter than the device. -errno. Where no chunk is, zeros. */
int layer_read(struct layer *l, uint64_t dev_off, void *buf, size_t len, int flags);

/* As layer_read(), but the bytes become blocks that the file fd shares with the data file.
 * LAYER_NOT_READY also where a part is in memory or no chunk is. -errno of FICLONERANGE: not here.
 */
int layer_clone(struct layer *l, uint64_t dev_off, uint64_t len, int fd, uint64_t off);

/* Verifies a claimed chunk. 0: it is ready now, or changed meanwhile (look again). -EAGAIN: only
 * with RWF_NOWAIT. -EBADMSG: it was damaged, is given up, and counts as absent. -ENOMEM. */
int layer_verify(struct layer *l, uint64_t i, int flags);

/* Keeps a chunk's verified bytes. on_disk: the caller holds the locks of its spans, so that it may
 * go to the data file; else, or when the disk refuses, to memory. */
int layer_store(struct layer *l, uint64_t i, const void *data, bool on_disk);

/* Evicts chunks [first, last] that are on disk from the data file, under the lock of their spans
 * that the caller holds. Returns bytes of the device given back. */
uint64_t layer_punch(struct layer *l, uint64_t first, uint64_t last);

/* The disk can't read what was verified: the chunks under a range are claims again. */
void layer_doubt(struct layer *l, uint64_t dev_off, uint64_t len);

/* Gives the data file its size back. What it lost is absent again, for every process. */
int layer_data_repair(struct layer *l);

/* ---- search (layer_chunks.c) ---- */

/* First chunk whose span is >= span (n_chunks when none). */
uint64_t layer_chunk_at_span(const struct layer_index *ix, uint64_t span);
/* Chunks that lie completely in spans [first, last]: [*from, *to), maybe none. */
void layer_chunks_in_spans(const struct layer_index *ix, uint64_t first, uint64_t last,
			   uint64_t *from, uint64_t *to);

#endif
