/* SPDX-License-Identifier: MIT */
/* What the files of the cache share. */
#ifndef MORSEL_CACHE_CACHE_IMPL_H
#define MORSEL_CACHE_CACHE_IMPL_H

#include <pthread.h>
#include "cache/cache.h"

struct cache {
	const struct seam *seam;
	const struct log *log; /* borrowed */
	int dir_fd;	       /* -1: nothing can be kept on disk at all */
	char *dir;
	uint64_t size_bytes;
	bool read_only;
	uint8_t boot_id[16];
	struct log_limit memory_warning;
	_Atomic uint64_t stored_bytes; /* since the last look at the limit */
	pthread_mutex_t evict_lock;    /* one evictor in this process */
};

/* ---- the present file: one bit a chunk ---- */

#define PRESENT_MAGIC UINT64_C(0x31534552504c534d) /* "MSLPRES1" */

struct present_header { /* 64 bytes, then the bits, in words */
	uint64_t magic;
	uint8_t boot_id[16];	     /* under which the bits were set */
	_Atomic uint64_t generation; /* bumped by every eviction */
	uint64_t n_chunks;
	uint64_t reserved[3];
};
static_assert(sizeof(struct present_header) == 64, "on-disk record");

static inline size_t present_bytes(uint64_t n_chunks)
{
	return sizeof(struct present_header) + (n_chunks + 63) / 64 * 8;
}

/* Lock bytes in the present file, far behind its data. */
#define LOCK_USE ((off_t)1 << 40)   /* shared by who has the layer open */
#define LOCK_SPANS ((off_t)1 << 41) /* + span: exclusive while it is fetched or evicted */

/* ---- an opened layer ---- */

enum layer_table { TABLE_ENTRIES, TABLE_CHUNKS, TABLE_SPANS, TABLE_WINDOWS, TABLE_COUNT };

struct table_map {
	void *map; /* NULL = not mapped */
	size_t len;
};

struct layer {
	struct cache *cache;
	struct layer_key key;
	struct layer_index index;
	struct table_map tables[TABLE_COUNT];
	int dir_fd; /* -1: the layer lives in memory only */
	int data_fd;
	int lock_fd; /* the present file, for locks; -1 in memory */
	bool data_writable;
	struct present_header *present;
	_Atomic uint64_t *bits;
	size_t present_len;
	/* what the disk had no room for */
	pthread_mutex_t mem_lock;
	int mem_fd; /* -1 until needed */
	_Atomic uint64_t *mem_bits;
	uint64_t mem_used; /* under mem_lock */
};

static inline bool bit_get(const _Atomic uint64_t *bits, uint64_t i)
{
	return atomic_load_explicit(&bits[i / 64], memory_order_acquire) >> (i % 64) & 1;
}

static inline void bit_set(_Atomic uint64_t *bits, uint64_t i)
{
	atomic_fetch_or_explicit(&bits[i / 64], UINT64_C(1) << (i % 64), memory_order_release);
}

/* Whether it was set. */
static inline bool bit_clear(_Atomic uint64_t *bits, uint64_t i)
{
	uint64_t mask = UINT64_C(1) << (i % 64);

	return atomic_fetch_and_explicit(&bits[i / 64], ~mask, memory_order_acq_rel) & mask;
}

bool layer_has_chunk(const struct layer *l, uint64_t i);
uint64_t layer_generation(const struct layer *l);
/* Bytes of the device that lie in chunks which are present, and holes. flags: RWF_NOWAIT. Returns
 * n, or -EAGAIN (NOWAIT), or another -errno. Chunks that are not there read as zeros: the caller
 * checks before and after (generation). */
int layer_pread(struct layer *l, void *buf, size_t n, uint64_t dev_off, int flags);
/* Keeps a verified chunk: on disk, else in memory. Marks it present. */
int layer_store_chunk(struct layer *l, uint64_t i, const void *data);
/* Throws a damaged chunk away. */
void layer_drop_chunk(struct layer *l, uint64_t i);
/* Claims spans against other processes. 0, or -EAGAIN when somebody else has one of them. */
int layer_claim(struct layer *l, uint64_t first, uint64_t last);
void layer_release(struct layer *l, uint64_t first, uint64_t last);

/* ---- files ---- */

/* A name below the cache directory, refused when it is a symlink or not a regular file of ours. */
int cache_open_file(struct cache *c, int dir_fd, const char *name, int flags);
int cache_dir_sync(struct cache *c, int dir_fd);
/* Bytes on disk of the regular files in a directory. */
uint64_t cache_dir_usage(int parent_fd, const char *name);
/* Removes a directory one level deep, with its files. */
void cache_remove_dir(struct cache *c, int parent_fd, const char *name);
/* Once a minute: the cache can't keep things, and why. */
void cache_warn_memory(struct cache *c, int code, const char *what);

#define TABLE_MAGIC UINT64_C(0x314c42544c53524d) /* "MRSLTBL1" */
struct table_header {				 /* 256 bytes, then the records */
	uint64_t magic;
	uint32_t kind;	 /* enum layer_table */
	uint32_t crc32c; /* of everything behind this struct: finds damage, proves nothing */
	uint64_t bytes;	 /* behind this struct */
	uint64_t reserved[5];
	struct layer_index_header index;
};
static_assert(sizeof(struct table_header) == 256, "on-disk record");

extern const char *const table_names[TABLE_COUNT];
int layer_open_dir(struct cache *c, const struct layer_key *key, int dir_fd, struct layer **ret,
		   struct error *err);
int layer_open_memory(struct cache *c, const struct layer_key *key, int data_fd, int table_fd,
		      const struct layer_index *ix, void *map, size_t map_len, bool contents,
		      struct layer **ret);
/* Writes the boot id and bits of a new layer. */
int present_write(struct cache *c, int dir_fd, uint64_t n_chunks, bool all);

#endif
