/* SPDX-License-Identifier: MIT */
/*
 * Small documents, what tags named, and merged images. All of them can be had again, so that one
 * which is damaged is removed and missing, and one that can't be kept is simply not kept.
 */
#include "cache/cache_impl.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "cache/ref_record.h"

/* ---- documents by digest ---- */

static int blob_dir(const struct cache *c, const struct digest *d)
{
	return c->sub_fd[d->algo == DIGEST_SHA512 ? SUB_BLOBS_SHA512 : SUB_BLOBS_SHA256];
}

/* What is there is not what should be: out of the way with it. */
static void damaged_remove(struct cache *c, int dir_fd, const char *name, const char *what)
{
	log_write(c->log, LOG_WARN, "cache %s: %s %s is damaged and was removed", c->dir, what,
		  name);
	if (c->writable)
		cache_remove_tree(c, dir_fd, name);
}

int cache_blob_get(struct cache *c, const struct digest *d, size_t max_bytes, struct buf *ret)
{
	_cleanup_(freep) char *data = NULL;
	char hex[DIGEST_TEXT_MAX];
	struct digest got;
	size_t n;
	int r;

	digest_format_hex(d, hex);
	r = seam_read_file(c->seam, blob_dir(c, d), hex, max_bytes, &data, &n);
	if (r >= 0) {
		digest_of(d->algo, data, n, &got);
		if (digest_equal(&got, d))
			return buf_append(ret, data, n);
	}
	if (r >= 0 || r == -EINVAL || r == -ELOOP || r == -E2BIG || r == -ENODATA || r == -EISDIR)
		damaged_remove(c, blob_dir(c, d), hex, "document");
	return r == -ENOMEM ? r : CACHE_MISS;
}

static int kept(struct cache *c, int r)
{
	if (r >= 0)
		return 0;
	if (r == -ENOMEM || r == -EINVAL)
		return r;
	cache_disk_failed(c, r);
	return 0;
}

int cache_blob_put(struct cache *c, const struct digest *d, const void *data, size_t n)
{
	char hex[DIGEST_TEXT_MAX];

	if (!cache_disk_ok(c))
		return 0;
	digest_format_hex(d, hex);
	return kept(c, seam_write_file(c->seam, blob_dir(c, d), hex, data, n));
}

/* ---- what tags named ---- */

static void ref_file(const char *name, char out[static DIGEST_TEXT_MAX])
{
	struct digest d;

	digest_of(DIGEST_SHA256, name, strlen(name), &d);
	digest_format_hex(&d, out);
}

int cache_ref_get(struct cache *c, const char *name, struct cache_ref *ret)
{
	_cleanup_(freep) char *text = NULL, *named = NULL;
	char file[DIGEST_TEXT_MAX];
	struct cache_ref ref;
	size_t n;
	int r;

	ref_file(name, file);
	r = seam_read_file(c->seam, c->sub_fd[SUB_REFS], file, REF_RECORD_MAX, &text, &n);
	if (r == -ENOENT || r == -EBADF)
		return CACHE_MISS;
	if (r >= 0)
		r = ref_record_parse(text, n, &named, &ref);
	if (r == -ENOMEM)
		return r;
	if (r < 0 || strcmp(named, name)) {
		damaged_remove(c, c->sub_fd[SUB_REFS], file, "reference");
		return CACHE_MISS;
	}
	*ret = ref;
	return 0;
}

int cache_ref_put(struct cache *c, const char *name, const struct cache_ref *ref)
{
	_cleanup_(buf_fini) struct buf text = BUF_INIT_MAX(REF_RECORD_MAX);
	char file[DIGEST_TEXT_MAX];
	int r = ref_record_format(name, ref, &text);

	if (r < 0 || !cache_disk_ok(c))
		return r;
	ref_file(name, file);
	return kept(c, seam_write_file(c->seam, c->sub_fd[SUB_REFS], file, text.data, text.len));
}

/* ---- images: a directory with the image and its checksum ---- */

#define IMAGE_SUM_MAX 64
#define IMAGE_SUM_FORMAT "%016llx %llu\n"

static int image_map_fd(int fd, struct image_map *ret)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!st.st_size)
		return -EBADMSG;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = (struct image_map){.bytes = p, .len = (size_t)st.st_size, .fd = fd};
	return 0;
}

void image_map_fini(struct image_map *m)
{
	if (!m->bytes)
		return;
	munmap((void *)m->bytes, m->len);
	closep(&m->fd);
	*m = (struct image_map){.fd = -1};
}

static void image_sum(const void *data, size_t n, char out[static IMAGE_SUM_MAX])
{
	snprintf(out, IMAGE_SUM_MAX, IMAGE_SUM_FORMAT, (unsigned long long)cache_crc64(0, data, n),
		 (unsigned long long)n);
}

