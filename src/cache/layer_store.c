/* SPDX-License-Identifier: MIT */
/*
 * An opened layer: its tables mapped and checked, its data file, its present map.
 *
 * Bytes may be in two places. What was fetched while the disk was full (or may not be written) is
 * in a memory file with the same offsets and a bit map of its own; it is bounded, and emptied as a
 * whole when it is full.
 */
#include "cache/cache_impl.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#define MEMORY_MAX (UINT64_C(256) << 20)

const char *const table_names[TABLE_COUNT] = {"entries", "chunks", "spans", "windows"};

void layer_key_make(const struct digest *blob, enum anchor_kind kind, const struct digest *anchor,
		    struct layer_key *ret)
{
	char text[2 * DIGEST_TEXT_MAX + 64], b[DIGEST_TEXT_MAX], a[DIGEST_TEXT_MAX],
		hex[DIGEST_TEXT_MAX];
	struct digest key;

	digest_format(blob, b);
	digest_format(anchor, a);
	snprintf(text, sizeof(text), "morsel layer %d\n%s\n%d\n%s\n", CACHE_FORMAT_VERSION, b,
		 (int)kind, a);
	digest_of(DIGEST_SHA256, text, strlen(text), &key);
	digest_format_hex(&key, hex);
	memcpy(ret->hex, hex, sizeof(ret->hex));
}

/* ---- tables ---- */

static uint64_t table_bytes(const struct layer_index_header *h, enum layer_table t)
{
	switch (t) {
	case TABLE_ENTRIES:
		return h->n_entries * sizeof(struct layer_entry) + h->heap_bytes;
	case TABLE_CHUNKS:
		return h->n_chunks * sizeof(struct layer_chunk);
	case TABLE_SPANS:
		return h->n_spans * sizeof(struct layer_span);
	default:
		return h->window_bytes;
	}
}

static uint32_t crc32c(const uint8_t *p, size_t n)
{
	uint32_t crc = 0xffffffff;

	while (n) {
		size_t take = min_u64(n, 1u << 30);

		crc = crc32_iscsi((unsigned char *)p, (int)take, crc);
		p += take;
		n -= take;
	}
	return crc;
}

static int table_map_open(struct layer *l, enum layer_table t, struct layer_index_header *ret)
{
	_cleanup_(closep) int fd = cache_open_file(l->cache, l->dir_fd, table_names[t], O_RDONLY);
	const struct table_header *h;
	struct stat st;
	void *p;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size < sizeof(*h))
		return -EBADMSG;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	l->tables[t] = (struct table_map){p, (size_t)st.st_size};
	h = p;
	/* The index header stands behind the crc, so it is covered; its counts are bounded by the
	 * file's size before they are multiplied. */
	if (h->magic != TABLE_MAGIC || h->kind != t || h->bytes != (uint64_t)st.st_size - 64 ||
	    h->index.magic != LAYER_INDEX_MAGIC || h->index.n_entries > UINT32_MAX ||
	    h->index.n_chunks > UINT32_MAX || h->index.n_spans > UINT32_MAX ||
	    h->index.heap_bytes > UINT32_MAX || h->index.window_bytes > h->bytes + UINT32_MAX ||
	    table_bytes(&h->index, t) != (uint64_t)st.st_size - sizeof(*h) ||
	    h->crc32c != crc32c((const uint8_t *)p + 64, (size_t)st.st_size - 64))
		return -EBADMSG;
	*ret = h->index;
	return 0;
}

static const void *table_records(const struct layer *l, enum layer_table t)
{
	return (const uint8_t *)l->tables[t].map + sizeof(struct table_header);
}

static int tables_open(struct layer *l)
{
	struct layer_index_header h;
	int r = table_map_open(l, TABLE_CHUNKS, &l->index.header);

	for (enum layer_table t = TABLE_SPANS; t < TABLE_COUNT && r >= 0; t++) {
		r = table_map_open(l, t, &h);
		if (r >= 0 && memcmp(&h, &l->index.header, sizeof(h)))
			r = -EBADMSG;
	}
	if (r < 0)
		return r;
	l->index.chunks = table_records(l, TABLE_CHUNKS);
	l->index.spans = table_records(l, TABLE_SPANS);
	l->index.windows = table_records(l, TABLE_WINDOWS);
	return layer_index_validate_reader(&l->index, NULL);
}

