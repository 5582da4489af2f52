/* SPDX-License-Identifier: MIT */
/*
 * The cache directory: small verified documents, what tags named, layers, merged images. Shared by
 * any number of processes of one user; the layout is in morsel-cache(5).
 *
 *   blobs/sha256/<hex>              manifests, indexes, configs, whole and verified
 *   layers/<key>/entries chunks spans windows data present meta
 *   images/sha256/<hex>/tree.erofs  the merged image
 *   refs/<sha256 of the reference>  what a tag named, and when that was last confirmed
 *   members/<random>                compressed pieces of layers that were pushed
 *   tmp/<random>/                   being made; removed when its owner is gone
 *   CACHEDIR.TAG version
 *
 * Everything becomes visible whole or not at all. A directory that can't be written, or a full
 * disk, degrades to memory (memfd) and says so once; the caller sees no difference.
 * Does not fetch, parse layer bytes or talk FUSE.
 */
#ifndef MORSEL_CACHE_CACHE_H
#define MORSEL_CACHE_CACHE_H

#include "base/buf.h"
#include "base/log.h"
#include "base/seam.h"
#include "image/layer_index.h"

#define CACHE_FORMAT_VERSION 1
#define CACHE_SIZE_DEFAULT (UINT64_C(10) << 30)

enum { CACHE_MISS = 1 };

struct cache;
struct cache_options {
	const struct seam *seam;
	const struct log *log;
	const char *dir; /* NULL: $XDG_CACHE_HOME/morsel, ~/.cache/morsel, root /var/cache/morsel */
	uint64_t size_bytes;	   /* 0: CACHE_SIZE_DEFAULT */
	bool any_version;	   /* to clear it: whatever wrote it */
	const atomic_bool *cancel; /* ends clear and evict: -ECANCELED; or NULL */
};

/* Creates the directory (0700) when missing. Refuses one that others own or may write (-EACCES),
 * a root user refuses one that is not root's. Another format version: -ENOTSUP, naming the way out
 * (morsel cache clear). Not writable: works from it read-only, new things go to memory. */
int cache_open(const struct cache_options *o, struct cache **ret, struct error *err);
/* Layers must be closed before. Accepts NULL. */
void cache_close(struct cache *c);
DEFINE_CLEANUP(struct cache *, cache_close)
const char *cache_dir(const struct cache *c);

/* An empty file without a name, for that many bytes: in the directory, or in memory if they are
 * few. -EFBIG: they would take too much of the cache's bound. */
int cache_spool_open(struct cache *c, uint64_t bytes);

/* Documents by digest. get verifies again and treats a damaged file as a miss (and removes it). */
int cache_blob_get(struct cache *c, const struct digest *d, size_t max_bytes, struct buf *ret);
int cache_blob_put(struct cache *c, const struct digest *d, const void *data, size_t n);

/* What "host/path:tag" (normalised) named. */
struct cache_ref {
	struct digest digest;
	int64_t confirmed_s; /* wall clock, when a registry last said so */
};
int cache_ref_get(struct cache *c, const char *name, struct cache_ref *ret); /* 0, CACHE_MISS */
int cache_ref_put(struct cache *c, const char *name, const struct cache_ref *ref);

/* layers/<key>: sha256 of (format version, blob digest, kind of anchor, anchor digest), hex. */
enum anchor_kind { ANCHOR_BLOB = 1, ANCHOR_STARGZ_TOC = 2, ANCHOR_ZSTD_CHUNKED = 3 };
struct layer_key {
	char hex[65];
};
void layer_key_make(const struct digest *blob, enum anchor_kind kind, const struct digest *anchor,
		    struct layer_key *ret);

/* An opened layer: mapped chunk, span and window tables, the data file, the present map. Shared by
 * threads. What is mapped is validated; `data` is only ever read with pread. */
struct layer;
int layer_open(struct cache *c, const struct layer_key *key, struct layer **ret,
	       struct error *err); /* 0, CACHE_MISS */
void layer_close(struct layer *l);
DEFINE_CLEANUP(struct layer *, layer_close)
/* Chunks, spans, windows and header; entries and heap are NULL here. */
const struct layer_index *layer_tables(const struct layer *l);
/* -E2BIG: the layer has more than this many. */
int layer_check_entries(const struct layer *l, uint64_t max_entries, struct error *err);
/* Checks that and maps entries too, for the merge. Unmapped by layer_unload_entries() or
 * layer_close(). */
int layer_load_entries(struct layer *l, uint64_t max_entries, struct layer_index *ret,
		       struct error *err);
void layer_unload_entries(struct layer *l);
int layer_data_fd(const struct layer *l); /* borrowed; for a kernel mount of complete layers */
/* From now on, until it is closed, nothing of the layer is evicted, by any process: for a kernel
 * mount, which reads `data` without asking. -EAGAIN: it is being evicted this moment. */
