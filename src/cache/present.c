/* SPDX-License-Identifier: MIT */
#include "cache/present.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PRESENT_MAGIC UINT64_C(0x315352504c53524d) /* "MRSLPRS1" */
#define LOCK_SPANS ((off_t)1 << 40)
#define LOCK_USE ((off_t)1 << 60)
#define LOCK_CLAIM (LOCK_USE + 1)
#define FILL_BYTES 65536

/* 0 magic, 8 boot id, 24 chunks, 32 first bytes of the key, 56 crc of all before */
static void header_encode(const uint8_t boot_id[static 16], const struct layer_key *key, uint64_t n,
			  uint8_t out[static PRESENT_HEADER_BYTES])
{
	le64_put(out, PRESENT_MAGIC);
	memcpy(out + 8, boot_id, 16);
	le64_put(out + 24, n);
	memcpy(out + 32, key->hex, 24);
	le64_put(out + 56, cache_crc64(0, out, 56));
}

static bool header_is_ours(const uint8_t *h, const struct layer_key *key, uint64_t n)
{
	return le64_get(h) == PRESENT_MAGIC && le64_get(h + 24) == n &&
	       !memcmp(h + 32, key->hex, 24) && le64_get(h + 56) == cache_crc64(0, h, 56);
}

int present_create(struct cache *c, int dir_fd, const struct layer_key *key, uint64_t n, bool full)
{
	const struct seam *s = c->seam;
	_cleanup_(closep) int fd = -1;
	uint8_t header[PRESENT_HEADER_BYTES], marks[FILL_BYTES];
	int r;

	header_encode(c->boot_id, key, n, header);
	memset(marks, full ? MARK_HERE : 0, sizeof(marks));
	fd = s->openat(s, dir_fd, "present", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	r = seam_pwrite_full(s, fd, header, sizeof(header), 0);
	/* Written out in full, also when zero: a mark must never find the disk full later. */
	for (uint64_t at = 0; at < n && r >= 0; at += FILL_BYTES)
		r = seam_pwrite_full(s, fd, marks, min_u64(n - at, FILL_BYTES),
				     sizeof(header) + at);
	return r < 0 ? r : s->fsync(s, fd);
}

int present_open(struct cache *c, int dir_fd, const struct layer_key *key, uint64_t n,
		 struct present *ret)
{
	struct present p = {.n = n, .writable = c->writable, .map_len = PRESENT_HEADER_BYTES + n};
	struct stat st;
	void *map;
	int fd = -EROFS;

	if (p.writable)
		fd = cache_open_file(c, dir_fd, "present", O_RDWR);
	if (fd == -EROFS || fd == -EACCES) {
		p.writable = false;
		fd = cache_open_file(c, dir_fd, "present", O_RDONLY);
	}
	if (fd < 0)
		return fd == -ENOENT ? -EBADMSG : fd;
	p.fd = fd;
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != p.map_len) {
		close(fd);
		return -EBADMSG;
	}
	map = mmap(NULL, p.map_len, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		int r = -errno;

		close(fd);
		return r;
	}
	p.map = map;
	if (!header_is_ours(p.map, key, n)) {
		present_close(&p);
		return -EBADMSG;
	}
	p.same_boot = !memcmp(p.map + 8, c->boot_id, 16);
	*ret = p;
	return 0;
}

int present_open_memory(uint64_t n, bool full, struct present *ret)
{
	struct present p = {.fd = -1,
			    .n = n,
			    .writable = true,
			    .same_boot = true,
			    .map_len = PRESENT_HEADER_BYTES + n};
	void *map =
		mmap(NULL, p.map_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return -errno;
	p.map = map;
	if (full)
		memset(p.map + PRESENT_HEADER_BYTES, MARK_HERE, n);
	*ret = p;
	return 0;
}

void present_close(struct present *p)
{
	if (p->map)
		munmap(p->map, p->map_len);
	closep(&p->fd);
	*p = PRESENT_INIT;
}

int present_confirm_boot(struct cache *c, struct present *p, const struct layer_key *key)
{
	uint8_t header[PRESENT_HEADER_BYTES];
	int r = 0;

	if (p->fd >= 0 && p->writable && !p->same_boot) {
		header_encode(c->boot_id, key, p->n, header);
		r = seam_pwrite_full(c->seam, p->fd, header, sizeof(header), 0);
		p->same_boot = r >= 0;
	}
	return r;
}

int present_set(const struct seam *s, struct present *p, uint64_t first, const uint8_t *marks,
		uint64_t n)
{
	assert(first <= p->n && n <= p->n - first);
	if (p->fd >= 0)
		return seam_pwrite_full(s, p->fd, marks, n, PRESENT_HEADER_BYTES + first);
	for (uint64_t i = 0; i < n; i++)
		atomic_store_explicit(
			(_Atomic uint8_t *)(p->map + PRESENT_HEADER_BYTES + first + i), marks[i],
			memory_order_release);
	return 0;
}

/* ---- locks ---- */

static int lock_try(int fd, short type, off_t start, off_t len, uint64_t *ret_start)
{
	struct flock f = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};

	if (fcntl(fd, F_OFD_SETLK, &f) == 0)
		return 0;
	if (errno != EAGAIN && errno != EACCES)
		return -errno;
	if (ret_start) {
		*ret_start = (uint64_t)start;
		if (fcntl(fd, F_OFD_GETLK, &f) == 0 && f.l_type != F_UNLCK && f.l_start > start)
			*ret_start = (uint64_t)f.l_start;
	}
	return -EAGAIN;
}

int present_lock_spans(int fd, uint64_t first, uint64_t last, uint64_t *ret_first)
{
	uint64_t start;
	int r = lock_try(fd, F_WRLCK, LOCK_SPANS + (off_t)first, (off_t)(last - first + 1), &start);

	if (r == -EAGAIN && ret_first)
		*ret_first = start - LOCK_SPANS;
	return r;
}

void present_unlock_spans(int fd, uint64_t first, uint64_t last)
{
	lock_try(fd, F_UNLCK, LOCK_SPANS + (off_t)first, (off_t)(last - first + 1), NULL);
}

int present_share_use(int fd)
{
	return lock_try(fd, F_RDLCK, LOCK_USE, 1, NULL);
}

int present_share_claim(int fd)
{
	return lock_try(fd, F_RDLCK, LOCK_CLAIM, 1, NULL);
}

int present_bar_claim(int fd)
{
	return lock_try(fd, F_WRLCK, LOCK_CLAIM, 1, NULL);
}

bool present_is_used(int fd)
{
	struct flock f = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_USE, .l_len = 1};

	return fcntl(fd, F_OFD_GETLK, &f) < 0 || f.l_type != F_UNLCK;
}
