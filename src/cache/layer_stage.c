/* SPDX-License-Identifier: MIT */
/*
 * A layer being made: a locked directory under tmp/ with `data` and the indexer's raw tables. When
 * all digests matched it is completed, made durable, and renamed into layers/. Whoever renames
 * first wins; the loser opens the winner's.
 */
#include "cache/cache_impl.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MEMORY_BLOB_MAX (UINT64_C(64) << 20)

struct layer_stage {
	struct cache *cache;
	struct layer_key key;
	struct digest blob;
	int tmp_fd, dir_fd; /* -1: in memory */
	int data_fd, table_fd;
	bool discards; /* contents go nowhere: too large for memory */
	char name[32];
	void *map;
	size_t map_len;
};

static int stage_on_disk(struct layer_stage *st)
{
	const struct seam *s = st->cache->seam;
	uint64_t nonce;

	if (st->cache->dir_fd < 0 || st->cache->read_only)
		return -EROFS;
	st->tmp_fd = s->openat(s, st->cache->dir_fd, "tmp", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (st->tmp_fd < 0)
		return st->tmp_fd;
	s->random(s, &nonce, sizeof(nonce));
	snprintf(st->name, sizeof(st->name), "%016llx", (unsigned long long)nonce);
	if (mkdirat(st->tmp_fd, st->name, 0700) < 0)
		return -errno;
	st->dir_fd = s->openat(s, st->tmp_fd, st->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (st->dir_fd < 0)
		return st->dir_fd;
	if (flock(st->dir_fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	st->data_fd =
		s->openat(s, st->dir_fd, "data", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	st->table_fd =
		s->openat(s, st->dir_fd, "tables", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	return st->data_fd < 0 ? st->data_fd : st->table_fd < 0 ? st->table_fd : 0;
}

static void stage_remove(struct layer_stage *st)
{
	closep(&st->data_fd);
	closep(&st->table_fd);
	st->data_fd = st->table_fd = -1;
	if (st->dir_fd >= 0)
		cache_remove_dir(st->cache, st->tmp_fd, st->name);
	closep(&st->dir_fd);
	closep(&st->tmp_fd);
	st->dir_fd = st->tmp_fd = -1;
}

static int stage_in_memory(struct layer_stage *st, uint64_t blob_bytes)
{
	st->discards = blob_bytes > MEMORY_BLOB_MAX;
	if (st->discards)
		st->data_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	else
		st->data_fd = memfd_create("morsel-data", MFD_CLOEXEC);
	st->table_fd = memfd_create("morsel-tables", MFD_CLOEXEC);
	return st->data_fd < 0 || st->table_fd < 0 ? -errno : 0;
}

int layer_stage_new(struct cache *c, const struct layer_key *key, const struct digest *blob,
		    uint64_t blob_bytes, bool in_memory, struct layer_stage **ret,
		    struct error *err)
{
	_cleanup_(layer_stage_freep) struct layer_stage *st = calloc(1, sizeof(*st));
	int r;

	if (!st)
		return -ENOMEM;
	*st = (struct layer_stage){.cache = c,
				   .key = *key,
				   .blob = *blob,
				   .tmp_fd = -1,
				   .dir_fd = -1,
				   .data_fd = -1,
				   .table_fd = -1};
	r = in_memory ? -ENOSPC : stage_on_disk(st);
	if (r < 0) {
		stage_remove(st);
		cache_warn_memory(c, r, c->dir);
		r = stage_in_memory(st, blob_bytes);
		if (r < 0)
			return error_set_errno(err, r, "no memory for a layer");
	}
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

static uint32_t crc_add(uint32_t crc, const uint8_t *p, size_t n)
{
	while (n) {
		size_t take = min_u64(n, 1u << 30);

		crc = crc32_iscsi((unsigned char *)p, (int)take, crc);
		p += take;
		n -= take;
	}
	return crc;
}

static int table_write(struct layer_stage *st, enum layer_table t,
		       const struct layer_index_header *ih, const void *records, uint64_t bytes)
{
	struct table_header h = {
		.magic = TABLE_MAGIC, .kind = t, .bytes = sizeof(h) - 64 + bytes, .index = *ih};
	const struct seam *s = st->cache->seam;
	_cleanup_(closep) int fd = -1;
	int r;

	h.crc32c = crc_add(0xffffffff, (uint8_t *)&h + 64, sizeof(h) - 64);
	h.crc32c = crc_add(h.crc32c, records, bytes);
	fd = s->openat(s, st->dir_fd, table_names[t], O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
		       0600);
	if (fd < 0)
		return fd;
	r = seam_pwrite_full(s, fd, &h, sizeof(h), 0);
	if (r >= 0)
		r = seam_pwrite_full(s, fd, records, bytes, sizeof(h));
	return r < 0 ? r : s->fsync(s, fd);
}

static int tables_write(struct layer_stage *st, const struct layer_index *ix)
{
	const struct layer_index_header *h = &ix->header;
	int r;

	r = table_write(st, TABLE_ENTRIES, h, ix->entries,
			h->n_entries * sizeof(*ix->entries) + h->heap_bytes);
	if (r >= 0)
		r = table_write(st, TABLE_CHUNKS, h, ix->chunks, h->n_chunks * sizeof(*ix->chunks));
	if (r >= 0)
		r = table_write(st, TABLE_SPANS, h, ix->spans, h->n_spans * sizeof(*ix->spans));
	if (r >= 0)
		r = table_write(st, TABLE_WINDOWS, h, ix->windows, h->window_bytes);
	return r;
}

/* Contents are not fsynced: after a crash their bits are claims that every reader checks by
 * digest, and a second of waiting for the disk would buy nothing. */
static int stage_publish(struct layer_stage *st, const struct layer_index *ix, bool contents)
{
	const struct seam *s = st->cache->seam;
	char digest[DIGEST_TEXT_MAX + 1], path[80];
	_cleanup_(closep) int layers = -1;
	int r;

	r = s->ftruncate(s, st->data_fd, ix->header.device_bytes);
	if (r >= 0)
		r = tables_write(st, ix);
	if (r >= 0)
		r = present_write(st->cache, st->dir_fd, ix->header.n_chunks, contents);
	digest_format(&st->blob, digest);
	strcat(digest, "\n");
	if (r >= 0)
		r = seam_write_file(s, st->dir_fd, "blob", digest, strlen(digest));
	if (r >= 0)
		r = s->unlinkat(s, st->dir_fd, "tables", 0);
	if (r >= 0)
		r = cache_dir_sync(st->cache, st->dir_fd);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "layers/%s", st->key.hex);
	r = s->renameat(s, st->tmp_fd, st->name, st->cache->dir_fd, path);
	if (r < 0)
		return r;
	closep(&st->dir_fd); /* ours no longer: nothing there to remove */
	st->dir_fd = -1;
	layers = s->openat(s, st->cache->dir_fd, "layers", O_RDONLY | O_DIRECTORY, 0);
	return layers < 0 ? layers : cache_dir_sync(st->cache, layers);
}

static int tables_load(struct layer_stage *st, uint64_t max_entries, struct layer_index *ret,
		       struct error *err)
{
	struct stat sb;

	if (fstat(st->table_fd, &sb) < 0)
		return -errno;
	if (!sb.st_size)
		return error_set(err, -EBADMSG, "the indexer left no tables");
	st->map_len = (size_t)sb.st_size;
	st->map = mmap(NULL, st->map_len, PROT_READ, MAP_PRIVATE, st->table_fd, 0);
	if (st->map == MAP_FAILED) {
		st->map = NULL;
		return -errno;
	}
	return layer_index_validate(st->map, st->map_len, max_entries, ret, err);
}

static int stage_to_memory(struct layer_stage *st, const struct layer_index *ix, bool contents,
			   struct layer **ret)
{
	int r = 0;

	if (st->discards) {
		closep(&st->data_fd);
		st->data_fd = -1;
		contents = false;
	} else
		r = st->cache->seam->ftruncate(seam_real(), st->data_fd, ix->header.device_bytes);
	if (r >= 0)
		r = layer_open_memory(st->cache, &st->key, st->data_fd, st->table_fd, ix, st->map,
				      st->map_len, contents, ret);
	if (r >= 0) {
		st->map = NULL;
		st->data_fd = st->table_fd = -1;
	}
	return r;
}

int layer_stage_commit(struct layer_stage *st, bool contents, uint64_t max_entries,
		       struct layer **ret, struct error *err)
{
	_cleanup_(layer_stage_freep) struct layer_stage *own = st;
	struct layer_index ix;
	int r = tables_load(st, max_entries, &ix, err), opened;

	if (r < 0)
		return r;
	if (st->dir_fd < 0)
		return stage_to_memory(st, &ix, contents, ret);
	r = stage_publish(st, &ix, contents);
	if (r >= 0)
		atomic_fetch_add(&st->cache->stored_bytes, ix.header.device_bytes);
	if (r < 0 && r != -EEXIST && r != -ENOTEMPTY)
		cache_warn_memory(st->cache, r, st->cache->dir);
	opened = layer_open(st->cache, &st->key, ret, err); /* ours, or who was faster's */
	if (opened <= 0)
		return opened;
	return stage_to_memory(own, &ix, contents, ret); /* the disk is full: its files stay open */
}

void layer_stage_free(struct layer_stage *st)
{
	if (!st)
		return;
	if (st->map)
		munmap(st->map, st->map_len);
	stage_remove(st);
	free(st);
}
