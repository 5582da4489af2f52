/* SPDX-License-Identifier: MIT */
/*
 * Contents of a layer: chunks in the data file or in memory, under readers, eviction and other
 * processes.
 *
 * A reader takes no lock. It looks at the states of all chunks under its bytes, reads, and looks
 * again: what is the same in both looks was not evicted in between, for a chunk that leaves changes
 * its epoch. So the order matters everywhere: who evicts changes the mark first and punches
 * the bytes after; who stores writes the bytes first and sets the mark after.
 *
 * `present` is what all processes say of a chunk, `mine` what this one has verified: the bytes of a
 * mark that is not in `mine` are a claim, to be hashed before they are served.
 */
#include "cache/layer_impl.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/sparse.h"

#define PIECE_BYTES (64u << 10) /* hashed while it is still in the second-level cache */
#define MARKS_AT_ONCE 4096u

/* ---- search ---- */

uint64_t layer_chunk_at_span(const struct layer_index *ix, uint64_t span)
{
	uint64_t lo = 0, hi = ix->header.n_chunks;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (ix->chunks[mid].span < span)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void layer_chunks_in_spans(const struct layer_index *ix, uint64_t first, uint64_t last,
			   uint64_t *from, uint64_t *to)
{
	*from = layer_chunk_at_span(ix, first);
	*to = layer_chunk_at_span(ix, last + 1);
	while (*to > *from && ix->chunks[*to - 1].span_last > last)
		--*to;
}

/* ---- reading ---- */

/* What two looks at the same chunks must have in common. Odd factor: one changed byte changes it.
 */
struct look {
	uint64_t sum;
	bool in_memory;
};

static bool chunks_look(const struct layer *l, uint64_t first, uint64_t end, struct look *ret)
{
	const struct layer_index *ix = &l->index;
	struct look lk = {0};

	for (uint64_t i = first; i < ix->header.n_chunks && ix->chunks[i].dev_off < end; i++) {
		enum chunk_state st = layer_chunk_state(l, i);

		if (st == CHUNK_ABSENT || st == CHUNK_CLAIMED)
			return false;
		lk.in_memory |= st == CHUNK_IN_MEMORY;
		lk.sum = lk.sum * UINT64_C(0x9e3779b97f4a7c15) + layer_mine(l, i) + 1;
		if (!atomic_load_explicit(&l->used[i], memory_order_relaxed))
			atomic_store_explicit(&l->used[i], 1, memory_order_relaxed);
	}
	*ret = lk;
	return true;
}

static int read_piece(struct layer *l, int fd, uint8_t *p, size_t n, uint64_t off, int flags)
{
	const struct seam *s = l->cache->seam;

	if (flags && atomic_load_explicit(&l->nowait_unknown_here, memory_order_relaxed))
		flags = 0;
	while (n) {
		ssize_t r = s->pread(s, fd, p, n, off, flags);

		if (r == -EOPNOTSUPP && flags) {
			atomic_store_explicit(&l->nowait_unknown_here, true, memory_order_relaxed);
			flags = 0;
			continue;
		}
		if (r <= 0)
			return r < 0 ? (int)r : -ENODATA;
		p += r;
		off += (uint64_t)r;
		n -= (size_t)r;
	}
	return 0;
}

/* The parts of [dev_off, dev_off + len) that no chunk covers are zeros by definition, whatever the
 * file holds there. */
static void gaps_clear(const struct layer *l, uint64_t first, uint64_t dev_off, uint8_t *buf,
		       size_t len)
{
	const struct layer_index *ix = &l->index;
	uint64_t at = dev_off, end = dev_off + len;

	for (uint64_t i = first; at < end; i++) {
		const struct layer_chunk *c = i < ix->header.n_chunks ? &ix->chunks[i] : NULL;
		uint64_t next = c && c->dev_off < end ? c->dev_off : end;

		if (next > at)
			memset(buf + (at - dev_off), 0, next - at);
		at = c ? max_u64(at, c->dev_off + c->len) : end;
	}
}

/* Some chunks are in memory: piece by piece. */
static int read_mixed(struct layer *l, uint64_t first, uint64_t dev_off, uint8_t *buf, size_t len,
		      int flags)
{
	const struct layer_index *ix = &l->index;
	uint64_t end = dev_off + len;
	int r = 0;

	for (uint64_t i = first; i < ix->header.n_chunks && ix->chunks[i].dev_off < end; i++) {
		const struct layer_chunk *c = &ix->chunks[i];
		uint64_t from = max_u64(c->dev_off, dev_off),
			 to = min_u64(c->dev_off + c->len, end);
		enum chunk_state st = layer_chunk_state(l, i);
		uint8_t *p = buf + (from - dev_off);

		if (st == CHUNK_ABSENT || st == CHUNK_CLAIMED)
			return LAYER_NOT_READY;
		if (st == CHUNK_IN_MEMORY)
			r = memory_read(&l->cache->memory, l, i, (uint32_t)(from - c->dev_off), p,
					to - from);
		else
			r = read_piece(l, l->data_fd, p, to - from, from, flags);
		if (r)
			return r;
	}
	return r;
}

int layer_read(struct layer *l, uint64_t dev_off, void *buf, size_t len, int flags)
{
	uint64_t first = layer_index_chunk_at(&l->index, dev_off), end = dev_off + len;
	struct look before, after;
	int r = 0;

	if (!chunks_look(l, first, end, &before))
		return LAYER_NOT_READY;
	if (first < l->index.header.n_chunks && l->index.chunks[first].dev_off < end)
		r = before.in_memory ? read_mixed(l, first, dev_off, buf, len, flags)
				     : read_piece(l, l->data_fd, buf, len, dev_off, flags);
	if (r)
		return r;
	if (!chunks_look(l, first, end, &after) || after.sum != before.sum)
		return LAYER_NOT_READY;
	gaps_clear(l, first, dev_off, buf, len);
	return 0;
}

static bool chunks_cover(const struct layer_index *ix, uint64_t first, uint64_t from, uint64_t end)
{
	for (uint64_t i = first; from < end; i++) {
		if (i == ix->header.n_chunks || ix->chunks[i].dev_off > from)
			return false;
		from = ix->chunks[i].dev_off + ix->chunks[i].len;
	}
	return true;
}

int layer_clone(struct layer *l, uint64_t dev_off, uint64_t len, int fd, uint64_t off)
{
	uint64_t first = layer_index_chunk_at(&l->index, dev_off), end = dev_off + len;
	struct file_clone_range range = {.src_fd = l->data_fd,
					 .src_offset = dev_off,
					 .src_length = align_up(len, DEVICE_BLOCK),
					 .dest_offset = off};
	struct look before, after;

	if (l->data_fd < 0 || !chunks_cover(&l->index, first, dev_off, end) ||
	    !chunks_look(l, first, end, &before) || before.in_memory)
		return LAYER_NOT_READY;
	if (ioctl(fd, FICLONERANGE, &range) < 0)
		return -errno;
	return chunks_look(l, first, end, &after) && after.sum == before.sum ? 0 : LAYER_NOT_READY;
}

/* ---- verifying ---- */

static int chunk_hash(struct layer *l, const struct layer_chunk *c, int flags, struct digest *ret)
{
	_cleanup_(hasher_freep) struct hasher *h = NULL;
	_cleanup_(freep) uint8_t *buf = malloc(min_u64(c->len, PIECE_BYTES));
	int r = buf ? hasher_new(DIGEST_SHA256, &h) : -ENOMEM;

	for (uint32_t at = 0; at < c->len && r >= 0;) {
		uint32_t n = (uint32_t)min_u64(c->len - at, PIECE_BYTES);

		r = read_piece(l, l->data_fd, buf, n, c->dev_off + at, flags);
		if (r >= 0)
			hasher_update(h, buf, n);
		at += n;
	}
	if (r >= 0)
		hasher_final(h, ret);
	return r;
}

/* Best effort: what we know to be wrong is taken from the others too. Its own descriptor, since
 * the locks of ours also stand for fetches of this process that are under way; closing it
 * releases what it locked. */
static void claim_withdraw(struct layer *l, uint64_t i, uint8_t mark)
{
	const struct layer_chunk *c = &l->index.chunks[i];
	_cleanup_(closep) int fd = -1;

	if (l->dir_fd < 0 || !l->present.writable)
		return;
	fd = cache_open_file(l->cache, l->dir_fd, "present", O_RDWR);
	if (fd < 0 || present_bar_claim(fd) < 0 ||
	    present_lock_spans(fd, c->span, c->span_last, NULL) < 0)
		return;
	if (present_get(&l->present, i) == mark)
		layer_punch(l, i, i);
}

int layer_verify(struct layer *l, uint64_t i, int flags)
{
	const struct layer_chunk *c = &l->index.chunks[i];
	uint8_t mark = present_get(&l->present, i);
	struct digest got = {0};
	int r;

	if (layer_chunk_state(l, i) != CHUNK_CLAIMED)
		return 0;
	r = chunk_hash(l, c, flags, &got);
	if (r == -ENOMEM || (r == -EAGAIN && flags))
		return r;
	/* Eviction clears the mark before it punches: with the same mark these are the bytes. */
	if (present_get(&l->present, i) != mark || !(mark & MARK_HERE))
		return 0;
	if (r >= 0 && !memcmp(got.bytes, c->digest, sizeof(c->digest))) {
		layer_mine_set(l, i, mark);
		return 0;
	}
	layer_mine_set(l, i, MINE_BAD);
	claim_withdraw(l, i, mark);
	return -EBADMSG;
}

void layer_trust(struct layer *l)
{
	for (uint64_t i = 0; l->made_here && i < l->index.header.n_chunks; i++) {
		uint8_t mark = present_get(&l->present, i);

		if (mark & MARK_HERE)
			layer_mine_set(l, i, mark);
	}
}

/* ---- storing ---- */

static int store_on_disk(struct layer *l, uint64_t i, const void *data)
{
	const struct layer_chunk *c = &l->index.chunks[i];
	const struct seam *s = l->cache->seam;
	uint8_t mark = present_get(&l->present, i);
	int r = 0;

	if (mark & MARK_HERE) { /* wrong bytes that are claimed to be good */
		mark = mark_gone(mark);
		r = present_set(s, &l->present, i, &mark, 1);
	}
	if (r >= 0)
		r = sparse_overwrite(s, l->data_fd, data, c->len, c->dev_off, SPARSE_RUN_CACHE);
	mark |= MARK_HERE;
	if (r >= 0)
		r = present_set(s, &l->present, i, &mark, 1);
	if (r >= 0)
		layer_mine_set(l, i, mark);
	return r;
}

int layer_store(struct layer *l, uint64_t i, const void *data, bool on_disk)
{
	struct cache *c = l->cache;
	uint64_t freed = 0;
	int r;

	if (layer_chunk_state(l, i) >= CHUNK_ON_DISK)
		return 0;
	if (!on_disk || l->data_fd < 0 || !l->present.writable ||
	    (l->dir_fd >= 0 && !cache_disk_ok(c)))
		return memory_store(&c->memory, l, i, data);
	r = store_on_disk(l, i, data);
	if (r == -ENOSPC || r == -EDQUOT) {
		cache_make_room(c, CACHE_ROOM_BYTES, &freed);
		if (freed)
			r = store_on_disk(l, i, data);
	}
	if (r >= 0) {
		atomic_fetch_add_explicit(&c->stored_bytes, l->index.chunks[i].len,
					  memory_order_relaxed);
		return 0;
	}
	cache_disk_failed(c, r);
	return memory_store(&c->memory, l, i, data);
}

/* ---- taking away ---- */

static uint64_t punch_run(struct layer *l, uint64_t first, uint64_t last)
{
	const struct layer_chunk *a = &l->index.chunks[first], *b = &l->index.chunks[last];
	const struct seam *s = l->cache->seam;
	uint8_t marks[MARKS_AT_ONCE];

	for (uint64_t at = first; at <= last; at += MARKS_AT_ONCE) {
		uint64_t n = min_u64(last - at + 1, MARKS_AT_ONCE);

		for (uint64_t i = 0; i < n; i++)
			marks[i] = mark_gone(present_get(&l->present, at + i));
		if (present_set(s, &l->present, at, marks, n) < 0)
			return 0; /* still marked: then it must stay */
		atomic_fetch_add_explicit(&l->cache->evicted_chunks, n, memory_order_relaxed);
	}
	if (!layer_is_kernels(l))
		s->punch(s, l->data_fd, a->dev_off, b->dev_off + b->len - a->dev_off);
	return b->dev_off + b->len - a->dev_off;
}

/* Marks first, bytes after: readers look in the other order. */
uint64_t layer_punch(struct layer *l, uint64_t first, uint64_t last)
{
	uint64_t freed = 0;

	for (uint64_t i = first; i <= last;) {
		uint64_t run = i;

		while (run <= last && present_get(&l->present, run) & MARK_HERE)
			run++;
		if (run > i)
			freed += punch_run(l, i, run - 1);
		i = run + 1;
	}
	return freed;
}

void layer_doubt(struct layer *l, uint64_t dev_off, uint64_t len)
{
	const struct layer_index *ix = &l->index;

	for (uint64_t i = layer_index_chunk_at(ix, dev_off);
	     i < ix->header.n_chunks && ix->chunks[i].dev_off < dev_off + len; i++)
		if (layer_mine(l, i) & MARK_HERE)
			layer_mine_set(l, i, 0);
}

int layer_data_repair(struct layer *l)
{
	const struct layer_index *ix = &l->index;
	const struct seam *s = l->cache->seam;
	struct stat st;
	int r = 0;

	if (l->data_fd < 0 || fstat(l->data_fd, &st) < 0)
		return -EIO;
	pthread_mutex_lock(&l->repair_lock);
	for (uint64_t i = 0; i < ix->header.n_chunks && r >= 0; i++) {
		uint8_t mark = present_get(&l->present, i);

		if (ix->chunks[i].dev_off + ix->chunks[i].len <= (uint64_t)st.st_size ||
		    !(mark & MARK_HERE))
			continue;
		if (!l->present.writable) {
			layer_mine_set(l, i, MINE_BAD);
			continue;
		}
		mark = mark_gone(mark);
		r = present_set(s, &l->present, i, &mark, 1);
	}
	if (r >= 0 && l->present.writable && (uint64_t)st.st_size != ix->header.device_bytes)
		r = s->ftruncate(s, l->data_fd, ix->header.device_bytes);
	pthread_mutex_unlock(&l->repair_lock);
	return r;
}
