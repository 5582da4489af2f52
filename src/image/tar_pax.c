/* SPDX-License-Identifier: MIT */
/* Bodies of pax extended headers: "<length> <key>=<value>\n", length counting itself. */
#include "image/tar.h"

#include <errno.h>

static void records_reset(struct tar_overrides *o)
{
	struct tar_overrides kept = *o;

	*o = (struct tar_overrides){
		.path = kept.path,
		.link = kept.link,
		.long_path = kept.long_path,
		.long_link = kept.long_link,
		.xattrs = kept.xattrs,
		.sparse_name = kept.sparse_name,
		.extents = kept.extents,
		.dropped_xattrs = kept.dropped_xattrs,
	};
	o->path.len = o->link.len = o->xattrs.len = o->sparse_name.len = o->extents.len = 0;
}

void tar_overrides_reset(struct tar_overrides *o)
{
	records_reset(o);
	o->long_path.len = o->long_link.len = 0;
}

bool tar_overrides_empty(const struct tar_overrides *o)
{
	return !o->path.len && !o->link.len && !o->long_path.len && !o->long_link.len &&
	       !o->xattrs.len && !o->has_size && !o->has_uid && !o->has_gid && !o->has_mtime &&
	       !o->has_sparse_map && !o->has_sparse_size && !o->sparse_major && !o->sparse_name.len;
}

void tar_overrides_fini(struct tar_overrides *o)
{
	buf_fini(&o->path);
	buf_fini(&o->link);
	buf_fini(&o->long_path);
	buf_fini(&o->long_link);
	buf_fini(&o->xattrs);
	buf_fini(&o->sparse_name);
	buf_fini(&o->extents);
}

int tar_extent_add(struct buf *extents, uint64_t off, uint64_t len, struct error *err)
{
	struct tar_extent e = {off, len};
	size_t n = extents->len / sizeof(e);
	uint64_t end;

	if (n >= TAR_EXTENTS_MAX)
		return error_set(err, -E2BIG, "a sparse file with more than %u pieces",
				 TAR_EXTENTS_MAX);
	if (add_overflows(off, len, &end) || end > INT64_MAX)
		return error_set(err, -EBADMSG, "a sparse file's map overflows");
	if (n) {
		const struct tar_extent *last = (const struct tar_extent *)extents->data + n - 1;

		if (off < last->off + last->len)
			return error_set(err, -EBADMSG, "a sparse file's map is not in order");
	}
	return buf_append(extents, &e, sizeof(e));
}

static int parse_u64(const char *s, size_t n, uint64_t *ret)
{
	uint64_t v = 0;

	if (!n)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++)
		if (s[i] < '0' || s[i] > '9' || mul_overflows(v, (uint64_t)10, &v) ||
		    add_overflows(v, (uint64_t)(s[i] - '0'), &v))
			return -EBADMSG;
	*ret = v;
	return 0;
}

static int parse_id(const char *s, size_t n, uint32_t *ret)
{
	uint64_t v;

	if (parse_u64(s, n, &v) < 0 || v > UINT32_MAX)
		return -EBADMSG;
	*ret = (uint32_t)v;
	return 0;
}

/* "[-]seconds[.fraction]"; a negative time with a fraction counts down: -1.5 is -2 s + 0.5 s. */
static int parse_time(const char *s, size_t n, int64_t *ret_s, uint32_t *ret_ns)
{
	bool negative = n && *s == '-';
	const char *dot;
	uint64_t sec, ns = 0, unit = 100000000;

	s += negative;
	n -= negative;
	dot = memchr(s, '.', n);
	if (parse_u64(s, dot ? (size_t)(dot - s) : n, &sec) < 0 || sec > INT64_MAX - 1)
		return -EBADMSG;
	for (const char *p = dot ? dot + 1 : s + n; p < s + n; p++, unit /= 10) {
		if (*p < '0' || *p > '9')
			return -EBADMSG;
		ns += (uint64_t)(*p - '0') * unit;
	}
	*ret_s = negative ? -(int64_t)sec - (ns ? 1 : 0) : (int64_t)sec;
	*ret_ns = (uint32_t)(negative && ns ? 1000000000 - ns : ns);
	return 0;
}

