/* SPDX-License-Identifier: MIT */
#include "cache/cache_impl.h"

#include <errno.h>
#include <isa-l/crc64.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/dir.h"

#define REMOVE_DEPTH_MAX 8 /* our own trees are two deep; a planted one is left when deeper */
#define SWEEP_AGE_S 600
#define DISK_RETRY_NS (5 * NS_PER_S)
#define WARN_EVERY_NS (60 * NS_PER_S)

/* What these say of a name is that something else stands where a file of ours should. */
static int open_error(int r)
{
	switch (r) {
	case -ELOOP:
	case -ENOTDIR:
	case -EISDIR:
	case -ENXIO:
		return -EBADMSG;
	default:
		return r;
	}
}

int cache_open_file(struct cache *c, int dir_fd, const char *name, int flags)
{
	_cleanup_(closep) int fd = -1;
	struct stat st;

	fd = c->seam->openat(c->seam, dir_fd, name, flags | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd < 0)
		return open_error(fd);
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
		return -EBADMSG;
	return steal_fd(&fd);
}

int cache_open_dir(struct cache *c, int dir_fd, const char *name)
{
	_cleanup_(closep) int fd = -1;
	struct stat st;

	fd = c->seam->openat(c->seam, dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return open_error(fd);
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid() || st.st_mode & 022)
		return -EBADMSG;
	return steal_fd(&fd);
}

int cache_each_name(int dir_fd, int (*fn)(void *userdata, int dir_fd, const char *name),
		    void *userdata)
{
	_cleanup_(closedirp) DIR *d = dir_fd < 0 ? NULL : dir_open(dir_fd, ".");
	const struct dirent *e;
	int r = 0;

	if (!d)
		return dir_fd < 0 ? -EBADF : -errno;
	while (!r && (e = dir_next(d)))
		if (e->d_name[0] != '.')
			r = fn(userdata, dir_fd, e->d_name);
	return r;
}

struct removal {
	struct cache *c;
	unsigned depth;
};

static int remove_name(void *userdata, int dir_fd, const char *name)
{
	struct removal *rm = userdata;
	const struct seam *s = rm->c->seam;
	int r = s->unlinkat(s, dir_fd, name, 0), fd;

	if ((r != -EISDIR && r != -EPERM) || rm->depth >= REMOVE_DEPTH_MAX)
		return 0;
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return 0;
	rm->depth++;
	cache_each_name(fd, remove_name, rm);
	rm->depth--;
	close(fd);
	s->unlinkat(s, dir_fd, name, AT_REMOVEDIR);
	return 0;
}

void cache_remove_tree(struct cache *c, int dir_fd, const char *name)
{
	struct removal rm = {.c = c};

	remove_name(&rm, dir_fd, name);
}

static void nonce_name(const struct seam *s, char out[static 24])
{
	uint64_t nonce;

	s->random(s, &nonce, sizeof(nonce));
	snprintf(out, 24, "%016llx", (unsigned long long)nonce);
}

void cache_discard(struct cache *c, int dir_fd, const char *name)
{
	char gone[24];

	nonce_name(c->seam, gone);
	if (c->seam->renameat(c->seam, dir_fd, name, c->sub_fd[SUB_TMP], gone) >= 0)
		cache_remove_tree(c, c->sub_fd[SUB_TMP], gone);
	else
		cache_remove_tree(c, dir_fd, name);
}

static int usage_add(void *userdata, int dir_fd, const char *name)
{
	struct stat st;

	if (!fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW))
		*(uint64_t *)userdata += (uint64_t)st.st_blocks * 512;
	return 0;
}

uint64_t cache_disk_usage(int dir_fd, const char *name)
{
	_cleanup_(closep) int fd = -1;
	uint64_t sum = 0;

	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		cache_each_name(fd, usage_add, &sum);
	else
		usage_add(&sum, dir_fd, name);
	return sum;
}

