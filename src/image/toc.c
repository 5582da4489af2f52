/* SPDX-License-Identifier: MIT */
/*
 * yajl calls back for every token. Where in the document that is, depth and in_entries say: 1 is
 * the document, 2 the array "entries", 3 one of its entries, 4 the extended attributes of that.
 * Values fill in one struct toc_entry, used again for each, which the end of an entry hands over.
 * Unknown members are walked over at any depth; a member that we know, twice or of another type, is
 * an error, since other readers might take the other one.
 */
#include "image/toc.h"

#include <errno.h>
#include <yajl/yajl_parse.h>

#include "base/base64.h"
#include "base/json.h"
#include "image/rfc3339.h"

#define INT_MAX_JSON (UINT64_C(1) << 53)
#define STRING_MAX (256u << 10) /* one string: an xattr of 64 KiB in base64, and more */

enum key {
	KEY_OTHER,
	KEY_NAME,
	KEY_TYPE,
	KEY_LINK,
	KEY_SIZE,
	KEY_MODTIME,
	KEY_MODE,
	KEY_UID,
	KEY_GID,
	KEY_OFFSET,
	KEY_INNER_OFFSET,
	KEY_DEV_MAJOR,
	KEY_DEV_MINOR,
	KEY_XATTRS,
	KEY_DIGEST,
	KEY_CHUNK_OFFSET,
	KEY_CHUNK_SIZE,
	KEY_CHUNK_DIGEST,
	KEY_CHUNK_TYPE,
	KEY_END_OFFSET,
};

static const char *const key_names[] = {
	[KEY_NAME] = "name",
	[KEY_TYPE] = "type",
	[KEY_LINK] = "linkName",
	[KEY_SIZE] = "size",
	[KEY_MODTIME] = "modtime",
	[KEY_MODE] = "mode",
	[KEY_UID] = "uid",
	[KEY_GID] = "gid",
	[KEY_OFFSET] = "offset",
	[KEY_INNER_OFFSET] = "innerOffset",
	[KEY_DEV_MAJOR] = "devMajor",
	[KEY_DEV_MINOR] = "devMinor",
	[KEY_XATTRS] = "xattrs",
	[KEY_DIGEST] = "digest",
	[KEY_CHUNK_OFFSET] = "chunkOffset",
	[KEY_CHUNK_SIZE] = "chunkSize",
	[KEY_CHUNK_DIGEST] = "chunkDigest",
	[KEY_CHUNK_TYPE] = "chunkType",
	[KEY_END_OFFSET] = "endOffset",
};

struct toc_reader {
	yajl_handle yajl;
	int (*entry)(void *userdata, const struct toc_entry *e, struct error *err);
	void *userdata;
	struct toc_entry e;
	struct buf xattr_name, xattr_value;
	unsigned depth;
	bool in_entries, saw_entries; /* inside the top-level "entries" array */
	enum key key;
	uint32_t keys_seen; /* of this entry: bits of enum key */
	int result;
	struct error *err;
};

/* yajl stops when a callback returns 0; what went wrong is kept here. */
static int stop(struct toc_reader *t, int code, const char *what)
{
	t->result = code;
	error_set(t->err, code, "the table of contents: %s (entry \"%.*s\")", what,
		  (int)min_u64(t->e.name.len, 120), t->e.name.len ? (char *)t->e.name.data : "");
	return 0;
}

/* 1 the document, 2 "entries", 3 an entry, 4 its xattrs */
static bool in_entry(const struct toc_reader *t)
{
	return t->in_entries && t->depth == 3;
}

static void entry_reset(struct toc_reader *t)
{
	struct toc_entry kept = t->e;

	t->e = (struct toc_entry){.name = kept.name,
				  .link = kept.link,
				  .type = kept.type,
				  .chunk_type = kept.chunk_type,
				  .attributes = kept.attributes};
	t->e.name.len = t->e.link.len = t->e.type.len = t->e.chunk_type.len = 0;
	tar_overrides_reset(&t->e.attributes);
	t->e.attributes.dropped_xattrs = 0;
	t->keys_seen = 0;
}

static int deeper(struct toc_reader *t)
{
	return ++t->depth <= JSON_DEPTH_MAX ? 1 : stop(t, -E2BIG, "nested too deeply");
}

