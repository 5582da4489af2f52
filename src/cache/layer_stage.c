/* SPDX-License-Identifier: MIT */
/*
 * A layer being made: a locked directory under tmp/ with `data` and the indexer's stream of tables.
 * When everything was verified it is split into the layer's files, made durable, and renamed into
 * layers/. Whoever renames first wins; the loser opens the winner's.
 *
 * Contents are not fsynced: after a crash their marks are claims, which every reader checks by
 * digest, and seconds of waiting for the disk would buy nothing.
 *
 * Where the directory can't be written the same happens in memory files; contents that are too
 * large for that, or for a file, are thrown away, and come back by range like those of any evicted
 * layer.
 */
#include "cache/layer_impl.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MEMORY_BLOB_MAX (UINT64_C(64) << 20) /* compressed */

struct layer_stage {
	struct cache *cache;
	struct layer_key key;
	struct digest blob;
	struct tmp_dir tmp; /* none: in memory */
	int data_fd, table_fd;
	bool discards; /* in memory: contents go nowhere, being too large */
	void *map;     /* the tables, while they are committed */
	size_t map_len;
};

static int stage_on_disk(struct layer_stage *st)
{
	const struct seam *s = st->cache->seam;
	int r;

	if (!cache_disk_ok(st->cache))
		return -EROFS;
	r = cache_tmp_new(st->cache, &st->tmp);
	if (r < 0)
		return r;
	st->data_fd =
		s->openat(s, st->tmp.fd, "data", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (st->data_fd < 0)
		return st->data_fd;
	st->table_fd =
		s->openat(s, st->tmp.fd, "tables", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	return st->table_fd < 0 ? st->table_fd : 0;
}

static int stage_in_memory(struct layer_stage *st, bool discards)
{
	st->discards = discards;
	if (st->discards)
		st->data_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	else
		st->data_fd = memfd_create("morsel-data", MFD_CLOEXEC);
	if (st->data_fd < 0)
		return -errno;
	st->table_fd = memfd_create("morsel-tables", MFD_CLOEXEC);
	return st->table_fd < 0 ? -errno : 0;
}

static void stage_close(struct layer_stage *st)
{
	if (st->data_fd >= 0)
		close(st->data_fd);
	if (st->table_fd >= 0)
		close(st->table_fd);
	st->data_fd = st->table_fd = -1;
	cache_tmp_remove(st->cache, &st->tmp);
}

int layer_stage_new(struct cache *c, const struct layer_key *key, const struct digest *blob,
		    uint64_t blob_bytes, enum stage_place place, struct layer_stage **ret,
		    struct error *err)
{
	_cleanup_(layer_stage_freep) struct layer_stage *st = calloc(1, sizeof(*st));
	int r;

	if (!st)
		return -ENOMEM;
	*st = (struct layer_stage){.cache = c,
				   .key = *key,
				   .blob = *blob,
				   .tmp = TMP_DIR_INIT,
				   .data_fd = -1,
				   .table_fd = -1};
	r = place == STAGE_DISK ? stage_on_disk(st) : place == STAGE_MEMORY ? -ENOSPC : -EFBIG;
	if (r < 0) {
		stage_close(st);
		if (cache_disk_ok(c))
			cache_disk_failed(c, r);
		r = stage_in_memory(st, place == STAGE_NOWHERE || blob_bytes > MEMORY_BLOB_MAX);
	}
	if (r < 0)
		return error_set_errno(err, r, "no memory file for a layer");
	*ret = steal_ptr(st);
	return 0;
}

int layer_stage_data_fd(const struct layer_stage *st)
{
	return st->data_fd;
}

int layer_stage_table_fd(const struct layer_stage *st)
{
	return st->table_fd;
}

void layer_stage_free(struct layer_stage *st)
{
	if (!st)
		return;
	if (st->map)
		munmap(st->map, st->map_len);
	stage_close(st);
	free(st);
}

/* ---- commit ---- */

static int tables_map(struct layer_stage *st, uint64_t max_entries, struct layer_index *ret,
		      struct error *err)
{
	struct stat sb;
	void *map;

	if (fstat(st->table_fd, &sb) < 0)
		return error_set_errno(err, -errno, "the layer's tables");
	if (!sb.st_size)
		return error_set(err, -EBADMSG, "the indexer left no tables");
	map = mmap(NULL, (size_t)sb.st_size, PROT_READ, MAP_PRIVATE, st->table_fd, 0);
	if (map == MAP_FAILED)
		return error_set_errno(err, -errno, "the layer's tables");
	st->map = map;
	st->map_len = (size_t)sb.st_size;
	return layer_index_validate(st->map, st->map_len, max_entries, ret, err);
}

static void meta_make(const struct layer_stage *st, const struct layer_index *ix,
		      struct layer_meta *ret)
{
	const struct layer_index_header *h = &ix->header;

	*ret = (struct layer_meta){.key = st->key, .blob = st->blob, .header = *h};
	ret->sums[TABLE_ENTRIES] = cache_crc64(0, ix->entries, h->n_entries * sizeof(*ix->entries));
	ret->sums[TABLE_ENTRIES] = cache_crc64(ret->sums[TABLE_ENTRIES], ix->heap, h->heap_bytes);
	ret->sums[TABLE_CHUNKS] = cache_crc64(0, ix->chunks, h->n_chunks * sizeof(*ix->chunks));
	ret->sums[TABLE_SPANS] = cache_crc64(0, ix->spans, h->n_spans * sizeof(*ix->spans));
	ret->sums[TABLE_WINDOWS] = cache_crc64(0, ix->windows, h->window_bytes);
}

static int files_write(struct layer_stage *st, const struct layer_index *ix,
		       const struct layer_meta *meta)
{
	const struct layer_index_header *h = &ix->header;
	struct cache *c = st->cache;
	uint8_t bytes[LAYER_META_BYTES];
	int d = st->tmp.fd, r;

	r = cache_write_new(c, d, "entries", (const void *[]){ix->entries, ix->heap},
			    (size_t[]){h->n_entries * sizeof(*ix->entries), h->heap_bytes}, 2);
	if (r >= 0)
		r = cache_write_new(c, d, "chunks", (const void *[]){ix->chunks},
				    (size_t[]){h->n_chunks * sizeof(*ix->chunks)}, 1);
	if (r >= 0)
		r = cache_write_new(c, d, "spans", (const void *[]){ix->spans},
				    (size_t[]){h->n_spans * sizeof(*ix->spans)}, 1);
	if (r >= 0)
		r = cache_write_new(c, d, "windows", (const void *[]){ix->windows},
				    (size_t[]){h->window_bytes}, 1);
	if (r < 0)
		return r;
	layer_meta_encode(meta, bytes);
	return cache_write_new(c, d, "meta", (const void *[]){bytes}, (size_t[]){sizeof(bytes)}, 1);
}

static int stage_publish(struct layer_stage *st, const struct layer_index *ix,
			 const struct layer_meta *meta, bool contents)
{
	struct cache *c = st->cache;
	const struct seam *s = c->seam;
	int r = s->ftruncate(s, st->data_fd, ix->header.device_bytes);

	if (r >= 0)
		r = files_write(st, ix, meta);
	if (r >= 0)
		r = present_create(c, st->tmp.fd, &st->key, ix->header.n_chunks, contents);
	if (r >= 0)
		r = s->unlinkat(s, st->tmp.fd, "tables", 0);
	return r < 0 ? r : cache_tmp_publish(c, &st->tmp, c->sub_fd[SUB_LAYERS], st->key.hex);
}

/* The staged files stay open without a name; the layer lives as long as this process has it. */
static int stage_to_memory(struct layer_stage *st, const struct layer_index *ix,
			   const struct layer_meta *meta, bool contents, struct layer **ret)
{
	int r;

	contents = contents && !st->discards &&
		   !seam_real()->ftruncate(seam_real(), st->data_fd, ix->header.device_bytes);
	r = layer_from_memory(st->cache, meta, ix, st->map, st->map_len,
			      contents ? st->data_fd : -1, contents, ret);
	if (r < 0)
		return r;
	st->map = NULL;
	if (contents)
		st->data_fd = -1;
	return 0;
}

int layer_stage_commit(struct layer_stage *stage, bool contents, uint64_t max_entries,
		       struct layer **ret, struct error *err)
{
	_cleanup_(layer_stage_freep) struct layer_stage *st = stage;
	struct layer_meta meta;
	struct layer_index ix;
	int r = tables_map(st, max_entries, &ix, err);

	if (r < 0)
		return r;
	meta_make(st, &ix, &meta);
	if (st->tmp.fd >= 0) {
		r = stage_publish(st, &ix, &meta, contents);
		if (r >= 0 && contents)
			atomic_fetch_add(&st->cache->stored_bytes, ix.header.device_bytes);
		if (r >= 0 || r == -EEXIST || r == -ENOTEMPTY) {
			int opened = layer_open(st->cache, &st->key, ret, err);

			if (!opened && r >= 0 && contents)
				(*ret)->made_here = true;
			if (!opened)
				cache_evict_if_over(st->cache);
			if (opened <= 0)
				return opened;
			/* What stood in the way was damaged and is gone now. */
			r = st->tmp.fd < 0
				    ? -EIO
				    : cache_tmp_publish(st->cache, &st->tmp,
							st->cache->sub_fd[SUB_LAYERS], st->key.hex);
			if (r >= 0 && !layer_open(st->cache, &st->key, ret, err))
				return 0;
		}
		cache_disk_failed(st->cache, r);
	}
	r = stage_to_memory(st, &ix, &meta, contents, ret);
	return r < 0 ? error_set_errno(err, r, "no memory for a layer's tables") : 0;
}
