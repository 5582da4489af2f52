/* SPDX-License-Identifier: MIT */
/* Looking through the cache: list, verify, clear. */
#include "cache/cache_impl.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "image/layer_format.h"

#define DOCUMENT_MAX ((size_t)4 << 20)

struct walk {
	struct cache *c;
	cache_item_fn fn;
	void *userdata;
	bool verify;
	unsigned damaged;
};

typedef int (*entry_fn)(struct walk *w, int dir_fd, const char *name, const struct stat *st);

static int each_entry(struct walk *w, const char *path, entry_fn fn)
{
	int fd = openat(w->c->dir_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;
	struct stat st;

	if (!d) {
		closep(&fd);
		return errno == ENOENT ? 0 : -errno;
	}
	while (r >= 0 && (e = readdir(d)))
		if (e->d_name[0] != '.' && !fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
			r = fn(w, fd, e->d_name, &st);
	closedir(d);
	return r;
}

static int item_emit(struct walk *w, struct cache_item *it)
{
	w->damaged += !it->ok;
	return w->fn(w->userdata, it);
}

static int blob_entry(struct walk *w, int dir_fd, const char *name, const struct stat *st)
{
	struct cache_item it = {.kind = "blob",
				.bytes = (uint64_t)st->st_blocks * 512,
				.used_s = st->st_mtime,
				.ok = true};
	_cleanup_(buf_fini) struct buf data = BUF_INIT;
	struct digest d;

	snprintf(it.name, sizeof(it.name), "%s:%s", strlen(name) == 128 ? "sha512" : "sha256",
		 name);
	if (w->verify &&
	    (digest_parse(it.name, &d, NULL) < 0 || cache_blob_get(w->c, &d, DOCUMENT_MAX, &data)))
		it.ok = false;
	return item_emit(w, &it);
}

static int ref_entry(struct walk *w, int dir_fd, const char *name, const struct stat *st)
{
	struct cache_item it = {.kind = "ref",
				.bytes = (uint64_t)st->st_blocks * 512,
				.used_s = st->st_mtime,
				.ok = true};
	_cleanup_(freep) char *text = NULL;
	struct cache_ref ref;
	char *line;
	size_t n;

	snprintf(it.name, sizeof(it.name), "%s", name);
	if (seam_read_file(w->c->seam, dir_fd, name, 4096, &text, &n) >= 0 &&
	    (line = strchr(text, '\n'))) {
		line[1 + strcspn(line + 1, "\n")] = 0;
		snprintf(it.name, sizeof(it.name), "%s", line + 1);
		it.ok = !cache_ref_get(w->c, line + 1, &ref);
	} else
		it.ok = false;
	if (w->verify && !it.ok)
		w->c->seam->unlinkat(w->c->seam, dir_fd, name, 0);
	it.ok = it.ok || !w->verify;
	return item_emit(w, &it);
}

static int image_entry(struct walk *w, int dir_fd, const char *name, const struct stat *st)
{
	struct cache_item it = {.kind = "image",
				.bytes = cache_dir_usage(dir_fd, name),
				.used_s = st->st_mtime,
				.ok = true};
	struct image_map map;

	snprintf(it.name, sizeof(it.name), "%s", name);
	if (w->verify) {
		it.ok = !cache_image_get(w->c, name, &map);
		if (it.ok)
			image_map_fini(&map);
		else
			cache_remove_dir(w->c, dir_fd, name);
	}
	return item_emit(w, &it);
}

/* Every chunk that claims to be there, against its digest. */
static bool contents_verify(struct layer *l)
{
	_cleanup_(freep) uint8_t *buf = malloc(CHUNK_MAX);
	bool ok = true;

	for (uint64_t i = 0; buf && i < l->index.header.n_chunks; i++) {
		const struct layer_chunk *c = &l->index.chunks[i];
		struct digest got;

		if (!bit_get(l->bits, i))
			continue;
		if (layer_pread(l, buf, c->len, c->dev_off, 0) >= 0) {
			digest_of(DIGEST_SHA256, buf, c->len, &got);
			if (!memcmp(got.bytes, c->digest, 32))
				continue;
		}
		layer_drop_chunk(l, i);
		ok = false;
	}
	if (buf && l->data_writable) /* from now on the bits are knowledge of this boot */
		memcpy(l->present->boot_id, l->cache->boot_id, sizeof(l->present->boot_id));
	return ok;
}

static int layer_entry_walk(struct walk *w, int dir_fd, const char *name, const struct stat *st)
{
	struct cache_item it = {.kind = "layer",
				.bytes = cache_dir_usage(dir_fd, name),
				.used_s = st->st_mtime,
				.ok = true};
	const struct layer_format *format;
	_cleanup_(freep) char *blob = NULL;
	struct layer_index entries;
	struct layer_key key = {0};
	struct layer *l;
	char path[96];
	size_t n;

	snprintf(it.name, sizeof(it.name), "%s", name);
	snprintf(path, sizeof(path), "%s/blob", name);
	if (seam_read_file(w->c->seam, dir_fd, path, 200, &blob, &n) >= 0)
		snprintf(it.name, sizeof(it.name), "%.*s", (int)strcspn(blob, "\n"), blob);
	if (strlen(name) != 64)
		return 0;
	memcpy(key.hex, name, 64);
	if (layer_open(w->c, &key, &l, NULL)) { /* which removes a damaged one */
		it.ok = false;
		return item_emit(w, &it);
	}
	format = layer_format_lookup((enum layer_format_id)l->index.header.format);
	it.format = format ? format->name : "?";
	it.total_bytes = l->index.header.device_bytes;
	if (w->verify && layer_load_entries(l, UINT32_MAX, &entries, NULL) < 0) {
		it.ok = false;
		cache_remove_dir(w->c, dir_fd, name);
	} else if (w->verify)
		it.ok = contents_verify(l);
	layer_close(l);
	return item_emit(w, &it);
}

static int tmp_entry(struct walk *w, int dir_fd, const char *name, const struct stat *st)
{
	struct cache_item it = {.kind = "tmp",
				.bytes = cache_dir_usage(dir_fd, name),
				.used_s = st->st_mtime,
				.ok = true};

	snprintf(it.name, sizeof(it.name), "%s", name);
	return item_emit(w, &it);
}

static int walk_all(struct walk *w, struct error *err)
{
	static const struct {
		const char *path;
		entry_fn fn;
	} dirs[] = {{"blobs/sha256", blob_entry}, {"blobs/sha512", blob_entry},
		    {"refs", ref_entry},	  {"images/sha256", image_entry},
		    {"layers", layer_entry_walk}, {"tmp", tmp_entry}};
	int r = 0;

	if (w->c->dir_fd < 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(dirs) && r >= 0; i++)
		r = each_entry(w, dirs[i].path, dirs[i].fn);
	if (r < 0)
		return error_set_errno(err, r, "can't look through the cache %s", w->c->dir);
	return 0;
}

int cache_list(struct cache *c, cache_item_fn fn, void *userdata, struct error *err)
{
	struct walk w = {.c = c, .fn = fn, .userdata = userdata};

	return walk_all(&w, err);
}

int cache_verify(struct cache *c, cache_item_fn fn, void *userdata, struct error *err)
{
	struct walk w = {.c = c, .fn = fn, .userdata = userdata, .verify = true};
	int r = walk_all(&w, err);

	if (r >= 0 && w.damaged)
		return error_set(err, -EBADMSG, "%u items of the cache were damaged", w.damaged);
	return r;
}

/* ---- clear ---- */

static int clear_file(struct walk *w, int dir_fd, const char *name, const struct stat *st)
{
	if (S_ISDIR(st->st_mode))
		cache_remove_dir(w->c, dir_fd, name);
	else
		w->c->seam->unlinkat(w->c->seam, dir_fd, name, 0);
	return 0;
}

static int usage_add(void *userdata, const struct cache_item *it)
{
	*(uint64_t *)userdata += it->bytes;
	return 0;
}

/* What another process holds open it keeps: unlinked files live until they are closed. */
int cache_clear(struct cache *c, uint64_t *ret_freed_bytes, struct error *err)
{
	static const char *const dirs[] = {"refs", "images/sha256", "layers", "blobs/sha256",
					   "blobs/sha512"};
	struct walk w = {.c = c};
	uint64_t bytes = 0;
	int r = cache_list(c, usage_add, &bytes, err);

	if (r >= 0 && (c->dir_fd < 0 || c->read_only))
		r = error_set(err, -EROFS, "the cache %s can't be written", c->dir);
	for (size_t i = 0; i < ARRAY_SIZE(dirs) && r >= 0; i++)
		r = each_entry(&w, dirs[i], clear_file);
	if (r < 0)
		return error_set_errno(err, r, "can't clear the cache %s", c->dir);
	*ret_freed_bytes = bytes;
	return 0;
}
