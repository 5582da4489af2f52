/* SPDX-License-Identifier: MIT */
/*
 * Making room. Layers are taken least recently used first; those nobody has open give up all their
 * contents (their tables stay: they remain lazy), then those in use give up chunks, under the same
 * claims that fetching takes. When contents do not suffice, unused layers go whole.
 */
#include "cache/cache_impl.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define CHECK_EVERY_BYTES (UINT64_C(32) << 20)

struct candidate {
	struct layer_key key;
	uint64_t bytes;
	struct timespec used;
};

struct candidates {
	struct candidate *list;
	size_t n, cap;
	uint64_t total; /* bytes of everything in the cache */
};

uint64_t cache_dir_usage(int parent_fd, const char *name)
{
	int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;
	struct stat st;
	uint64_t sum = 0;

	if (!d) {
		closep(&fd);
		return 0;
	}
	while ((e = readdir(d)))
		if (e->d_name[0] != '.' && !fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
		    S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_blocks * 512;
	closedir(d);
	return sum;
}

static int candidate_add(struct candidates *cs, int layers_fd, const char *name)
{
	char path[96];
	struct stat st;

	if (strlen(name) != 64)
		return 0;
	if (cs->n == cs->cap) {
		size_t cap = cs->cap ? 2 * cs->cap : 64;
		struct candidate *list = reallocarray(cs->list, cap, sizeof(*list));

		if (!list)
			return -ENOMEM;
		cs->list = list;
		cs->cap = cap;
	}
	snprintf(path, sizeof(path), "%s/present", name);
	if (fstatat(layers_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		st.st_mtim = (struct timespec){0};
	cs->list[cs->n] =
		(struct candidate){.bytes = cache_dir_usage(layers_fd, name), .used = st.st_mtim};
	memcpy(cs->list[cs->n].key.hex, name, 65);
	cs->total += cs->list[cs->n++].bytes;
	return 0;
}

static int oldest_first(const void *a, const void *b)
{
	const struct timespec *x = &((const struct candidate *)a)->used,
			      *y = &((const struct candidate *)b)->used;

	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? -1 : 1;
	return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

static int candidates_list(struct cache *c, struct candidates *cs)
{
	int fd = openat(c->dir_fd, "layers", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
	    r = 0;
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;

	if (!d) {
		closep(&fd);
		return -errno;
	}
	while (r >= 0 && (e = readdir(d)))
		if (e->d_name[0] != '.')
			r = candidate_add(cs, fd, e->d_name);
	closedir(d);
	if (cs->n)
		qsort(cs->list, cs->n, sizeof(*cs->list), oldest_first);
	return r;
}

/* Documents and images: small beside contents, but they count. */
static uint64_t others_usage(struct cache *c)
{
	uint64_t sum = cache_dir_usage(c->dir_fd, "blobs/sha256") +
		       cache_dir_usage(c->dir_fd, "blobs/sha512") +
		       cache_dir_usage(c->dir_fd, "refs");
	int fd =
		openat(c->dir_fd, "images/sha256", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;

	if (!d) {
		closep(&fd);
		return sum;
	}
	while ((e = readdir(d)))
		if (e->d_name[0] != '.')
			sum += cache_dir_usage(fd, e->d_name);
	closedir(d);
	return sum;
}

static bool in_use(const struct layer *l)
{
	/* Our own open description holds a shared lock too: a conflict is asked for, not taken. */
	struct flock f = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_USE, .l_len = 1};

	return fcntl(l->lock_fd, F_OFD_GETLK, &f) < 0 || f.l_type != F_UNLCK;
}

/* Bits first, then the generation, then the bytes: readers look in the other order. */
static uint64_t chunk_evict(struct layer *l, uint64_t i)
{
	const struct layer_chunk *c = &l->index.chunks[i];
	uint64_t from = align_up(c->dev_off, DEVICE_BLOCK),
		 to = (c->dev_off + c->len) & ~(uint64_t)(DEVICE_BLOCK - 1);

	if (!bit_get(l->bits, i) || layer_claim(l, c->span, c->span_last) < 0)
		return 0;
	if (bit_clear(l->bits, i)) {
		atomic_fetch_add(&l->present->generation, 1);
		/* A file's last chunk owns the rest of its block: nothing else is there. */
		if ((c->dev_off + c->len) % DEVICE_BLOCK)
			to = align_up(c->dev_off + c->len, DEVICE_BLOCK);
		if (to > from)
			l->cache->seam->punch(l->cache->seam, l->data_fd, from, to - from);
	} else
		from = to;
	layer_release(l, c->span, c->span_last);
	return to > from ? to - from : 0;
}

static uint64_t layer_evict(struct cache *c, const struct candidate *cd, uint64_t want,
			    bool used_too)
{
	struct layer *l;
	uint64_t freed = 0, start;

	if (layer_open(c, &cd->key, &l, NULL))
		return 0;
	if (l->data_writable && (used_too || !in_use(l)) && l->index.header.n_chunks) {
		/* Not always the same ones: a reader in a circle would otherwise miss every time.
		 */
		c->seam->random(c->seam, &start, sizeof(start));
		for (uint64_t i = 0; i < l->index.header.n_chunks && freed < want; i++)
			freed += chunk_evict(l, (start + i) % l->index.header.n_chunks);
	}
	if (cd->used.tv_sec) { /* opening it was not a use */
		struct timespec times[2] = {cd->used, cd->used};

		futimens(l->lock_fd, times);
	}
	layer_close(l);
	return freed;
}

/* Renamed away first, so that nobody opens half of it. */
static uint64_t layer_remove(struct cache *c, const struct candidate *cd)
{
	char from[96], to[96];
	struct layer *l;
	bool used;
	uint64_t nonce;
	int tmp;

	if (layer_open(c, &cd->key, &l, NULL))
		return 0;
	used = in_use(l);
	layer_close(l);
	if (used)
		return 0;
	c->seam->random(c->seam, &nonce, sizeof(nonce));
	snprintf(from, sizeof(from), "layers/%s", cd->key.hex);
	snprintf(to, sizeof(to), "%016llx", (unsigned long long)nonce);
	tmp = openat(c->dir_fd, "tmp", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (tmp >= 0 && c->seam->renameat(c->seam, c->dir_fd, from, tmp, to) >= 0)
		cache_remove_dir(c, tmp, to);
	closep(&tmp);
	return cd->bytes;
}

static uint64_t evict_pass(struct cache *c, struct candidates *cs, uint64_t over, int pass)
{
	uint64_t freed = 0;

	for (size_t i = 0; i < cs->n && freed < over; i++) {
		uint64_t n = pass == 2 ? layer_remove(c, &cs->list[i])
				       : layer_evict(c, &cs->list[i], over - freed, pass == 1);

		cs->list[i].bytes -= min_u64(n, cs->list[i].bytes);
		freed += n;
	}
	return freed;
}

int cache_evict(struct cache *c, uint64_t target_bytes, uint64_t *ret_freed_bytes,
		struct error *err)
{
	struct candidates cs = {0};
	uint64_t freed = 0;
	int r;

	*ret_freed_bytes = 0;
	if (c->dir_fd < 0 || c->read_only)
		return error_set(err, -EROFS, "the cache %s can't be written", c->dir);
	pthread_mutex_lock(&c->evict_lock);
	atomic_store(&c->stored_bytes, 0);
	r = candidates_list(c, &cs);
	cs.total += others_usage(c);
	for (int pass = 0; pass < 3 && r >= 0 && cs.total - freed > target_bytes; pass++)
		freed += min_u64(evict_pass(c, &cs, cs.total - freed - target_bytes, pass),
				 cs.total - freed);
	pthread_mutex_unlock(&c->evict_lock);
	free(cs.list);
	*ret_freed_bytes = freed;
	return r < 0 ? error_set_errno(err, r, "can't look through the cache %s", c->dir) : 0;
}

void cache_evict_if_over(struct cache *c)
{
	uint64_t stored = atomic_load_explicit(&c->stored_bytes, memory_order_relaxed), freed;

	/* A look costs a walk, so it is taken every so many bytes: the bound is exceeded by that.
	 */
	if (stored < min_u64(CHECK_EVERY_BYTES, c->size_bytes / 8 + 1) || c->dir_fd < 0 ||
	    c->read_only)
		return;
	if (pthread_mutex_trylock(&c->evict_lock))
		return;
	pthread_mutex_unlock(&c->evict_lock);
	cache_evict(c, c->size_bytes, &freed, NULL);
}
