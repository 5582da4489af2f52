/* SPDX-License-Identifier: MIT */
/* Looking through the cache: list, verify, clear. */
#include "cache/layer_impl.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "cache/members.h"
#include "cache/ref_record.h"
#include "image/layer_format.h"

#define DOCUMENT_MAX ((size_t)64 << 20)

struct walk {
	struct cache *c;
	cache_item_fn fn;
	cache_step_fn step; /* or NULL */
	void *userdata;
	bool verify;
	enum cache_subdir sub; /* being looked through */
	uint64_t damaged;
	uint64_t freed; /* clear */
};

static void item_stat(const struct walk *w, const char *name, struct cache_item *it)
{
	int dir_fd = w->c->sub_fd[w->sub];
	struct stat st;

	it->bytes = cache_disk_usage(dir_fd, name);
	if (!fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW))
		it->used_s = st.st_mtime;
}

/* Another piece of an item was looked at. */
static int item_step(struct walk *w, uint64_t bytes)
{
	return w->step ? w->step(w->userdata, bytes) : 0;
}

static int item_emit(struct walk *w, const struct cache_item *it)
{
	w->damaged += !it->ok;
	return w->fn(w->userdata, it);
}

/* ---- documents, references, images ---- */

static int blob_item(struct walk *w, const char *name)
{
	struct cache_item it = {.kind = "blob", .ok = true};
	_cleanup_(buf_fini) struct buf data = BUF_INIT;
	struct digest d;

	snprintf(it.name, sizeof(it.name), "sha%s:%s", w->sub == SUB_BLOBS_SHA512 ? "512" : "256",
		 name);
	item_stat(w, name, &it);
	if (w->verify) {
		if (digest_parse(it.name, &d, NULL) < 0) {
			it.ok = false;
			cache_remove_tree(w->c, w->c->sub_fd[w->sub], name);
		} else
			it.ok = cache_blob_get(w->c, &d, DOCUMENT_MAX, &data) == 0;
	}
	return item_emit(w, &it);
}

static int ref_item(struct walk *w, const char *name)
{
	struct cache_item it = {.kind = "ref", .ok = true};
	_cleanup_(freep) char *text = NULL, *named = NULL;
	struct cache_ref ref;
	size_t n;

	snprintf(it.name, sizeof(it.name), "%s", name);
	item_stat(w, name, &it);
	if (seam_read_file(w->c->seam, w->c->sub_fd[SUB_REFS], name, REF_RECORD_MAX, &text, &n) >=
		    0 &&
	    ref_record_parse(text, n, &named, &ref) >= 0)
		snprintf(it.name, sizeof(it.name), "%s", named);
	if (w->verify && (!named || cache_ref_get(w->c, named, &ref))) {
		it.ok = false;
		cache_remove_tree(w->c, w->c->sub_fd[SUB_REFS], name);
	}
	return item_emit(w, &it);
}

static int image_item(struct walk *w, const char *name)
{
	struct cache_item it = {.kind = "image", .ok = true};
	struct image_map map;

	snprintf(it.name, sizeof(it.name), "%s", name);
	item_stat(w, name, &it);
	if (w->verify) {
		it.ok = cache_image_get(w->c, name, &map) == 0;
		if (it.ok)
			image_map_fini(&map);
		else
			cache_remove_tree(w->c, w->c->sub_fd[SUB_IMAGES], name);
	}
	return item_emit(w, &it);
}

static int members_item(struct walk *w, const char *name)
{
	struct cache_item it = {.kind = "members", .ok = true};
	int r;

	snprintf(it.name, sizeof(it.name), "%s", name);
	item_stat(w, name, &it);
	r = w->verify ? members_verify(w->c, name, w->step, w->userdata) : 0;
	if (r == -ECANCELED)
		return r;
	if (r == -EBADMSG) {
		it.ok = false;
		cache_remove_tree(w->c, w->c->sub_fd[SUB_MEMBERS], name);
	}
	return item_emit(w, &it);
}

static int tmp_item(struct walk *w, const char *name)
{
	struct cache_item it = {.kind = "tmp", .ok = true};

	snprintf(it.name, sizeof(it.name), "%s", name);
	item_stat(w, name, &it);
	return item_emit(w, &it);
}

/* ---- layers ---- */

/* Every chunk that claims to be here; damaged ones are withdrawn. < 0: the walk ends. */
static int contents_verify(struct walk *w, struct layer *l, bool *ret_ok)
{
	*ret_ok = true;
	for (uint64_t i = 0; i < l->index.header.n_chunks; i++) {
		bool here = present_get(&l->present, i) & MARK_HERE;
		int r;

		*ret_ok &= layer_verify(l, i, 0) != -EBADMSG;
		r = item_step(w, here ? l->index.chunks[i].len : 0);
		if (r < 0)
			return r;
	}
	if (*ret_ok) /* from now on the marks are knowledge of this boot */
		present_confirm_boot(l->cache, &l->present, &l->meta.key);
	return 0;
}

static int layer_judge(struct walk *w, struct layer *l, bool *ret_ok)
{
	struct layer_index entries;

	*ret_ok = layer_load_entries(l, UINT64_MAX, &entries, NULL) >= 0 &&
		  layer_windows_check(l) >= 0;
	if (*ret_ok)
		return contents_verify(w, l, ret_ok);
	cache_discard(w->c, w->c->sub_fd[SUB_LAYERS], l->meta.key.hex);
	return 0;
}

