/* SPDX-License-Identifier: MIT */
/*
 * Opening a layer: its meta names every table's length and checksum and binds them together; what
 * does not agree makes the layer damaged, which means that it never was here. The chunk, span and
 * window tables are validated as bytes from strangers are: their checksum only speaks of accidents.
 */
#include "cache/layer_impl.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define TOUCH_EVERY_READS 1024u

static const char *const table_files[TABLE_COUNT] = {"entries", "chunks", "spans", "windows"};
static const uint8_t nothing[8]; /* what an empty table points at */

void layer_key_make(const struct digest *blob, enum anchor_kind kind, const struct digest *anchor,
		    struct layer_key *ret)
{
	char text[2 * DIGEST_TEXT_MAX + 64], b[DIGEST_TEXT_MAX], a[DIGEST_TEXT_MAX];
	char hex[DIGEST_TEXT_MAX];
	struct digest d;

	digest_format(blob, b);
	digest_format(anchor, a);
	snprintf(text, sizeof(text), "morsel layer %d\n%s\n%d\n%s\n", CACHE_FORMAT_VERSION, b,
		 (int)kind, a);
	digest_of(DIGEST_SHA256, text, strlen(text), &d);
	digest_format_hex(&d, hex);
	memcpy(ret->hex, hex, sizeof(ret->hex));
}

/* ---- tables ---- */

static int table_open(struct layer *l, enum layer_table t, const void **ret)
{
	uint64_t bytes = layer_table_bytes(&l->meta.header, t);
	_cleanup_(closep) int fd = -1;
	struct stat st;
	void *map;

	if (l->tables[t].map || !bytes) {
		*ret = bytes ? l->tables[t].map : nothing;
		return 0;
	}
	fd = cache_open_file(l->cache, l->dir_fd, table_files[t], O_RDONLY);
	if (fd < 0)
		return fd == -ENOENT ? -EBADMSG : fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size != bytes)
		return -EBADMSG;
	map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	l->tables[t] = (struct table_map){map, bytes};
	*ret = map;
	return 0;
}

static bool table_is_whole(const struct layer *l, enum layer_table t, const void *bytes)
{
	return cache_crc64(0, bytes, layer_table_bytes(&l->meta.header, t)) == l->meta.sums[t];
}

/* Windows are checked when they are first needed: most mounts of a layer never decode. */
static int tables_open(struct layer *l)
{
	const void *chunks, *spans, *windows;
	int r = table_open(l, TABLE_CHUNKS, &chunks);

	if (r >= 0)
		r = table_open(l, TABLE_SPANS, &spans);
	if (r >= 0)
		r = table_open(l, TABLE_WINDOWS, &windows);
	if (r < 0)
		return r;
	if (!table_is_whole(l, TABLE_CHUNKS, chunks) || !table_is_whole(l, TABLE_SPANS, spans))
		return -EBADMSG;
	l->index = (struct layer_index){
		.header = l->meta.header, .chunks = chunks, .spans = spans, .windows = windows};
	return layer_index_validate_reader(&l->index, NULL) < 0 ? -EBADMSG : 0;
}

int layer_windows_check(struct layer *l)
{
	uint32_t state = atomic_load_explicit(&l->windows_state, memory_order_acquire);

	if (!state) {
		state = l->dir_fd < 0 || table_is_whole(l, TABLE_WINDOWS, l->index.windows) ? 1 : 2;
		atomic_store_explicit(&l->windows_state, state, memory_order_release);
		if (state == 2 && l->present.writable) /* the next mount makes the layer anew */
			l->cache->seam->unlinkat(l->cache->seam, l->dir_fd, "meta", 0);
	}
	return state == 1 ? 0 : -EBADMSG;
}

int layer_check_entries(const struct layer *l, uint64_t max_entries, struct error *err)
{
	uint64_t n = l->index.header.n_entries;
	char name[DIGEST_TEXT_MAX];

	if (n <= max_entries)
		return 0;
	digest_format(&l->meta.blob, name);
	return error_set(err, -E2BIG,
			 "layer %s: it has %llu entries, the limit is %llu (--max-entries)", name,
			 (unsigned long long)n, (unsigned long long)max_entries);
}

