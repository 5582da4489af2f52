/* SPDX-License-Identifier: MIT */
/* Small documents, what tags named, merged images. */
#include "cache/cache_impl.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define REF_BYTES_MAX 2048

static void blob_path(const struct digest *d, char out[static DIGEST_TEXT_MAX + 32])
{
	char hex[DIGEST_TEXT_MAX];

	digest_format_hex(d, hex);
	snprintf(out, DIGEST_TEXT_MAX + 32, "blobs/%s/%s", digest_algo_name(d->algo), hex);
}

int cache_blob_get(struct cache *c, const struct digest *d, size_t max_bytes, struct buf *ret)
{
	_cleanup_(freep) char *data = NULL;
	char path[DIGEST_TEXT_MAX + 32];
	struct digest got;
	size_t n;
	int r;

	if (c->dir_fd < 0)
		return CACHE_MISS;
	blob_path(d, path);
	r = seam_read_file(c->seam, c->dir_fd, path, max_bytes, &data, &n);
	if (r == -ENOENT)
		return CACHE_MISS;
	if (r >= 0) {
		digest_of(d->algo, data, n, &got);
		if (digest_equal(&got, d))
			return buf_append(ret, data, n);
	}
	c->seam->unlinkat(c->seam, c->dir_fd, path, 0); /* damaged: fetched again */
	return CACHE_MISS;
}

int cache_blob_put(struct cache *c, const struct digest *d, const void *data, size_t n)
{
	char path[DIGEST_TEXT_MAX + 32];
	int r = c->dir_fd < 0 || c->read_only ? -EROFS : 0;

	blob_path(d, path);
	if (r >= 0)
		r = seam_write_file(c->seam, c->dir_fd, path, data, n);
	if (r < 0 && !c->read_only)
		cache_warn_memory(c, r, "a document");
	return r;
}

/* ---- refs: "digest seconds\nname\n" under the sha256 of the name ---- */

static void ref_path(const char *name, char out[static DIGEST_TEXT_MAX + 8])
{
	char hex[DIGEST_TEXT_MAX];
	struct digest d;

	digest_of(DIGEST_SHA256, name, strlen(name), &d);
	digest_format_hex(&d, hex);
	snprintf(out, DIGEST_TEXT_MAX + 8, "refs/%s", hex);
}

int cache_ref_get(struct cache *c, const char *name, struct cache_ref *ret)
{
	_cleanup_(freep) char *text = NULL;
	char path[DIGEST_TEXT_MAX + 8], *space, *line, *end;
	struct cache_ref ref;
	size_t n;

	if (c->dir_fd < 0)
		return CACHE_MISS;
	ref_path(name, path);
	if (seam_read_file(c->seam, c->dir_fd, path, REF_BYTES_MAX, &text, &n) < 0)
		return CACHE_MISS;
	space = strchr(text, ' ');
	line = strchr(text, '\n');
	if (!space || !line || space > line ||
	    digest_parse_n(text, (size_t)(space - text), &ref.digest, NULL) < 0)
		return CACHE_MISS;
	ref.confirmed_s = strtoll(space + 1, &end, 10);
	if (end != line || strncmp(line + 1, name, strlen(name)) || line[1 + strlen(name)] != '\n')
		return CACHE_MISS;
	*ret = ref;
	return 0;
}

int cache_ref_put(struct cache *c, const char *name, const struct cache_ref *ref)
{
	_cleanup_(buf_fini) struct buf text = BUF_INIT_MAX(REF_BYTES_MAX);
	char path[DIGEST_TEXT_MAX + 8], digest[DIGEST_TEXT_MAX];
	int r;

	if (c->dir_fd < 0 || c->read_only)
		return -EROFS;
	digest_format(&ref->digest, digest);
	r = buf_printf(&text, "%s %lld\n%s\n", digest, (long long)ref->confirmed_s, name);
	ref_path(name, path);
	if (r >= 0)
		r = seam_write_file(c->seam, c->dir_fd, path, text.data, text.len);
	if (r < 0)
		cache_warn_memory(c, r, "a reference");
	return r;
}