static int on_start_map(void *ctx)
{
	struct toc_reader *t = ctx;

	if (t->in_entries && t->depth == 1)
		return stop(t, -EBADMSG, "\"entries\" is not an array");
	if (t->in_entries && t->depth == 2)
		entry_reset(t);
	else if (in_entry(t) && t->key != KEY_XATTRS && t->key != KEY_OTHER)
		return stop(t, -EBADMSG, "an object where a value is expected");
	return deeper(t);
}

static int on_end_map(void *ctx)
{
	struct toc_reader *t = ctx;
	int r;

	if (in_entry(t)) {
		r = t->entry(t->userdata, &t->e, t->err);
		if (r < 0)
			return stop(t, r, "refused");
	}
	t->depth--;
	return 1;
}

static int on_start_array(void *ctx)
{
	struct toc_reader *t = ctx;

	if (t->in_entries && (t->depth == 2 || (in_entry(t) && t->key != KEY_OTHER)))
		return stop(t, -EBADMSG, "an array where a value is expected");
	return deeper(t);
}

static int on_end_array(void *ctx)
{
	struct toc_reader *t = ctx;

	t->depth--;
	if (t->depth == 1)
		t->in_entries = false;
	return 1;
}

static int on_map_key(void *ctx, const unsigned char *key, size_t n)
{
	struct toc_reader *t = ctx;

	if (t->depth == 1) {
		bool is_entries = n == 7 && !memcmp(key, "entries", 7);

		if (is_entries && t->saw_entries)
			return stop(t, -EBADMSG, "\"entries\" stands there twice");
		t->in_entries = is_entries;
		t->saw_entries = t->saw_entries || is_entries;
	} else if (in_entry(t)) {
		t->key = KEY_OTHER;
		for (unsigned i = 1; i < ARRAY_SIZE(key_names); i++)
			if (strlen(key_names[i]) == n && !memcmp(key_names[i], key, n))
				t->key = (enum key)i;
		if (t->key && t->keys_seen & 1u << t->key)
			return stop(t, -EBADMSG, "a member stands there twice");
		t->keys_seen |= 1u << t->key;
	} else if (t->in_entries && t->depth == 4 && t->key == KEY_XATTRS) {
		t->xattr_name.len = 0;
		if (buf_append(&t->xattr_name, key, n) < 0)
			return stop(t, -ENOMEM, "no memory");
	}
	return 1;
}

static int name_set(struct toc_reader *t, struct buf *b, const unsigned char *s, size_t n)
{
	if (memmem(s, n, "\xef\xbf\xbd", 3))
		return stop(t, -EILSEQ, "a name was not UTF-8 and is lost");
	b->len = 0;
	return buf_append(b, s, n) < 0 ? stop(t, -ENOMEM, "no memory") : 1;
}

static int digest_set(struct toc_reader *t, struct digest *d, const unsigned char *s, size_t n)
{
	if (!n)
		return 1;
	if (digest_parse_n((const char *)s, n, d, NULL) < 0 || d->algo != DIGEST_SHA256)
		return stop(t, -EBADMSG, "a digest that is not a sha256");
	return 1;
}

static int xattr_set(struct toc_reader *t, const unsigned char *s, size_t n)
{
	int r;

	t->xattr_value.len = 0;
	r = base64_decode((const char *)s, n, &t->xattr_value);
	if (r >= 0)
		r = tar_xattr_add(&t->e.attributes, (const char *)t->xattr_name.data,
				  t->xattr_name.len, t->xattr_value.data, t->xattr_value.len,
				  t->err);
	return r < 0 ? stop(t, r, "an extended attribute is not possible") : 1;
}

static int on_string(void *ctx, const unsigned char *s, size_t n)
{
	struct toc_reader *t = ctx;

	if (n > STRING_MAX)
		return stop(t, -E2BIG, "a string that is too long");
	if (t->in_entries && t->depth == 4 && t->key == KEY_XATTRS)
		return xattr_set(t, s, n);
	if (!in_entry(t))
		return 1;
	switch (t->key) {
	case KEY_NAME:
		return name_set(t, &t->e.name, s, n);
	case KEY_LINK:
		return name_set(t, &t->e.link, s, n);
	case KEY_TYPE:
		return name_set(t, &t->e.type, s, n);
	case KEY_CHUNK_TYPE:
		return name_set(t, &t->e.chunk_type, s, n);
	case KEY_DIGEST:
		return digest_set(t, &t->e.digest, s, n);
	case KEY_CHUNK_DIGEST:
		return digest_set(t, &t->e.chunk_digest, s, n);
	case KEY_MODTIME:
		if (n && rfc3339_parse((const char *)s, n, &t->e.mtime_s, &t->e.mtime_ns) < 0)
			return stop(t, -EBADMSG, "a time that is not possible");
		return 1;
	case KEY_OTHER:
		return 1;
	default:
		return stop(t, -EBADMSG, "a string where a number is expected");
	}
}