static int layer_item(struct walk *w, const char *name)
{
	struct cache_item it = {.kind = "layer", .ok = true};
	_cleanup_(layer_closep) struct layer *l = NULL;
	const struct layer_format *format;
	struct layer_key key;
	struct stat st;
	int r = -EBADMSG;

	snprintf(it.name, sizeof(it.name), "%s", name);
	item_stat(w, name, &it);
	if (cache_is_hex64(name)) {
		memcpy(key.hex, name, sizeof(key.hex));
		r = layer_peek(w->c, &key, &l);
	}
	if (r >= 0) {
		digest_format(&l->meta.blob, it.name);
		format = layer_format_lookup((enum layer_format_id)l->index.header.format);
		it.format = format ? format->name : "unknown";
		it.total_bytes = l->index.header.device_bytes;
		if (l->present.fd >= 0 && !fstat(l->present.fd, &st))
			it.used_s = st.st_mtime;
	}
	if (w->verify && r == -EBADMSG)
		cache_discard(w->c, w->c->sub_fd[SUB_LAYERS], name);
	if (w->verify) {
		it.ok = r != -EBADMSG;
		r = r < 0 ? 0 : layer_judge(w, l, &it.ok);
		if (r < 0)
			return r;
	}
	return item_emit(w, &it);
}

/* ---- the walk ---- */

static int walk_name(void *userdata, int dir_fd, const char *name)
{
	static int (*const items[SUB_COUNT])(struct walk * w, const char *name) = {
		[SUB_BLOBS_SHA256] = blob_item, [SUB_BLOBS_SHA512] = blob_item,
		[SUB_LAYERS] = layer_item,	[SUB_IMAGES] = image_item,
		[SUB_REFS] = ref_item,		[SUB_MEMBERS] = members_item,
		[SUB_TMP] = tmp_item,
	};
	struct walk *w = userdata;

	return items[w->sub](w, name);
}

static int walk_all(struct walk *w, struct error *err)
{
	for (w->sub = 0; w->sub < SUB_COUNT; w->sub++) {
		int r = 0;

		if (w->c->sub_fd[w->sub] >= 0)
			r = cache_each_name(w->c->sub_fd[w->sub], walk_name, w);
		if (r == -ECANCELED)
			return error_set(err, r, "interrupted");
		if (r < 0)
			return error_set_errno(err, r, "can't look through %s of the cache %s",
					       cache_subdir_names[w->sub], w->c->dir);
	}
	return 0;
}

int cache_list(struct cache *c, cache_item_fn fn, void *userdata, struct error *err)
{
	struct walk w = {.c = c, .fn = fn, .userdata = userdata};

	return walk_all(&w, err);
}

int cache_verify(struct cache *c, cache_item_fn fn, cache_step_fn step, void *userdata,
		 struct error *err)
{
	struct walk w = {.c = c, .fn = fn, .step = step, .userdata = userdata, .verify = true};
	int r;

	if (!c->writable)
		return error_set(err, -EROFS,
				 "cache %s can't be written, so that nothing damaged could be "
				 "removed",
				 c->dir);
	cache_documents_sweep(c, false);
	r = walk_all(&w, err);
	if (r >= 0 && w.damaged)
		return error_set(err, -EBADMSG,
				 "cache %s: %llu items were damaged and have been removed; they "
				 "are fetched again when needed",
				 c->dir, (unsigned long long)w.damaged);
	return r;
}

/* ---- clear ---- */

/* Open elsewhere: then it stays, since its users would have to fetch everything again. */
static bool layer_in_use(struct cache *c, const char *name)
{
	_cleanup_(closep) int dir = cache_open_dir(c, c->sub_fd[SUB_LAYERS], name);
	_cleanup_(closep) int fd = -1;

	if (dir >= 0)
		fd = cache_open_file(c, dir, "present", O_RDWR);
	return fd >= 0 && present_is_used(fd);
}

static int clear_name(void *userdata, int dir_fd, const char *name)
{
	struct walk *w = userdata;

	if (cache_cancelled(w->c))
		return -ECANCELED;
	if (w->sub == SUB_LAYERS && layer_in_use(w->c, name))
		return 0;
	w->freed += cache_disk_usage(dir_fd, name);
	cache_discard(w->c, dir_fd, name);
	return 0;
}

int cache_clear(struct cache *c, uint64_t *ret_freed_bytes, struct error *err)
{
	struct walk w = {.c = c};
	int r = c->writable ? 0 : -EROFS;

	for (w.sub = 0; w.sub < SUB_COUNT && r >= 0; w.sub++)
		if (w.sub != SUB_TMP)
			r = cache_each_name(c->sub_fd[w.sub], clear_name, &w);
	if (r >= 0) {
		cache_tmp_clean(c);
		cache_documents_sweep(c, true);
		r = cache_version_write(c);
	}
	if (r == -ECANCELED)
		return error_set(err, r, "interrupted");
	if (r < 0)
		return error_set_errno(err, r, "can't clear the cache %s", c->dir);
	*ret_freed_bytes = w.freed;
	return 0;
}
