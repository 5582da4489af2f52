/* SPDX-License-Identifier: MIT */
/*
 * Making room. What is least recently used goes first, in this order: pieces of layers that were
 * pushed; contents of layers that nobody has open (their tables stay, so that they remain lazy);
 * chunks of layers in use; unused layers whole; merged images and documents.
 *
 * A chunk is taken under the lock of its spans, by a descriptor of the evictor's own, so that it
 * conflicts with fetches of this process as with those of others; what is being fetched is left
 * alone. Marks go first, bytes after: layer_impl.h says how readers notice. A layer that a kernel
 * mount claims is not touched at all, and nobody can claim one while it is being evicted; one that
 * it has claimed since the last boot only goes whole (layer_whole.c).
 */
#include "cache/layer_impl.h"

#include <errno.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#define LOOK_EVERY_BYTES                                                                           \
	(UINT64_C(32) << 20) /* stored between two looks: the bound is that loose */
#define BATCH_CHUNKS 64u
#define BATCH_BYTES (UINT64_C(4) << 20)

struct candidate {
	char name[DIGEST_TEXT_MAX];
	uint64_t bytes;
	struct timespec used;
};

struct candidates {
	const char *time_of; /* the file whose time is the last use; NULL: the entry itself */
	struct candidate *list;
	size_t n, cap;
	uint64_t total;
};

static int candidate_add(void *userdata, int dir_fd, const char *name)
{
	struct candidates *cs = userdata;
	struct candidate c = {.bytes = cache_disk_usage(dir_fd, name)};
	char path[DIGEST_TEXT_MAX + 16];
	struct stat st;

	if (strlen(name) >= sizeof(c.name))
		return 0;
	if (cs->n == cs->cap) {
		size_t cap = cs->cap ? 2 * cs->cap : 64;
		struct candidate *list = reallocarray(cs->list, cap, sizeof(*list));

		if (!list)
			return -ENOMEM;
		cs->list = list;
		cs->cap = cap;
	}
	strcpy(c.name, name);
	snprintf(path, sizeof(path), "%s%s%s", name, cs->time_of ? "/" : "",
		 cs->time_of ? cs->time_of : "");
	if (!fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW))
		c.used = st.st_mtim;
	cs->total += c.bytes;
	cs->list[cs->n++] = c;
	return 0;
}