int layer_claim(struct layer *l);
/* For a kernel mount to come: claims a layer that has all its chunks, and sees to it that until the
 * next boot it goes whole or not at all, also when we are gone. LAYER_NOT_READY: it lacks some, or
 * is not on a disk that we can write. */
int layer_claim_whole(struct layer *l);
/* Verifies the next chunk of a claimed layer, and what lies before it: 0 and *at, which starts with
 * 0, goes on; LAYER_WHOLE: the file is right to its last byte; LAYER_NOT_READY: it is not; -errno.
 */
int layer_whole_next(struct layer *l, uint64_t *at);
enum { LAYER_NOT_READY = 1, LAYER_WHOLE = 2 };
bool layer_is_complete(
	const struct layer *l); /* every chunk present under this boot, none evicted */
uint64_t layer_present_bytes(const struct layer *l);
/* For who reads a layer once, right after having made it: what this process has just written,
 * while the whole blob was verified, counts as verified. Does nothing to layers that were there. */
void layer_trust(struct layer *l);

/* Where a layer is made: in the cache's directory; in memory files, when the disk is full; or its
 * tables there and its contents nowhere, when files may not be as large (RLIMIT_FSIZE). What can't
 * be had is the next one. In memory the contents of a large layer are not kept either: they are
 * fetched again by range. */
enum stage_place { STAGE_DISK, STAGE_MEMORY, STAGE_NOWHERE };
/* A layer being made. blob_bytes: its compressed size. */
struct layer_stage;
int layer_stage_new(struct cache *c, const struct layer_key *key, const struct digest *blob,
		    uint64_t blob_bytes, enum stage_place place, struct layer_stage **ret,
		    struct error *err);
int layer_stage_data_fd(const struct layer_stage *st);	/* write-only for an indexer */
int layer_stage_table_fd(const struct layer_stage *st); /* header + sections go here */
/* Validates the tables, splits them into their files, marks all chunks present when
 * `contents` (a streamed layer), makes everything durable and publishes it. When another process
 * published the same key first, theirs is opened and ours dropped. Consumes st in any case. */
int layer_stage_commit(struct layer_stage *st, bool contents, uint64_t max_entries,
		       struct layer **ret, struct error *err);
/* Removes what was staged. Accepts NULL. */
void layer_stage_free(struct layer_stage *st);
DEFINE_CLEANUP(struct layer_stage *, layer_stage_free)

/* A mapped tree.erofs. The image key is the sha256 of its ordered layer keys. */
struct image_map {
	const uint8_t *bytes; /* read-only mapping */
	size_t len;
	int fd; /* owned; -1: it is in no file */
};
int cache_image_get(struct cache *c, const char *key_hex,
		    struct image_map *ret); /* 0, CACHE_MISS */
int cache_image_put(struct cache *c, const char *key_hex, const void *data, size_t n,
		    struct image_map *ret, struct error *err);
void image_map_fini(struct image_map *m);
/* The access order kept with an image: a hint. get: 0, CACHE_MISS. put: nothing where the image is
 * not kept. */
int cache_order_get(struct cache *c, const char *key_hex, size_t max_bytes, struct buf *ret);
int cache_order_put(struct cache *c, const char *key_hex, const void *data, size_t n);

/* Makes room: evicts least recently used chunks and layers until at most target_bytes are used.
 * Never touches a layer that is claimed by a kernel mount. Returns what it freed. */
int cache_evict(struct cache *c, uint64_t target_bytes, uint64_t *ret_freed_bytes,
		struct error *err);
/* Cheap; called after stores: evicts in the background thread's own time when over the limit. */
void cache_evict_if_over(struct cache *c);

/* The cache verbs. Each calls back per item; stops when fn returns < 0. */
struct cache_item {
	const char *kind;     /* "blob", "layer", "image", "ref", "members", "tmp" */
	char name[160];	      /* digest, key or reference */
	uint64_t bytes;	      /* on disk */
	uint64_t total_bytes; /* layers: device bytes when complete */
	const char *format;   /* layers: "gzip", ...; else NULL */
	int64_t used_s;	      /* last use, wall clock */
	bool ok;	      /* verify: false = damaged and removed */
};
typedef int (*cache_item_fn)(void *userdata, const struct cache_item *item);
int cache_list(struct cache *c, cache_item_fn fn, void *userdata, struct error *err);
/* Re-hashes every present chunk and document, checks every table; removes what is damaged (it is
 * fetched again when needed). -EBADMSG when anything was. step (or NULL) hears of every piece of an
 * item that was looked at; -ECANCELED ends it, as from fn. */
typedef int (*cache_step_fn)(void *userdata, uint64_t bytes);
int cache_verify(struct cache *c, cache_item_fn fn, cache_step_fn step, void *userdata,
		 struct error *err);
/* Removes all but what other processes hold open: their layers lose nothing. */
int cache_clear(struct cache *c, uint64_t *ret_freed_bytes, struct error *err);

#endif
