/* SPDX-License-Identifier: MIT */
/*
 * A layer for the kernel, which reads `data` by itself and asks nobody: all of it must be there and
 * right before, the bytes between chunks too, and nothing may be punched out of it after.
 *
 * A kernel mount outlives every process of ours, and so must that promise: a claim (a lock) keeps
 * eviction away while somebody has it, and the file `kernel` in the layer's directory, which holds
 * the boot id, says for the rest of this boot that the layer only goes whole. Whoever unlinks it
 * takes nothing from the kernel.
 */
#include "cache/layer_impl.h"

#include <errno.h>

#define MARK_FILE "kernel"
#define LOOK_BYTES (64u << 10)

bool layer_is_kernels(const struct layer *l)
{
	_cleanup_(freep) char *id = NULL;
	size_t n;

	return l->dir_fd >= 0 &&
	       seam_read_file(l->cache->seam, l->dir_fd, MARK_FILE, 64, &id, &n) >= 0 &&
	       n == sizeof(l->cache->boot_id) && !memcmp(id, l->cache->boot_id, n);
}

static int mark_write(struct layer *l)
{
	const struct seam *s = l->cache->seam;
	_cleanup_(closep) int fd = -1;

	if (layer_is_kernels(l))
		return 0;
	fd = s->openat(s, l->dir_fd, MARK_FILE, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	return seam_pwrite_full(s, fd, l->cache->boot_id, sizeof(l->cache->boot_id), 0);
}

/* Claims of another boot count: they are verified now. */
static bool has_all(const struct layer *l)
{
	for (uint64_t i = 0; i < l->index.header.n_chunks; i++) {
		enum chunk_state st = layer_chunk_state(l, i);

		if (st != CHUNK_ON_DISK && st != CHUNK_CLAIMED)
			return false;
	}
	return true;
}

int layer_claim_whole(struct layer *l)
{
	if (l->dir_fd < 0 || l->data_fd < 0 || !l->present.writable || !has_all(l) ||
	    layer_claim(l) < 0 || mark_write(l) < 0)
		return LAYER_NOT_READY;
	return has_all(l) ? 0 : LAYER_NOT_READY;
}

/* What no chunk covers is zeros by definition; here they have to be in the file, or holes. */
static int gap_check(struct layer *l, uint64_t from, uint64_t to)
{
	static const uint8_t zeros[LOOK_BYTES];
	const struct seam *s = l->cache->seam;
	uint8_t buf[LOOK_BYTES];

	while (from < to) {
		ssize_t n;

		if (to - from > LOOK_BYTES) {
			off_t data = lseek(l->data_fd, (off_t)from, SEEK_DATA);

			if (data < 0 && errno == ENXIO)
				return 0;
			from = data < 0 ? from : max_u64(from, (uint64_t)data);
			if (from >= to)
				return 0;
		}
		n = s->pread(s, l->data_fd, buf, min_u64(to - from, LOOK_BYTES), from, 0);
		if (n <= 0)
			return n < 0 ? (int)n : -ENODATA;
		if (memcmp(buf, zeros, (size_t)n) != 0)
			return LAYER_NOT_READY;
		from += (uint64_t)n;
	}
	return 0;
}

int layer_whole_next(struct layer *l, uint64_t *at)
{
	const struct layer_index *ix = &l->index;
	uint64_t i = *at, n = ix->header.n_chunks;
	uint64_t from = i ? ix->chunks[i - 1].dev_off + ix->chunks[i - 1].len : 0;
	int r = gap_check(l, from, i < n ? ix->chunks[i].dev_off : ix->header.device_bytes);

	if (r || i == n)
		return r ? r : LAYER_WHOLE;
	r = layer_verify(l, i, 0);
	if (r < 0 && r != -EBADMSG)
		return r;
	if (layer_chunk_state(l, i) != CHUNK_ON_DISK)
		return LAYER_NOT_READY;
	*at = i + 1;
	return 0;
}