/* ---- images ---- */

static uint32_t crc32c(const void *data, size_t n)
{
	uint32_t crc = 0xffffffff;

	for (const uint8_t *p = data; n;) { /* the library takes an int */
		size_t take = min_u64(n, 1u << 30);

		crc = crc32_iscsi((unsigned char *)p, (int)take, crc);
		p += take;
		n -= take;
	}
	return crc;
}

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
	if (m->bytes)
		munmap((void *)m->bytes, m->len);
	closep(&m->fd);
	*m = (struct image_map){.fd = -1};
}

/* The checksum file says whether the image is as it was written. */
static bool image_is_whole(struct cache *c, int dir_fd, const struct image_map *m)
{
	_cleanup_(freep) char *text = NULL;
	char want[16];
	size_t n;

	if (seam_read_file(c->seam, dir_fd, "tree.crc32c", 64, &text, &n) < 0)
		return false;
	snprintf(want, sizeof(want), "%08x\n", crc32c(m->bytes, m->len));
	return !strcmp(text, want);
}

int cache_image_get(struct cache *c, const char *key_hex, struct image_map *ret)
{
	char path[128];
	_cleanup_(closep) int dir = -1;
	_cleanup_(closep) int fd = -1;
	struct image_map m;

	if (c->dir_fd < 0)
		return CACHE_MISS;
	snprintf(path, sizeof(path), "images/sha256/%s", key_hex);
	dir = c->seam->openat(c->seam, c->dir_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (dir < 0)
		return CACHE_MISS;
	fd = cache_open_file(c, dir, "tree.erofs", O_RDONLY);
	if (fd < 0 || image_map_fd(fd, &m) < 0)
		return CACHE_MISS;
	steal_fd(&fd);
	if (!image_is_whole(c, dir, &m)) {
		image_map_fini(&m);
		return CACHE_MISS;
	}
	*ret = m;
	return 0;
}

static int image_publish(struct cache *c, const char *key_hex, const void *data, size_t n,
			 struct image_map *ret)
{
	char path[128], crc[16];
	_cleanup_(closep) int dir = -1;
	int r, fd;

	if (c->dir_fd < 0 || c->read_only)
		return -EROFS;
	snprintf(path, sizeof(path), "images/sha256/%s", key_hex);
	if (mkdirat(c->dir_fd, path, 0700) < 0 && errno != EEXIST)
		return -errno;
	dir = c->seam->openat(c->seam, c->dir_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (dir < 0)
		return dir;
	/* The checksum first: an image without its own is as good as none. */
	snprintf(crc, sizeof(crc), "%08x\n", crc32c(data, n));
	r = seam_write_file(c->seam, dir, "tree.crc32c", crc, strlen(crc));
	if (r >= 0)
		r = seam_write_file(c->seam, dir, "tree.erofs", data, n);
	if (r < 0)
		return r;
	fd = cache_open_file(c, dir, "tree.erofs", O_RDONLY);
	if (fd < 0)
		return fd;
	r = image_map_fd(fd, ret);
	if (r < 0)
		close(fd);
	return r;
}

int cache_image_put(struct cache *c, const char *key_hex, const void *data, size_t n,
		    struct image_map *ret, struct error *err)
{
	int r = image_publish(c, key_hex, data, n, ret), fd;

	if (r >= 0)
		return 0;
	cache_warn_memory(c, r, "an image's index");
	fd = memfd_create("morsel-image", MFD_CLOEXEC);
	if (fd < 0)
		return error_set_errno(err, -errno, "no memory for the image's index");
	r = seam_pwrite_full(c->seam, fd, data, n, 0);
	if (r >= 0)
		r = image_map_fd(fd, ret);
	if (r < 0) {
		close(fd);
		return error_set_errno(err, r, "no memory for the image's index");
	}
	return 0;
}