int layer_load_entries(struct layer *l, uint64_t max_entries, struct layer_index *ret,
		       struct error *err)
{
	struct layer_index ix = l->index;
	const void *entries;
	int r = layer_check_entries(l, max_entries, err);

	if (r < 0)
		return r;
	if (l->dir_fd >= 0) {
		r = table_open(l, TABLE_ENTRIES, &entries);
		if (r >= 0 && !table_is_whole(l, TABLE_ENTRIES, entries))
			r = -EBADMSG;
		if (r < 0) {
			layer_unload_entries(l);
			if (r == -EBADMSG && l->present.writable)
				l->cache->seam->unlinkat(l->cache->seam, l->dir_fd, "meta", 0);
			return error_set_errno(
				err, r,
				"the index of layer %.16s... in the cache %s; mount again to "
				"have it made anew",
				l->meta.key.hex, l->cache->dir);
		}
		ix.entries = entries;
		ix.heap = (const uint8_t *)(ix.entries + ix.header.n_entries);
	}
	*ret = ix;
	return 0;
}

void layer_unload_entries(struct layer *l)
{
	struct table_map *t = &l->tables[TABLE_ENTRIES];

	if (l->dir_fd < 0 || !t->map)
		return;
	munmap(t->map, t->len);
	*t = (struct table_map){0};
}

/* ---- life ---- */

static struct layer *layer_new(struct cache *c)
{
	struct layer *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->cache = c;
	l->dir_fd = l->data_fd = -1;
	l->present = PRESENT_INIT;
	pthread_mutex_init(&l->repair_lock, NULL);
	return l;
}

/* Anonymous mappings: pages of chunks that are never touched cost nothing. */
static int layer_arrays(struct layer *l)
{
	size_t n = l->index.header.n_chunks + 1;
	void *mine = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *used = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	l->mine = mine == MAP_FAILED ? NULL : mine;
	l->used = used == MAP_FAILED ? NULL : used;
	return l->mine && l->used ? 0 : -ENOMEM;
}

static void layer_enlist(struct layer *l)
{
	struct cache *c = l->cache;

	pthread_mutex_lock(&c->layers_lock);
	l->next = c->layers;
	c->layers = l;
	pthread_mutex_unlock(&c->layers_lock);
}

static void layer_delist(struct layer *l)
{
	struct cache *c = l->cache;

	pthread_mutex_lock(&c->layers_lock);
	for (struct layer **p = &c->layers; *p; p = &(*p)->next)
		if (*p == l) {
			*p = l->next;
			break;
		}
	pthread_mutex_unlock(&c->layers_lock);
}

void layer_close(struct layer *l)
{
	size_t n;

	if (!l)
		return;
	n = l->index.header.n_chunks + 1;
	layer_delist(l);
	memory_forget(&l->cache->memory, l);
	for (int t = 0; t < TABLE_COUNT; t++)
		if (l->tables[t].map)
			munmap(l->tables[t].map, l->tables[t].len);
	if (l->mine)
		munmap((void *)l->mine, n);
	if (l->used)
		munmap((void *)l->used, n);
	present_close(&l->present);
	closep(&l->data_fd);
	closep(&l->dir_fd);
	pthread_mutex_destroy(&l->repair_lock);
	free(l);
}