static int oldest_first(const void *a, const void *b)
{
	const struct timespec *x = &((const struct candidate *)a)->used;
	const struct timespec *y = &((const struct candidate *)b)->used;

	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? -1 : 1;
	return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

static int candidates_list(struct cache *c, enum cache_subdir sub, const char *time_of,
			   struct candidates *ret)
{
	int r;

	*ret = (struct candidates){.time_of = time_of};
	r = cache_each_name(c->sub_fd[sub], candidate_add, ret);
	if (ret->n)
		qsort(ret->list, ret->n, sizeof(*ret->list), oldest_first);
	return r;
}

/* ---- layers ---- */

static uint64_t data_usage(const struct layer *l)
{
	struct stat st;

	return fstat(l->data_fd, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

static void contents_drop(struct layer *l)
{
	const struct layer_index_header *h = &l->index.header;
	int fd = l->present.fd;

	if (!h->n_chunks || present_lock_spans(fd, 0, h->n_spans - 1, NULL) < 0)
		return;
	layer_punch(l, 0, h->n_chunks - 1);
	l->cache->seam->punch(l->cache->seam, l->data_fd, 0, h->device_bytes);
	present_unlock_spans(fd, 0, h->n_spans - 1);
}

/* Which chunks were read since we last came by, as far as this process knows; starts their second
 * chance anew. NULL: none of ours has the layer open. */
static uint8_t *second_chances(struct cache *c, const struct layer_key *key, uint64_t n)
{
	uint8_t *snap = NULL;

	pthread_mutex_lock(&c->layers_lock);
	for (struct layer *l = c->layers; l; l = l->next) {
		if (strcmp(l->meta.key.hex, key->hex) || l->index.header.n_chunks != n)
			continue;
		if (!snap && !(snap = calloc(n, 1)))
			break;
		for (uint64_t i = 0; i < n; i++)
			snap[i] |= atomic_exchange_explicit(&l->used[i], 0, memory_order_relaxed);
	}
	pthread_mutex_unlock(&c->layers_lock);
	return snap;
}

/* Chunks from i on that may go together; stops at `end`, at one that stays, and at a batch. */
static uint64_t batch_end(const struct layer *l, const uint8_t *keep, uint64_t i, uint64_t end)
{
	uint64_t bytes = 0, k = i;

	while (k < end && k - i < BATCH_CHUNKS && bytes < BATCH_BYTES && !(keep && keep[k]) &&
	       present_get(&l->present, k) & MARK_HERE)
		bytes += l->index.chunks[k++].len;
	return k;
}

static void range_evict(struct layer *l, const uint8_t *keep, uint64_t from, uint64_t to,
			uint64_t want, uint64_t *freed)
{
	const struct layer_chunk *chunks = l->index.chunks;

	for (uint64_t i = from; i < to && *freed < want;) {
		uint64_t end = batch_end(l, keep, i, to), last_span = chunks[i].span_last;

		if (end == i) {
			i++;
			continue;
		}
		for (uint64_t k = i; k < end; k++)
			last_span = max_u64(last_span, chunks[k].span_last);
		if (present_lock_spans(l->present.fd, chunks[i].span, last_span, NULL) >= 0) {
			*freed += layer_punch(l, i, end - 1);
			present_unlock_spans(l->present.fd, chunks[i].span, last_span);
		}
		i = end;
	}
}

/* Not always from the front: who reads in a circle would otherwise miss every time. */
static void chunks_evict(struct layer *l, uint64_t want)
{
	uint64_t n = l->index.header.n_chunks, start, freed = 0;
	_cleanup_(freep) uint8_t *keep = NULL;

	if (!n)
		return;
	keep = second_chances(l->cache, &l->meta.key, n);
	l->cache->seam->random(l->cache->seam, &start, sizeof(start));
	start %= n;
	for (int pass = keep ? 0 : 1; pass < 2 && freed < want; pass++) {
		range_evict(l, pass ? NULL : keep, start, n, want, &freed);
		range_evict(l, pass ? NULL : keep, 0, start, want, &freed);
	}
}

enum layer_pass { PASS_UNUSED_CONTENTS, PASS_USED_CHUNKS, PASS_UNUSED_WHOLE };

static uint64_t whole_drop(struct cache *c, const struct candidate *cd)
{
	cache_discard(c, c->sub_fd[SUB_LAYERS], cd->name);
	return cd->bytes;
}

static uint64_t layer_evict(struct cache *c, const struct candidate *cd, enum layer_pass pass,
			    uint64_t want)
{
	_cleanup_(layer_closep) struct layer *l = NULL;
	struct layer_key key;
	uint64_t before;
	bool used;

	if (!cache_is_hex64(cd->name))
		return 0;
	memcpy(key.hex, cd->name, sizeof(key.hex));
	if (layer_peek(c, &key, &l) < 0 || l->present.fd < 0 ||
	    present_bar_claim(l->present.fd) < 0)
		return 0;
	used = present_is_used(l->present.fd);
	if (layer_is_kernels(l))
		return used || pass == PASS_USED_CHUNKS ? 0 : whole_drop(c, cd);
	before = data_usage(l);
	if (pass == PASS_USED_CHUNKS && used)
		chunks_evict(l, want);
	else if (pass == PASS_UNUSED_CONTENTS && !used)
		contents_drop(l);
	else if (pass == PASS_UNUSED_WHOLE && !used)
		return whole_drop(c, cd);
	/* Marking chunks gone was not a use. */
	futimens(l->present.fd, (struct timespec[]){cd->used, cd->used});
	return before - min_u64(before, data_usage(l));
}

static uint64_t layers_evict(struct cache *c, struct candidates *cs, enum layer_pass pass,
			     uint64_t want)
{
	uint64_t freed = 0;

	for (size_t i = 0; i < cs->n && freed < want && !cache_cancelled(c); i++) {
		uint64_t n = layer_evict(c, &cs->list[i], pass, want - freed);

		n = min_u64(n, cs->list[i].bytes);
		cs->list[i].bytes -= n;
		freed += n;
	}
	return freed;
}

static uint64_t others_evict(struct cache *c, enum cache_subdir sub, const struct candidates *cs,
			     uint64_t want)
{
	uint64_t freed = 0;

	for (size_t i = 0; i < cs->n && freed < want && !cache_cancelled(c); i++) {
		cache_discard(c, c->sub_fd[sub], cs->list[i].name);
		freed += cs->list[i].bytes;
	}
	return freed;
}

/* ---- the whole cache ---- */

static const enum cache_subdir others[] = {SUB_IMAGES, SUB_BLOBS_SHA256, SUB_BLOBS_SHA512,
					   SUB_MEMBERS};
#define OTHERS_MEMBERS 3

struct survey {
	struct candidates layers, rest[ARRAY_SIZE(others)];
	uint64_t total;
};

static int survey_make(struct cache *c, struct survey *ret)
{
	int r = candidates_list(c, SUB_LAYERS, "present", &ret->layers);

	ret->total = ret->layers.total;
	for (size_t i = 0; i < ARRAY_SIZE(others) && r >= 0; i++) {
		r = candidates_list(c, others[i], NULL, &ret->rest[i]);
		ret->total += ret->rest[i].total;
	}
	return r;
}

static void survey_fini(struct survey *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		free(s->rest[i].list);
	free(s->layers.list);
}

/* What was pushed goes before what is read: it only saves work. */
static uint64_t contents_evict(struct cache *c, struct survey *s, uint64_t want)
{
	uint64_t freed = others_evict(c, SUB_MEMBERS, &s->rest[OTHERS_MEMBERS], want);

	if (freed < want)
		freed += layers_evict(c, &s->layers, PASS_UNUSED_CONTENTS, want - freed);
	if (freed < want)
		freed += layers_evict(c, &s->layers, PASS_USED_CHUNKS, want - freed);
	return freed;
}

/* Tables, images and documents: what makes a known image open without the network. */
static uint64_t knowledge_evict(struct cache *c, struct survey *s, uint64_t want)
{
	uint64_t freed = layers_evict(c, &s->layers, PASS_UNUSED_WHOLE, want);

	for (size_t i = 0; i < OTHERS_MEMBERS && freed < want; i++)
		freed += others_evict(c, others[i], &s->rest[i], want - freed);
	return freed;
}

void cache_members_bound(struct cache *c, uint64_t bytes)
{
	struct candidates cs;

	if (candidates_list(c, SUB_MEMBERS, NULL, &cs) >= 0 && cs.total > bytes)
		others_evict(c, SUB_MEMBERS, &cs, cs.total - bytes);
	free(cs.list);
}

static int evict_to(struct cache *c, uint64_t target, uint64_t *ret_freed)
{
	_cleanup_(survey_fini) struct survey s = {0};
	uint64_t freed = 0;
	int r;

	atomic_store(&c->stored_bytes, 0);
	cache_documents_sweep(c, false);
	r = survey_make(c, &s);
	if (r >= 0 && s.total > target)
		freed = contents_evict(c, &s, s.total - target);
	if (r >= 0 && s.total - min_u64(s.total, freed) > target)
		freed += knowledge_evict(c, &s, s.total - freed - target);
	*ret_freed = freed;
	return r;
}

int cache_evict(struct cache *c, uint64_t target_bytes, uint64_t *ret_freed_bytes,
		struct error *err)
{
	int r;

	if (!c->writable)
		return error_set(err, -EROFS, "cache %s can't be written", c->dir);
	r = evict_to(c, target_bytes, ret_freed_bytes);
	if (cache_cancelled(c))
		return error_set(err, -ECANCELED, "interrupted");
	return r < 0 ? error_set_errno(err, r, "can't look through the cache %s", c->dir) : 0;
}

/* Knowledge only goes when there are no contents left to give. */
void cache_make_room(struct cache *c, uint64_t bytes, uint64_t *ret_freed)
{
	_cleanup_(survey_fini) struct survey s = {0};

	*ret_freed = 0;
	if (!c->writable || atomic_exchange(&c->evicting, true))
		return;
	if (survey_make(c, &s) >= 0) {
		*ret_freed = contents_evict(c, &s, bytes);
		if (!*ret_freed)
			*ret_freed = knowledge_evict(c, &s, bytes);
	}
	atomic_store(&c->evicting, false);
}

void cache_evict_if_over(struct cache *c)
{
	uint64_t stored = atomic_load_explicit(&c->stored_bytes, memory_order_relaxed), freed;

	if (!c->writable || stored < min_u64(LOOK_EVERY_BYTES, c->limit_bytes / 16 + 1) ||
	    atomic_exchange(&c->evicting, true))
		return;
	if (!flock(c->root_fd, LOCK_EX | LOCK_NB)) { /* else another process is at it */
		evict_to(c, c->limit_bytes, &freed);
		flock(c->root_fd, LOCK_UN);
	}
	atomic_store(&c->evicting, false);
}