int cache_write_new(struct cache *c, int dir_fd, const char *name, const void *const *parts,
		    const size_t *lens, size_t n_parts)
{
	const struct seam *s = c->seam;
	_cleanup_(closep) int fd = -1;
	uint64_t off = 0;
	int r = 0;

	fd = s->openat(s, dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	for (size_t i = 0; i < n_parts && r >= 0; i++) {
		r = seam_pwrite_full(s, fd, parts[i], lens[i], off);
		off += lens[i];
	}
	return r < 0 ? r : s->fsync(s, fd);
}

uint64_t cache_crc64(uint64_t crc, const void *data, size_t n)
{
	return crc64_ecma_refl(crc, data, n);
}

/* ---- tmp/ ---- */

/* Between mkdir and flock a cleaner may think the directory ownerless and remove it; one that has
 * no links left after it was locked is given up for another. */
int cache_tmp_new(struct cache *c, struct tmp_dir *ret)
{
	int tmp = c->sub_fd[SUB_TMP];

	for (int tries = 0; tries < 8; tries++) {
		_cleanup_(closep) int fd = -1;
		struct tmp_dir t;
		struct stat st;

		nonce_name(c->seam, t.name);
		if (mkdirat(tmp, t.name, 0700) < 0)
			return -errno;
		fd = cache_open_dir(c, tmp, t.name);
		if (fd == -ENOENT || (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0))
			continue;
		if (fd < 0)
			return fd;
		if (fstat(fd, &st) < 0)
			return -errno;
		if (!st.st_nlink)
			continue;
		t.fd = steal_fd(&fd);
		*ret = t;
		return 0;
	}
	return -EBUSY;
}

void cache_tmp_remove(struct cache *c, struct tmp_dir *t)
{
	if (t->fd < 0)
		return;
	cache_remove_tree(c, c->sub_fd[SUB_TMP], t->name);
	close(t->fd);
	t->fd = -1;
}

int cache_tmp_publish(struct cache *c, struct tmp_dir *t, int dir_fd, const char *name)
{
	const struct seam *s = c->seam;
	int r = s->fsync(s, t->fd);

	if (r >= 0)
		r = s->renameat(s, c->sub_fd[SUB_TMP], t->name, dir_fd, name);
	if (r < 0)
		return r;
	close(t->fd);
	t->fd = -1;
	return s->fsync(s, dir_fd);
}

static int tmp_clean_name(void *userdata, int dir_fd, const char *name)
{
	struct cache *c = userdata;
	_cleanup_(closep) int fd = -1;

	fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || !flock(fd, LOCK_EX | LOCK_NB))
		cache_remove_tree(c, dir_fd, name);
	return 0;
}

void cache_tmp_clean(struct cache *c)
{
	cache_each_name(c->sub_fd[SUB_TMP], tmp_clean_name, c);
}

/* seam_write_file()'s temporary names, in the directory of the file that is to be. */
static void sweep_dir(struct cache *c, int dir_fd, bool all)
{
	_cleanup_(closedirp) DIR *d = dir_open(dir_fd, ".");
	int64_t now = c->seam->realtime_s(c->seam);
	const struct dirent *e;
	struct stat st;

	while (d && (e = dir_next(d)))
		if (!strncmp(e->d_name, ".tmp-", 5) &&
		    !fstatat(dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
		    (all || now - st.st_mtime > SWEEP_AGE_S))
			cache_remove_tree(c, dir_fd, e->d_name);
}

void cache_documents_sweep(struct cache *c, bool all)
{
	sweep_dir(c, c->root_fd, all);
	sweep_dir(c, c->sub_fd[SUB_BLOBS_SHA256], all);
	sweep_dir(c, c->sub_fd[SUB_BLOBS_SHA512], all);
	sweep_dir(c, c->sub_fd[SUB_REFS], all);
}

/* ---- the disk's condition ---- */

bool cache_disk_ok(struct cache *c)
{
	uint64_t retry = atomic_load_explicit(&c->disk_retry_ns, memory_order_relaxed);

	return c->writable && (!retry || c->seam->monotonic_ns(c->seam) >= retry);
}

void cache_disk_failed(struct cache *c, int code)
{
	uint64_t now = c->seam->monotonic_ns(c->seam);
	char text[128];

	atomic_store_explicit(&c->disk_retry_ns, now + DISK_RETRY_NS, memory_order_relaxed);
	if (log_limit_pass(&c->warned, now, WARN_EVERY_NS))
		log_write(c->log, LOG_WARN,
			  "the cache %s can't keep data: %s; it is held in memory instead and lost "
			  "at the end: %s",
			  c->dir, strerror_r(-code, text, sizeof(text)),
			  code == -EFBIG ? "raise the limit on the size of files (ulimit -f)"
					 : "make room, or choose another place with --cache-dir");
}