static int data_open(struct layer *l)
{
	int flags = l->present.writable ? O_RDWR : O_RDONLY;
	struct stat st;

	l->data_fd = cache_open_file(l->cache, l->dir_fd, "data", flags);
	if (l->data_fd < 0)
		return l->data_fd == -ENOENT ? -EBADMSG : l->data_fd;
	if (fstat(l->data_fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size == l->index.header.device_bytes)
		return 0;
	return layer_data_repair(l);
}

static int meta_open(struct layer *l, const struct layer_key *key)
{
	_cleanup_(freep) char *bytes = NULL;
	size_t len;
	int r = seam_read_file(l->cache->seam, l->dir_fd, "meta", LAYER_META_BYTES, &bytes, &len);

	if (r == -ENOENT || r == -EINVAL || r == -E2BIG || r == -ELOOP || r == -ENODATA)
		return -EBADMSG;
	return r < 0 ? r : layer_meta_decode(bytes, len, key, &l->meta);
}

int layer_peek(struct cache *c, const struct layer_key *key, struct layer **ret)
{
	_cleanup_(layer_closep) struct layer *l = layer_new(c);
	int r;

	if (!l)
		return -ENOMEM;
	l->dir_fd = cache_open_dir(c, c->sub_fd[SUB_LAYERS], key->hex);
	if (l->dir_fd < 0)
		return l->dir_fd;
	r = meta_open(l, key);
	if (r >= 0)
		r = tables_open(l);
	if (r >= 0)
		r = layer_arrays(l);
	if (r >= 0)
		r = present_open(c, l->dir_fd, key, l->index.header.n_chunks, &l->present);
	if (r >= 0)
		r = data_open(l);
	if (r < 0)
		return r;
	*ret = steal_ptr(l);
	return 0;
}

int layer_open(struct cache *c, const struct layer_key *key, struct layer **ret, struct error *err)
{
	struct layer *l;
	int r = layer_peek(c, key, &l);

	if (!r) {
		present_share_use(l->present.fd); /* only tells eviction whom to spare */
		layer_enlist(l);
		atomic_store(&l->reads, 0);
		layer_touch(l);
		*ret = l;
		return 0;
	}
	if (r == -ENOENT || r == -EBADF)
		return CACHE_MISS;
	if (r != -EBADMSG)
		return error_set_errno(err, r, "layer %.16s... in the cache %s", key->hex, c->dir);
	log_write(c->log, LOG_WARN, "cache %s: layer %.16s... is damaged; it is made anew", c->dir,
		  key->hex);
	if (c->writable)
		cache_discard(c, c->sub_fd[SUB_LAYERS], key->hex);
	return CACHE_MISS;
}

int layer_from_memory(struct cache *c, const struct layer_meta *meta, const struct layer_index *ix,
		      void *map, size_t map_len, int data_fd, bool contents, struct layer **ret)
{
	_cleanup_(layer_closep) struct layer *l = layer_new(c);
	int r;

	if (!l)
		return -ENOMEM;
	l->meta = *meta;
	l->index = *ix;
	r = layer_arrays(l);
	if (r >= 0)
		r = present_open_memory(ix->header.n_chunks, contents, &l->present);
	if (r < 0)
		return r;
	l->tables[TABLE_ENTRIES] = (struct table_map){map, map_len};
	l->data_fd = data_fd;
	layer_enlist(l);
	*ret = steal_ptr(l);
	return 0;
}

/* Last use is the `present` file's time: a coarse clock that all processes share. */
void layer_touch(struct layer *l)
{
	if (atomic_fetch_add_explicit(&l->reads, 1, memory_order_relaxed) % TOUCH_EVERY_READS ==
		    0 &&
	    l->present.fd >= 0)
		futimens(l->present.fd, NULL);
}

/* ---- what others ask ---- */

const struct layer_index *layer_tables(const struct layer *l)
{
	return &l->index;
}

int layer_data_fd(const struct layer *l)
{
	return l->data_fd;
}

int layer_claim(struct layer *l)
{
	return l->present.fd < 0 ? 0 : present_share_claim(l->present.fd);
}

bool layer_is_complete(const struct layer *l)
{
	for (uint64_t i = 0; i < l->index.header.n_chunks; i++) {
		enum chunk_state st = layer_chunk_state(l, i);

		if (st != CHUNK_ON_DISK && !(st == CHUNK_CLAIMED && l->present.same_boot))
			return false;
	}
	return true;
}

uint64_t layer_present_bytes(const struct layer *l)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < l->index.header.n_chunks; i++)
		if (layer_chunk_state(l, i) != CHUNK_ABSENT)
			sum += l->index.chunks[i].len;
	return sum;
}