static int number_set32(struct toc_reader *t, uint64_t v, uint32_t *ret)
{
	if (v > UINT32_MAX)
		return stop(t, -EBADMSG, "a number that is too big");
	*ret = (uint32_t)v;
	return 1;
}

static int on_number(void *ctx, const char *s, size_t n)
{
	struct toc_reader *t = ctx;
	uint64_t v = 0;

	if (!in_entry(t) || t->key == KEY_OTHER)
		return 1;
	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9' || v > INT_MAX_JSON)
			return stop(t, -EBADMSG, "a number that is not a possible count");
		v = v * 10 + (uint64_t)(s[i] - '0');
	}
	if (v > INT_MAX_JSON)
		return stop(t, -EBADMSG, "a number that is not a possible count");
	switch (t->key) {
	case KEY_SIZE:
		t->e.size = v;
		return 1;
	case KEY_OFFSET:
		t->e.offset = v;
		return 1;
	case KEY_END_OFFSET:
		t->e.end_offset = v;
		return 1;
	case KEY_INNER_OFFSET:
		t->e.inner_offset = v;
		return 1;
	case KEY_CHUNK_OFFSET:
		t->e.chunk_offset = v;
		return 1;
	case KEY_CHUNK_SIZE:
		t->e.chunk_size = v;
		return 1;
	case KEY_MODE:
		t->e.mode = (uint32_t)(v & 07777);
		return 1;
	case KEY_UID:
		return number_set32(t, v, &t->e.uid);
	case KEY_GID:
		return number_set32(t, v, &t->e.gid);
	case KEY_DEV_MAJOR:
		return number_set32(t, v, &t->e.dev_major);
	case KEY_DEV_MINOR:
		return number_set32(t, v, &t->e.dev_minor);
	default:
		return stop(t, -EBADMSG, "a number where a string is expected");
	}
}

static int on_null(void *ctx)
{
	return 1;
}

static int on_bool(void *ctx, int v)
{
	struct toc_reader *t = ctx;

	return in_entry(t) && t->key != KEY_OTHER ? stop(t, -EBADMSG, "a boolean value") : 1;
}

int toc_reader_new(int (*entry)(void *userdata, const struct toc_entry *e, struct error *err),
		   void *userdata, struct toc_reader **ret)
{
	static const yajl_callbacks callbacks = {
		.yajl_null = on_null,
		.yajl_boolean = on_bool,
		.yajl_number = on_number,
		.yajl_string = on_string,
		.yajl_start_map = on_start_map,
		.yajl_map_key = on_map_key,
		.yajl_end_map = on_end_map,
		.yajl_start_array = on_start_array,
		.yajl_end_array = on_end_array,
	};
	struct toc_reader *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->entry = entry;
	t->userdata = userdata;
	t->xattr_value.max = XATTR_INODE_MAX + 4;
	t->yajl = yajl_alloc(&callbacks, NULL, t);
	if (!t->yajl) {
		free(t);
		return -ENOMEM;
	}
	*ret = t;
	return 0;
}

static int yajl_result(struct toc_reader *t, yajl_status s, struct error *err)
{
	if (s == yajl_status_ok)
		return 0;
	if (t->result < 0)
		return t->result;
	return error_set(err, -EBADMSG, "the table of contents is not valid JSON");
}

int toc_reader_feed(struct toc_reader *t, const void *data, size_t n, struct error *err)
{
	t->err = err;
	return yajl_result(t, yajl_parse(t->yajl, data, n), err);
}

int toc_reader_finish(struct toc_reader *t, struct error *err)
{
	int r;

	t->err = err;
	r = yajl_result(t, yajl_complete_parse(t->yajl), err);
	if (r >= 0 && !t->saw_entries)
		r = error_set(err, -EBADMSG, "the table of contents has no entries");
	return r;
}

void toc_reader_free(struct toc_reader *t)
{
	if (!t)
		return;
	yajl_free(t->yajl);
	buf_fini(&t->e.name);
	buf_fini(&t->e.link);
	buf_fini(&t->e.type);
	buf_fini(&t->e.chunk_type);
	tar_overrides_fini(&t->e.attributes);
	buf_fini(&t->xattr_name);
	buf_fini(&t->xattr_value);
	free(t);
}