int layer_load_entries(struct layer *l, uint64_t max_entries, struct layer_index *ret,
		       struct error *err)
{
	struct layer_index_header h;
	struct layer_index ix = l->index;
	int r = 0;

	if (l->dir_fd >= 0 && !l->tables[TABLE_ENTRIES].map) {
		r = table_map_open(l, TABLE_ENTRIES, &h);
		if (r >= 0 && memcmp(&h, &l->index.header, sizeof(h)))
			r = -EBADMSG;
	}
	if (r < 0)
		return error_set_errno(
			err, r,
			"the layer's index in the cache is damaged; run \"morsel cache verify\"");
	if (ix.header.n_entries > max_entries)
		return error_set(err, -E2BIG,
				 "the layer has %llu entries, the limit is %llu (--max-entries)",
				 (unsigned long long)ix.header.n_entries,
				 (unsigned long long)max_entries);
	if (l->dir_fd >= 0) {
		ix.entries = table_records(l, TABLE_ENTRIES);
		ix.heap = (const uint8_t *)(ix.entries + ix.header.n_entries);
	}
	*ret = ix;
	return 0;
}

void layer_unload_entries(struct layer *l)
{
	struct table_map *m = &l->tables[TABLE_ENTRIES];

	if (l->dir_fd < 0 || !m->map)
		return;
	munmap(m->map, m->len);
	*m = (struct table_map){0};
}

/* ---- present ---- */

int present_write(struct cache *c, int dir_fd, uint64_t n_chunks, bool all)
{
	size_t len = present_bytes(n_chunks);
	_cleanup_(freep) uint8_t *data = calloc(1, len);
	_cleanup_(closep) int fd = -1;
	struct present_header *h = (struct present_header *)data;
	int r;

	if (!data)
		return -ENOMEM;
	h->magic = PRESENT_MAGIC;
	memcpy(h->boot_id, c->boot_id, sizeof(h->boot_id));
	h->n_chunks = n_chunks;
	for (uint64_t i = 0; all && i < n_chunks; i++)
		bit_set((_Atomic uint64_t *)(data + sizeof(*h)), i);
	fd = c->seam->openat(c->seam, dir_fd, "present", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
			     0600);
	if (fd < 0)
		return fd;
	r = seam_pwrite_full(c->seam, fd, data, len, 0);
	return r < 0 ? r : c->seam->fsync(c->seam, fd);
}