static bool starts(const char *s, size_t n, const char *prefix)
{
	return n >= strlen(prefix) && !memcmp(s, prefix, strlen(prefix));
}

/* What an index can hold and a mount may show; the rest is counted. */
static bool xattr_is_kept(const char *name, size_t n)
{
	if (starts(name, n, "trusted."))
		return !starts(name, n, "trusted.overlay.");
	return starts(name, n, "user.") || starts(name, n, "security.") ||
	       (n == 23 && starts(name, n, "system.posix_acl_access")) ||
	       (n == 24 && starts(name, n, "system.posix_acl_default"));
}

/* The last value of a name counts. */
static void xattr_drop(struct tar_overrides *o, const char *name, size_t n)
{
	uint8_t *p = o->xattrs.data, *end = p + o->xattrs.len;

	while (p < end) {
		size_t name_len = le16_get(p), record = 8 + name_len + le32_get(p + 4);

		if (name_len == n && !memcmp(p + 8, name, n)) {
			memmove(p, p + record, (size_t)(end - p) - record);
			o->xattrs.len -= record;
			o->n_xattrs--;
			return;
		}
		p += record;
	}
}

int tar_xattr_add(struct tar_overrides *o, const char *name, size_t n, const void *value,
		  size_t value_len, struct error *err)
{
	uint8_t record[8] = {0};
	int r;

	if (!n || memchr(name, 0, n) || n > 255)
		return error_set(err, -EBADMSG, "an extended attribute's name is not possible");
	if (!xattr_is_kept(name, n)) {
		o->dropped_xattrs++;
		return 0;
	}
	if (o->n_xattrs)
		xattr_drop(o, name, n);
	if (value_len > XATTR_INODE_MAX ||
	    n + value_len > XATTR_INODE_MAX - min_u64(XATTR_INODE_MAX, o->xattrs.len))
		return error_set(err, -E2BIG, "extended attributes of more than %u bytes",
				 XATTR_INODE_MAX);
	le16_put(record, (uint16_t)n);
	le32_put(record + 4, (uint32_t)value_len);
	r = buf_append(&o->xattrs, record, sizeof(record));
	if (r >= 0)
		r = buf_append(&o->xattrs, name, n);
	if (r >= 0)
		r = buf_append(&o->xattrs, value, value_len);
	o->n_xattrs++;
	return r;
}

#define IS(name) (kn == sizeof(name) - 1 && !memcmp(key, name, sizeof(name) - 1))

static int map_refuse(struct error *err)
{
	return error_set(err, -EBADMSG, "a sparse file's map is not possible");
}

/* A number and the comma after it, if any, off the front of a list. */
static int list_take(const char **v, size_t *n, uint64_t *ret)
{
	const char *comma = memchr(*v, ',', *n);
	size_t digits = comma ? (size_t)(comma - *v) : *n;
	int r = parse_u64(*v, digits, ret);

	digits += comma ? 1 : 0;
	*v += digits;
	*n -= digits;
	return r;
}