static int image_open(struct cache *c, const char *key_hex, struct image_map *ret)
{
	_cleanup_(closep) int dir = -1;
	_cleanup_(closep) int fd = -1;
	_cleanup_(freep) char *sum = NULL;
	char want[IMAGE_SUM_MAX];
	struct image_map m;
	size_t n;
	int r;

	dir = cache_open_dir(c, c->sub_fd[SUB_IMAGES], key_hex);
	if (dir < 0)
		return dir;
	fd = cache_open_file(c, dir, "tree.erofs", O_RDONLY);
	if (fd < 0)
		return fd == -ENOENT ? -EBADMSG : fd;
	r = seam_read_file(c->seam, dir, "sum", IMAGE_SUM_MAX, &sum, &n);
	if (r >= 0)
		r = image_map_fd(fd, &m);
	if (r < 0)
		return r == -ENOENT || r == -EINVAL || r == -E2BIG || r == -ELOOP ? -EBADMSG : r;
	steal_fd(&fd);
	image_sum(m.bytes, m.len, want);
	if (strcmp(sum, want)) {
		image_map_fini(&m);
		return -EBADMSG;
	}
	futimens(dir, NULL); /* last use */
	*ret = m;
	return 0;
}

int cache_image_get(struct cache *c, const char *key_hex, struct image_map *ret)
{
	int r = cache_is_hex64(key_hex) ? image_open(c, key_hex, ret) : -ENOENT;

	if (r == -EBADMSG) {
		log_write(c->log, LOG_WARN, "cache %s: image %.16s... is damaged; it is made again",
			  c->dir, key_hex);
		if (c->writable)
			cache_discard(c, c->sub_fd[SUB_IMAGES], key_hex);
	}
	return r == -ENOMEM || r == -EMFILE || r == -ENFILE ? r : r < 0 ? CACHE_MISS : 0;
}

static int image_publish(struct cache *c, const char *key_hex, const void *data, size_t n)
{
	struct tmp_dir t = TMP_DIR_INIT;
	char sum[IMAGE_SUM_MAX];
	int r = cache_tmp_new(c, &t);

	if (r < 0)
		return r;
	image_sum(data, n, sum);
	r = cache_write_new(c, t.fd, "tree.erofs", &data, &n, 1);
	if (r >= 0)
		r = cache_write_new(c, t.fd, "sum", (const void *[]){sum}, (size_t[]){strlen(sum)},
				    1);
	if (r >= 0)
		r = cache_tmp_publish(c, &t, c->sub_fd[SUB_IMAGES], key_hex);
	if (r == -EEXIST || r == -ENOTEMPTY) {
		/* The caller had a reason to make it again. Those who map the old one keep it. */
		cache_discard(c, c->sub_fd[SUB_IMAGES], key_hex);
		r = cache_tmp_publish(c, &t, c->sub_fd[SUB_IMAGES], key_hex);
	}
	cache_tmp_remove(c, &t);
	return r;
}

static int image_in_no_file(const void *data, size_t n, struct image_map *ret)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	*ret = (struct image_map){.bytes = memcpy(p, data, n), .len = n, .fd = -1};
	mprotect(p, n, PROT_READ);
	return 0;
}

static int image_in_memory(const void *data, size_t n, struct image_map *ret)
{
	_cleanup_(closep) int fd = memfd_create("morsel-image", MFD_CLOEXEC);
	int r = fd < 0 ? -errno : seam_pwrite_full(seam_real(), fd, data, n, 0);

	if (r >= 0)
		r = image_map_fd(fd, ret);
	if (r >= 0)
		steal_fd(&fd);
	return r == -EFBIG ? image_in_no_file(data, n, ret) : r;
}

int cache_image_put(struct cache *c, const char *key_hex, const void *data, size_t n,
		    struct image_map *ret, struct error *err)
{
	int r = -EROFS;

	assert(cache_is_hex64(key_hex));
	if (cache_disk_ok(c)) {
		r = image_publish(c, key_hex, data, n);
		if (r >= 0 || r == -EEXIST || r == -ENOTEMPTY)
			r = image_open(c, key_hex, ret);
		if (!r)
			return 0;
		cache_disk_failed(c, r);
	}
	r = image_in_memory(data, n, ret);
	return r < 0 ? error_set_errno(err, r, "no memory for the merged image of %zu bytes", n)
		     : 0;
}

int cache_order_get(struct cache *c, const char *key_hex, size_t max_bytes, struct buf *ret)
{
	_cleanup_(closep) int dir = -1;
	_cleanup_(freep) char *text = NULL;
	size_t n;
	int r;

	assert(cache_is_hex64(key_hex));
	dir = cache_open_dir(c, c->sub_fd[SUB_IMAGES], key_hex);
	if (dir < 0 || seam_read_file(c->seam, dir, "order", max_bytes, &text, &n) < 0)
		return CACHE_MISS;
	r = buf_append(ret, text, n);
	return r < 0 ? r : 0;
}

int cache_order_put(struct cache *c, const char *key_hex, const void *data, size_t n)
{
	_cleanup_(closep) int dir = -1;

	assert(cache_is_hex64(key_hex));
	if (!cache_disk_ok(c))
		return 0;
	dir = cache_open_dir(c, c->sub_fd[SUB_IMAGES], key_hex);
	return dir < 0 ? 0 : kept(c, seam_write_file(c->seam, dir, "order", data, n));
}