/* A present file that makes no sense is made anew: every chunk is then fetched again. */
static int present_open(struct layer *l)
{
	uint64_t n = l->index.header.n_chunks;
	struct stat st;
	void *p;

	l->present_len = present_bytes(n);
	l->lock_fd = cache_open_file(l->cache, l->dir_fd, "present", O_RDWR);
	if (l->lock_fd == -EROFS || l->lock_fd == -EACCES)
		l->lock_fd = cache_open_file(l->cache, l->dir_fd, "present", O_RDONLY);
	if (l->lock_fd == -ENOENT || l->lock_fd == -EINVAL || l->lock_fd == -ELOOP) {
		l->cache->seam->unlinkat(l->cache->seam, l->dir_fd, "present", 0);
		if (present_write(l->cache, l->dir_fd, n, false) >= 0)
			l->lock_fd = cache_open_file(l->cache, l->dir_fd, "present", O_RDWR);
	}
	if (l->lock_fd < 0)
		return l->lock_fd;
	if (fstat(l->lock_fd, &st) < 0 || (size_t)st.st_size != l->present_len)
		return -EBADMSG;
	p = mmap(NULL, l->present_len, PROT_READ | PROT_WRITE,
		 l->data_writable ? MAP_SHARED : MAP_PRIVATE, l->lock_fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	l->present = p;
	l->bits = (_Atomic uint64_t *)((uint8_t *)p + sizeof(*l->present));
	if (l->present->magic != PRESENT_MAGIC || l->present->n_chunks != n)
		return -EBADMSG;
	return 0;
}

static int data_open(struct layer *l)
{
	struct stat st;

	l->data_fd = cache_open_file(l->cache, l->dir_fd, "data", O_RDWR);
	l->data_writable = l->data_fd >= 0;
	if (l->data_fd == -EROFS || l->data_fd == -EACCES)
		l->data_fd = cache_open_file(l->cache, l->dir_fd, "data", O_RDONLY);
	if (l->data_fd < 0)
		return l->data_fd;
	if (fstat(l->data_fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size == l->index.header.device_bytes)
		return 0;
	/* Cut off or grown: the size is put right, the bits' claims are checked by digest anyway.
	 */
	return l->data_writable ? l->cache->seam->ftruncate(l->cache->seam, l->data_fd,
							    l->index.header.device_bytes)
				: -EBADMSG;
}

static void in_use_lock(struct layer *l)
{
	struct flock f = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = LOCK_USE, .l_len = 1};

	fcntl(l->lock_fd, F_OFD_SETLK, &f); /* only a hint for eviction: which layers to spare */
	futimens(l->lock_fd, NULL);	    /* last use */
}

static struct layer *layer_new(struct cache *c, const struct layer_key *key)
{
	struct layer *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->cache = c;
	l->key = *key;
	l->dir_fd = l->data_fd = l->lock_fd = l->mem_fd = -1;
	pthread_mutex_init(&l->mem_lock, NULL);
	return l;
}

int layer_open_dir(struct cache *c, const struct layer_key *key, int dir_fd, struct layer **ret,
		   struct error *err)
{
	_cleanup_(layer_closep) struct layer *l = layer_new(c, key);
	int r;

	if (!l) {
		close(dir_fd);
		return -ENOMEM;
	}
	l->dir_fd = dir_fd;
	r = tables_open(l);
	if (r >= 0)
		r = data_open(l);
	if (r >= 0)
		r = present_open(l);
	if (r < 0)
		return r;
	in_use_lock(l);
	*ret = steal_ptr(l);
	return 0;
}

int layer_open(struct cache *c, const struct layer_key *key, struct layer **ret, struct error *err)
{
	char path[80];
	int fd, layers, r;

	if (c->dir_fd < 0)
		return CACHE_MISS;
	snprintf(path, sizeof(path), "layers/%s", key->hex);
	fd = c->seam->openat(c->seam, c->dir_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd == -ENOENT)
		return CACHE_MISS;
	r = fd < 0 ? fd : layer_open_dir(c, key, fd, ret, err);
	if (r != -EBADMSG && r != -ENOENT && r != -EINVAL && r != -ELOOP && r != -ENOTDIR)
		return r < 0 ? error_set_errno(err, r, "can't open a layer in the cache %s", c->dir)
			     : 0;
	/* Damaged: as if it had never been there. */
	log_write(c->log, LOG_WARN, "layer %.16s... in the cache is damaged; it is made anew",
		  key->hex);
	layers = openat(c->dir_fd, "layers", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (layers >= 0)
		cache_remove_dir(c, layers, key->hex);
	closep(&layers);
	return CACHE_MISS;
}

/* A layer that could not be published: its tables and contents stay in memory files. */
int layer_open_memory(struct cache *c, const struct layer_key *key, int data_fd, int table_fd,
		      const struct layer_index *ix, void *map, size_t map_len, bool contents,
		      struct layer **ret)
{
	_cleanup_(layer_closep) struct layer *l = layer_new(c, key);
	void *p;

	if (!l)
		return -ENOMEM;
	l->index = *ix;
	l->present_len = present_bytes(ix->header.n_chunks);
	p = mmap(NULL, l->present_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	l->present = p;
	l->bits = (_Atomic uint64_t *)((uint8_t *)p + sizeof(*l->present));
	for (uint64_t i = 0; contents && i < ix->header.n_chunks; i++)
		bit_set(l->bits, i);
	memcpy(l->present->boot_id, c->boot_id, sizeof(c->boot_id));
	l->data_writable = data_fd >= 0; /* else chunks come and go in bounded memory */
	l->tables[TABLE_ENTRIES] = (struct table_map){map, map_len};
	l->data_fd = data_fd;
	close(table_fd);
	*ret = steal_ptr(l);
	return 0;
}

void layer_close(struct layer *l)
{
	if (!l)
		return;
	for (int t = 0; t < TABLE_COUNT; t++)
		if (l->tables[t].map)
			munmap(l->tables[t].map, l->tables[t].len);
	if (l->present)
		munmap(l->present, l->present_len);
	closep(&l->data_fd);
	closep(&l->lock_fd);
	closep(&l->dir_fd);
	closep(&l->mem_fd);
	free((void *)l->mem_bits);
	pthread_mutex_destroy(&l->mem_lock);
	free(l);
}

const struct layer_index *layer_tables(const struct layer *l)
{
	return &l->index;
}

int layer_data_fd(const struct layer *l)
{
	return l->data_fd;
}

bool layer_is_complete(const struct layer *l)
{
	if (memcmp(l->present->boot_id, l->cache->boot_id, sizeof(l->present->boot_id)))
		return false;
	for (uint64_t i = 0; i < l->index.header.n_chunks; i++)
		if (!bit_get(l->bits, i))
			return false;
	return true;
}

uint64_t layer_present_bytes(const struct layer *l)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < l->index.header.n_chunks; i++)
		if (layer_has_chunk(l, i))
			sum += l->index.chunks[i].len;
	return sum;
}

/* ---- chunks ---- */

bool layer_has_chunk(const struct layer *l, uint64_t i)
{
	const _Atomic uint64_t *mem = __atomic_load_n(&l->mem_bits, __ATOMIC_ACQUIRE);

	return bit_get(l->bits, i) || (mem && bit_get(mem, i));
}

uint64_t layer_generation(const struct layer *l)
{
	return atomic_load_explicit(&l->present->generation, memory_order_acquire);
}

static int pread_piece(struct layer *l, int fd, uint8_t *p, size_t n, uint64_t off, int flags)
{
	if (fd < 0) /* a layer without a data file: only its holes are read here */
		memset(p, 0, n);
	while (n && fd >= 0) {
		ssize_t r = l->cache->seam->pread(l->cache->seam, fd, p, n, off, flags);

		if (r < 0)
			return (int)r;
		if (!r)
			return flags ? -EAGAIN
				     : -EIO; /* the file ends early: it was cut under us */
		p += r;
		off += (uint64_t)r;
		n -= (size_t)r;
	}
	return 0;
}

/* With chunks in memory a read goes piece by piece; without any, which is the rule, at once. */
int layer_pread(struct layer *l, void *buf, size_t n, uint64_t dev_off, int flags)
{
	const _Atomic uint64_t *mem = __atomic_load_n(&l->mem_bits, __ATOMIC_ACQUIRE);
	uint8_t *p = buf;
	int r = 0;

	if (!mem)
		return pread_piece(l, l->data_fd, p, n, dev_off, flags);
	for (uint64_t i = layer_index_chunk_at(&l->index, dev_off); n && r >= 0; i++) {
		const struct layer_chunk *c =
			i < l->index.header.n_chunks ? &l->index.chunks[i] : NULL;
		uint64_t gap = c && c->dev_off > dev_off ? c->dev_off - dev_off : c ? 0 : n;
		size_t take = min_u64(n, gap);
		bool in_mem;

		memset(p, 0, take);
		p += take;
		dev_off += take;
		n -= take;
		if (!n || !c)
			continue;
		take = min_u64(n, c->dev_off + c->len - dev_off);
		in_mem = bit_get(mem, i) && !bit_get(l->bits, i);
		r = pread_piece(l, in_mem ? l->mem_fd : l->data_fd, p, take, dev_off,
				in_mem ? 0 : flags);
		p += take;
		dev_off += take;
		n -= take;
	}
	return r;
}

static int memory_prepare(struct layer *l)
{
	_Atomic uint64_t *bits;

	if (l->mem_bits)
		return 0;
	l->mem_fd = memfd_create("morsel-chunks", MFD_CLOEXEC);
	bits = calloc((l->index.header.n_chunks + 63) / 64, 8);
	if (l->mem_fd < 0 || !bits ||
	    ftruncate(l->mem_fd, (off_t)l->index.header.device_bytes) < 0) {
		free((void *)bits);
		closep(&l->mem_fd);
		l->mem_fd = -1;
		return -ENOMEM;
	}
	__atomic_store_n(&l->mem_bits, bits, __ATOMIC_RELEASE);
	return 0;
}

static int memory_store(struct layer *l, uint64_t i, const void *data)
{
	const struct layer_chunk *c = &l->index.chunks[i];
	int r;

	pthread_mutex_lock(&l->mem_lock);
	r = memory_prepare(l);
	if (r >= 0 && l->mem_used + c->len > MEMORY_MAX) {
		for (uint64_t w = 0; w < (l->index.header.n_chunks + 63) / 64; w++)
			atomic_store(&l->mem_bits[w], 0);
		atomic_fetch_add(&l->present->generation, 1);
		fallocate(l->mem_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			  (off_t)l->index.header.device_bytes);
		l->mem_used = 0;
	}
	if (r >= 0) {
		r = seam_pwrite_full(seam_real(), l->mem_fd, data, c->len, c->dev_off);
		if (r >= 0) {
			bit_set(l->mem_bits, i);
			l->mem_used += c->len;
		}
	}
	pthread_mutex_unlock(&l->mem_lock);
	return r;
}

int layer_store_chunk(struct layer *l, uint64_t i, const void *data)
{
	const struct layer_chunk *c = &l->index.chunks[i];
	struct cache *cache = l->cache;
	uint64_t freed;
	int r = l->data_writable ? 0 : -EROFS;

	if (r >= 0)
		r = seam_pwrite_full(cache->seam, l->data_fd, data, c->len, c->dev_off);
	if (r == -ENOSPC || r == -EDQUOT) {
		cache_evict(cache, cache->size_bytes / 2, &freed, NULL);
		if (freed)
			r = seam_pwrite_full(cache->seam, l->data_fd, data, c->len, c->dev_off);
	}
	if (r >= 0) {
		bit_set(l->bits, i);
		atomic_fetch_add(&cache->stored_bytes, c->len);
		return 0;
	}
	cache_warn_memory(cache, r, cache->dir);
	return memory_store(l, i, data);
}

void layer_drop_chunk(struct layer *l, uint64_t i)
{
	const struct layer_chunk *c = &l->index.chunks[i];

	if (l->mem_bits)
		bit_clear(l->mem_bits, i);
	if (bit_clear(l->bits, i)) {
		atomic_fetch_add(&l->present->generation, 1);
		if (l->data_writable)
			l->cache->seam->punch(l->cache->seam, l->data_fd, c->dev_off, c->len);
	}
}

static int span_lock(struct layer *l, uint64_t first, uint64_t last, short type)
{
	struct flock f = {.l_type = type,
			  .l_whence = SEEK_SET,
			  .l_start = LOCK_SPANS + (off_t)first,
			  .l_len = (off_t)(last - first + 1)};

	if (l->lock_fd < 0 || !l->data_writable)
		return 0;
	return fcntl(l->lock_fd, F_OFD_SETLK, &f) < 0 ? -errno : 0;
}

int layer_claim(struct layer *l, uint64_t first, uint64_t last)
{
	int r = span_lock(l, first, last, F_WRLCK);

	return r == -EACCES ? -EAGAIN : r;
}

void layer_release(struct layer *l, uint64_t first, uint64_t last)
{
	span_lock(l, first, last, F_UNLCK);
}