/* Sparse 0.1: "offset,bytes,offset,bytes". */
static int sparse_map(struct tar_overrides *o, const char *v, size_t n, struct error *err)
{
	o->has_sparse_map = true;
	o->extents.len = 0;
	while (n) {
		uint64_t off, len;
		int r;

		if (list_take(&v, &n, &off) < 0 || list_take(&v, &n, &len) < 0)
			return map_refuse(err);
		r = tar_extent_add(&o->extents, off, len, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Sparse 0.0: a record for each offset, and one for each length, in turn. */
static int sparse_pair(struct tar_overrides *o, bool is_offset, uint64_t v, struct error *err)
{
	if (o->sparse_pending_off == is_offset)
		return map_refuse(err);
	o->sparse_pending_off = is_offset;
	if (!is_offset)
		return tar_extent_add(&o->extents, o->sparse_off, v, err);
	o->has_sparse_map = true;
	o->sparse_off = v;
	return 0;
}

static int sparse_number(struct tar_overrides *o, const char *key, size_t kn, uint64_t v,
			 struct error *err)
{
	if (IS("offset") || IS("numbytes"))
		return sparse_pair(o, IS("offset"), v, err);
	if (IS("size") || IS("realsize")) {
		o->has_sparse_size = true;
		o->sparse_size = v;
	} else if (IS("major") || IS("minor")) {
		if (v > 1)
			return error_set(err, -ENOTSUP, "sparse format%s %llu is not known",
					 IS("minor") ? " minor" : "", (unsigned long long)v);
		*(IS("major") ? &o->sparse_major : &o->sparse_minor) = (uint8_t)v;
	}
	return 0;
}

static int sparse_record(struct tar_overrides *o, const char *key, size_t kn, const char *v,
			 size_t n, struct error *err)
{
	uint64_t number;

	if (IS("name")) {
		o->sparse_name.len = 0;
		return buf_append(&o->sparse_name, v, n);
	}
	if (IS("map"))
		return sparse_map(o, v, n, err);
	if (parse_u64(v, n, &number) < 0)
		return error_set(err, -EBADMSG, "GNU.sparse.%.*s is not a number",
				 (int)min_u64(kn, 40), key);
	return sparse_number(o, key, kn, number, err);
}

static int path_record(struct buf *b, const char *v, size_t n, struct error *err)
{
	if (memchr(v, 0, n))
		return error_set(err, -EBADMSG, "a pax path has a NUL byte");
	b->len = 0;
	return buf_append(b, v, n);
}

/* An empty value takes back what an earlier record said; also an xattr's, as Go reads it. */
static void record_drop(struct tar_overrides *o, const char *key, size_t kn)
{
	if (IS("size"))
		o->has_size = false;
	else if (IS("uid"))
		o->has_uid = false;
	else if (IS("gid"))
		o->has_gid = false;
	else if (IS("mtime"))
		o->has_mtime = false;
	else if (starts(key, kn, "SCHILY.xattr.") && o->n_xattrs)
		xattr_drop(o, key + 13, kn - 13);
}

static int record_apply(struct tar_overrides *o, const char *key, size_t kn, const char *v,
			size_t n, struct error *err)
{
	int r = 0;

	if (IS("path"))
		return path_record(&o->path, v, n, err);
	if (IS("linkpath"))
		return path_record(&o->link, v, n, err);
	if (starts(key, kn, "GNU.sparse."))
		return sparse_record(o, key + 11, kn - 11, v, n, err);
	if (!n) {
		record_drop(o, key, kn);
		return 0;
	}
	if (starts(key, kn, "SCHILY.xattr."))
		return tar_xattr_add(o, key + 13, kn - 13, v, n, err);
	if (IS("size")) {
		r = parse_u64(v, n, &o->size);
		o->has_size = true;
	} else if (IS("uid")) {
		r = parse_id(v, n, &o->uid);
		o->has_uid = true;
	} else if (IS("gid")) {
		r = parse_id(v, n, &o->gid);
		o->has_gid = true;
	} else if (IS("mtime")) {
		r = parse_time(v, n, &o->mtime_s, &o->mtime_ns);
		o->has_mtime = true;
	}
	if (r < 0)
		return error_set(err, r, "pax record %.*s: \"%.*s\" is not possible",
				 (int)min_u64(kn, 40), key, (int)min_u64(n, 40), v);
	return 0;
}

int tar_pax_parse(const void *body, size_t n, struct tar_overrides *o, struct error *err)
{
	const char *p = body;

	records_reset(o);
	while (n) {
		const char *space = memchr(p, ' ', n), *eq;
		uint64_t len;
		int r;

		if (!space || parse_u64(p, (size_t)(space - p), &len) < 0 || len > n ||
		    len < (uint64_t)(space - p) + 3 || p[len - 1] != '\n')
			return error_set(err, -EBADMSG, "a pax record's length is not possible");
		eq = memchr(space + 1, '=', len - (size_t)(space + 1 - p) - 1);
		if (!eq || eq == space + 1)
			return error_set(err, -EBADMSG, "a pax record has no key");
		r = record_apply(o, space + 1, (size_t)(eq - space - 1), eq + 1,
				 len - (size_t)(eq + 1 - p) - 1, err);
		if (r < 0)
			return r;
		p += len;
		n -= len;
	}
	return 0;
}
