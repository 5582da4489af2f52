/* SPDX-License-Identifier: MIT */
/*
 * What the files of the cache share: the open directory and the few ways in which files below it
 * are opened, made and removed. Every subdirectory is opened once, checked, and kept as a
 * descriptor; names below it are single components, never followed when they are symlinks.
 */
#ifndef MORSEL_CACHE_CACHE_IMPL_H
#define MORSEL_CACHE_CACHE_IMPL_H

#include <pthread.h>
#include "cache/cache.h"
#include "cache/memory.h"

enum cache_subdir {
	SUB_BLOBS_SHA256,
	SUB_BLOBS_SHA512,
	SUB_LAYERS,
	SUB_IMAGES,
	SUB_REFS,
	SUB_MEMBERS,
	SUB_TMP,
	SUB_COUNT,
};
extern const char *const cache_subdir_names[SUB_COUNT];

struct cache {
	const struct seam *seam;
	const struct log *log; /* borrowed */
	char *dir;	       /* as given, for texts */
	int root_fd;	       /* -1: there is no directory at all */
	int sub_fd[SUB_COUNT]; /* -1: not there; every use then fails and is a miss */
	bool writable;
	const atomic_bool *cancel; /* or NULL */
	uint64_t limit_bytes;
	uint8_t boot_id[16];
	struct log_limit warned;
	_Atomic uint64_t
		disk_retry_ns;	       /* after a disk error nothing is stored on disk until then */
	_Atomic uint64_t stored_bytes; /* since the last look at the limit */
	_Atomic uint64_t evicted_chunks; /* until somebody with counters takes them */
	_Atomic bool evicting;		 /* one evictor a process */
	struct memory memory;		 /* chunks the disk had no room for */
	pthread_mutex_t layers_lock;
	struct layer *layers; /* all that are open here; under layers_lock */
};

static inline bool cache_cancelled(const struct cache *c)
{
	return c->cancel && atomic_load_explicit(c->cancel, memory_order_relaxed);
}

/* ---- files ---- */

/* A regular file of ours below dir_fd. -ENOENT, -EBADMSG when it is anything else, -errno. */
int cache_open_file(struct cache *c, int dir_fd, const char *name, int flags);
/* The same for a directory that nobody else may write. */
int cache_open_dir(struct cache *c, int dir_fd, const char *name);
/* Removes a file, or a directory with what is in it. Best effort. */
void cache_remove_tree(struct cache *c, int dir_fd, const char *name);
/* Moves an entry out of sight first, so that nobody meets half of it, then removes it. */
void cache_discard(struct cache *c, int dir_fd, const char *name);
/* Bytes on disk of a file, or of a directory's files. */
uint64_t cache_disk_usage(int dir_fd, const char *name);
/* Calls fn for every name in a directory that does not begin with a dot; stops when it returns
 * non-zero and returns that. */
int cache_each_name(int dir_fd, int (*fn)(void *userdata, int dir_fd, const char *name),
		    void *userdata);
/* Writes a new file whole and makes it durable; its directory entry is the caller's to sync. */
int cache_write_new(struct cache *c, int dir_fd, const char *name, const void *const *parts,
		    const size_t *lens, size_t n_parts);
/* Finds accidental damage in our own files; proves nothing. */
uint64_t cache_crc64(uint64_t crc, const void *data, size_t n);

/* A directory under tmp/, locked while its maker lives. */
struct tmp_dir {
	int fd; /* -1: none */
	char name[24];
};
#define TMP_DIR_INIT ((struct tmp_dir){.fd = -1})
int cache_tmp_new(struct cache *c, struct tmp_dir *ret);
void cache_tmp_remove(struct cache *c, struct tmp_dir *t); /* accepts an empty one */
/* Publishes it as dir_fd/name and syncs the parent. -EEXIST, -ENOTEMPTY: somebody was faster. */
int cache_tmp_publish(struct cache *c, struct tmp_dir *t, int dir_fd, const char *name);
/* Removes what dead processes left under tmp/. */
void cache_tmp_clean(struct cache *c);
/* Removes half-written documents: all, or those that are too old to be still written. */
void cache_documents_sweep(struct cache *c, bool all);

/* Says that the cache is of this version. */
int cache_version_write(struct cache *c);

/* ---- the disk's condition ---- */

bool cache_disk_ok(struct cache *c); /* false for some seconds after cache_disk_failed() */
/* Says once a minute that things go to memory now, and why. */
void cache_disk_failed(struct cache *c, int code);

/* Evicts about this many bytes at once, whatever the limit says; *ret_freed may be 0. */
#define CACHE_ROOM_BYTES (UINT64_C(64) << 20)
void cache_make_room(struct cache *c, uint64_t bytes, uint64_t *ret_freed);
/* Removes the packs of members/ that were not used for the longest time, down to so many bytes. */
void cache_members_bound(struct cache *c, uint64_t bytes);

static inline bool cache_is_hex64(const char *name)
{
	return strlen(name) == 64 && strspn(name, "0123456789abcdef") == 64;
}

#endif
