/* SPDX-License-Identifier: MIT */
/*
 * The walk is a state machine over 512-byte blocks and payloads:
 *
 *   HEADER --'x' 'L' 'K'--> META (collect the payload) --> HEADER
 *     |    --'S' extended-> GNU_MAP (blocks of a sparse map) --.
 *     |    --sparse 1.0---> MAP (decimal lines) ---------------+--> DATA --> PAD --> HEADER
 *     |    --a file-------------------------------------------'
 *     |    --'g', vendor--> SKIP --> PAD --> HEADER
 *     '----two zero blocks-> END (whatever follows is ignored: it belongs to the diffID only)
 *
 * Attributes for the next entry gather in struct tar_overrides; pax wins over GNU over ustar.
 */
#include "image/tar.h"

#include <errno.h>
#include <sys/stat.h>

#define BLOCK 512u

enum state { ST_HEADER, ST_META, ST_GNU_MAP, ST_MAP, ST_DATA, ST_SKIP, ST_PAD, ST_END };

struct tar_walk {
	struct tar_callbacks cb;
	enum state state;
	uint8_t block[BLOCK];
	size_t block_len;
	uint64_t pos;  /* bytes of the stream consumed */
	uint64_t left; /* of the payload, or of META */
	uint64_t pad;
	char meta_type;
	struct buf meta;
	struct tar_overrides o;
	bool zero_seen, seen_entry;
	/* the entry under way */
	uint8_t header[BLOCK];
	uint64_t stored; /* payload bytes, without a 1.0 map */
	struct tar_extent whole;
	const struct tar_extent *extents;
	size_t n_extents, extent;
	uint64_t extent_done;
	uint64_t map_count,
		map_off; /* sparse 1.0: numbers read; the offset waiting for its length */
	uint64_t map_total;
	uint64_t dropped;
	char path[PATH_LEN_MAX + 1], link[PATH_LEN_MAX + 1];
};

int tar_number(const uint8_t *f, size_t n, int64_t *ret)
{
	uint64_t v = 0;
	size_t i = 0;

	if (f[0] & 0x80) { /* base-256, two's complement over all but the top bit */
		bool negative = f[0] & 0x40;

		v = negative ? UINT64_MAX : 0;
		for (i = 0; i < n; i++) {
			uint8_t byte = i ? f[i] : (uint8_t)((f[i] & 0x7f) | (negative ? 0x80 : 0));

			if (i + 8 < n && byte != (negative ? 0xff : 0))
				return -EBADMSG;
			v = v << 8 | byte;
		}
		if (((int64_t)v < 0) != negative)
			return -EBADMSG;
		*ret = (int64_t)v;
		return 0;
	}
	while (i < n && (f[i] == ' ' || !f[i]))
		i++;
	for (; i < n && f[i] >= '0' && f[i] <= '7'; i++) {
		if (v >> 60)
			return -EBADMSG;
		v = v * 8 + (uint64_t)(f[i] - '0');
	}
	for (; i < n; i++)
		if (f[i] != ' ' && f[i])
			return -EBADMSG;
	*ret = (int64_t)v;
	return 0;
}

static bool checksum_ok(const uint8_t *h)
{
	int64_t want, sum_u = 0, sum_s = 0;

	if (tar_number(h + 148, 8, &want) < 0)
		return false;
	for (size_t i = 0; i < BLOCK; i++) {
		uint8_t c = i >= 148 && i < 156 ? ' ' : h[i];

		sum_u += c;
		sum_s += (int8_t)c;
	}
	return want == sum_u || want == sum_s;
}

static bool is_ustar(const uint8_t *h)
{
	return !memcmp(h + 257, "ustar\0", 6);
}

static bool is_gnu(const uint8_t *h)
{
	return !memcmp(h + 257, "ustar  ", 7);
}

static size_t field_len(const uint8_t *f, size_t n)
{
	return strnlen((const char *)f, n);
}

/* The raw name of the entry: pax or GNU long name, else name, behind prefix in ustar headers. */
static int raw_name(const struct tar_walk *w, char *buf, const char **ret, size_t *ret_len)
{
	const uint8_t *h = w->header;
	size_t n = field_len(h, 100), p = 0;

	if (w->o.sparse_name.len) {
		*ret = (const char *)w->o.sparse_name.data;
		*ret_len = w->o.sparse_name.len;
		return 0;
	}
	if (w->o.path.len) {
		*ret = (const char *)w->o.path.data;
		*ret_len = w->o.path.len;
		return 0;
	}
	if (is_ustar(h))
		p = field_len(h + 345, 155);
	memcpy(buf, h + 345, p);
	if (p)
		buf[p++] = '/';
	memcpy(buf + p, h, n);
	*ret = buf;
	*ret_len = p + n;
	return 0;
}

static int number(const struct tar_walk *w, size_t off, size_t n, const char *what, int64_t *ret,
		  struct error *err)
{
	if (tar_number(w->header + off, n, ret) < 0)
		return error_set(err, -EBADMSG, "entry \"%.100s\": its %s is not a number",
				 (const char *)w->header, what);
	return 0;
}

static int attributes(struct tar_walk *w, struct layer_entry *m, struct error *err)
{
	int64_t mode, uid = 0, gid = 0, mtime = 0;
	int r = number(w, 100, 8, "mode", &mode, err);

	if (r >= 0 && !w->o.has_uid)
		r = number(w, 108, 8, "owner", &uid, err);
	if (r >= 0 && !w->o.has_gid)
		r = number(w, 116, 8, "group", &gid, err);
	if (r >= 0 && !w->o.has_mtime)
		r = number(w, 136, 12, "time", &mtime, err);
	if (r < 0)
		return r;
	if (uid < 0 || uid > UINT32_MAX || gid < 0 || gid > UINT32_MAX)
		return error_set(err, -EBADMSG, "entry \"%.100s\": its owner is out of range",
				 (const char *)w->header);
	m->mode = (uint32_t)mode & 07777;
	m->uid = w->o.has_uid ? w->o.uid : (uint32_t)uid;
	m->gid = w->o.has_gid ? w->o.gid : (uint32_t)gid;
	m->mtime_s = w->o.has_mtime ? w->o.mtime_s : mtime;
	m->mtime_ns = w->o.has_mtime ? w->o.mtime_ns : 0;
	return 0;
}

static int device(struct tar_walk *w, struct layer_entry *m, const char *path, struct error *err)
{
	int64_t major, minor;
	int r = number(w, 329, 8, "device number", &major, err);

	if (r >= 0)
		r = number(w, 337, 8, "device number", &minor, err);
	if (r < 0)
		return r;
	if (major < 0 || major > 4095 || minor < 0 || minor > 1048575)
		return error_set(err, -EBADMSG,
				 "entry \"%.120s\": device %lld:%lld is out of range", path,
				 (long long)major, (long long)minor);
	if (S_ISCHR(m->mode) && !major && !minor)
		return error_set(
			err, -EPERM,
			"entry \"%.120s\": a character device 0:0, which overlay mounts take for a "
			"whiteout; the image is refused",
			path);
	m->rdev_major = (uint32_t)major;
	m->rdev_minor = (uint32_t)minor;
	return 0;
}

/* Sets the extents and checks that they hold exactly what is stored. */
static int extents_set(struct tar_walk *w, uint64_t size, bool sparse, struct error *err)
{
	uint64_t sum = 0;

	w->extent = 0;
	w->extent_done = 0;
	if (!sparse) {
		w->whole = (struct tar_extent){0, size};
		w->extents = &w->whole;
		w->n_extents = size ? 1 : 0;
		return 0;
	}
	w->extents = (const struct tar_extent *)w->o.extents.data;
	w->n_extents = w->o.extents.len / sizeof(*w->extents);
	for (size_t i = 0; i < w->n_extents; i++) {
		sum += w->extents[i]
			       .len; /* each <= INT64_MAX, in order: the sum is at most the end */
		if (w->extents[i].off + w->extents[i].len > size)
			return error_set(err, -EBADMSG,
					 "entry \"%.120s\": its sparse map ends after the file",
					 w->path);
	}
	if (sum != w->stored)
		return error_set(
			err, -EBADMSG,
			"entry \"%.120s\": its sparse map has %llu bytes, the archive %llu",
			w->path, (unsigned long long)sum, (unsigned long long)w->stored);
	return 0;
}

static int emit(struct tar_walk *w, struct tar_entry *e, enum path_kind kind, struct error *err)
{
	int r;

	if (kind == PATH_WHITEOUT)
		e->meta = (struct layer_entry){.flags = ENTRY_WHITEOUT};
	else if (kind == PATH_OPAQUE)
		e->meta = (struct layer_entry){.flags = ENTRY_OPAQUE_MARK};
	else if (kind == PATH_PLUMBING)
		e->meta.flags |= ENTRY_HIDDEN;
	if (kind == PATH_WHITEOUT || kind == PATH_OPAQUE) {
		e->link_len = e->xattr_len = e->n_extents = 0;
		w->n_extents = 0;
	}
	e->path = w->path;
	e->extents = w->extents;
	e->n_extents = w->n_extents;
	e->stream_off = w->pos;
	r = w->cb.entry(w->cb.userdata, e);
	if (r < 0)
		return error_set_errno(err, r, "entry \"%.120s\"", w->path);
	w->seen_entry = true;
	return 0;
}

static uint32_t entry_type(const struct tar_walk *w, const char *name, size_t n)
{
	switch (w->header[156]) {
	case 0:
	case '0':
	case '7':
	case 'S':
		return w->header[156] != 'S' && n && name[n - 1] == '/' ? S_IFDIR : S_IFREG;
	case '1':
		return S_IFREG;
	case '2':
		return S_IFLNK;
	case '3':
		return S_IFCHR;
	case '4':
		return S_IFBLK;
	case '5':
		return S_IFDIR;
	case '6':
		return S_IFIFO;
	default:
		return 0;
	}
}

static int link_set(struct tar_walk *w, struct tar_entry *e, struct error *err)
{
	const char *raw =
		w->o.link.len ? (const char *)w->o.link.data : (const char *)w->header + 157;
	size_t n = w->o.link.len ? w->o.link.len : field_len(w->header + 157, 100);

	if (w->header[156] == '1') {
		e->link = w->link;
		e->meta.flags |= ENTRY_HARDLINK;
		return path_clean(raw, n, w->link, &e->link_len, err);
	}
	if (!n || n > LINK_LEN_MAX || memchr(raw, 0, n))
		return error_set(err, n > LINK_LEN_MAX ? -E2BIG : -EBADMSG,
				 "entry \"%.120s\": a symlink of %zu bytes is not possible (the "
				 "limit is %u)",
				 w->path, n, LINK_LEN_MAX);
	e->link = raw;
	e->link_len = n;
	e->meta.size = n;
	return 0;
}

/* Header, overrides and sparse map are complete: say what comes. */
static int entry_begin(struct tar_walk *w, struct error *err)
{
	struct tar_entry e = {0};
	char buf[300];
	const char *name;
	size_t n;
	uint64_t size = w->stored;
	bool sparse = w->header[156] == 'S' || w->o.has_sparse_size;
	enum path_kind kind;
	uint32_t type;
	int r;

	raw_name(w, buf, &name, &n);
	type = entry_type(w, name, n);
	r = path_clean(name, n, w->path, &e.path_len, err);
	if (r >= 0)
		r = attributes(w, &e.meta, err);
	if (r >= 0)
		r = path_classify(w->path, &e.path_len, &kind, err);
	if (r < 0)
		return r;
	e.meta.mode |= type;
	if (type == S_IFLNK || w->header[156] == '1')
		r = link_set(w, &e, err);
	else if (type == S_IFCHR || type == S_IFBLK)
		r = device(w, &e.meta, w->path, err);
	if (r < 0)
		return r;
	if (sparse && type == S_IFREG) {
		if (w->o.has_sparse_size)
			size = w->o.sparse_size;
		if (size > INT64_MAX)
			return error_set(err, -EBADMSG,
					 "entry \"%.120s\": its size is not possible", w->path);
	}
	if (type == S_IFREG && w->header[156] != '1')
		e.meta.size = size;
	if (!e.path_len && kind == PATH_PLAIN && (type != S_IFDIR || e.meta.flags & ENTRY_HARDLINK))
		return error_set(err, -EBADMSG, "the root entry is not a directory");
	r = extents_set(w, type == S_IFREG && w->header[156] != '1' ? size : 0,
			sparse && type == S_IFREG, err);
	if (r < 0)
		return r;
	e.xattrs = w->o.xattrs.data;
	e.xattr_len = w->o.xattrs.len;
	e.meta.xattr_count = w->o.n_xattrs;
	return emit(w, &e, kind, err);
}

static int entry_end(struct tar_walk *w)
{
	int r = w->cb.end_entry(w->cb.userdata);

	w->dropped += w->o.dropped_xattrs;
	w->o.dropped_xattrs = 0;
	tar_overrides_reset(&w->o);
	return r;
}

static void skip_to_pad(struct tar_walk *w)
{
	w->state = w->pad ? ST_PAD : ST_HEADER;
}

/* The payload of a file follows, or none. */
static int data_begin(struct tar_walk *w, struct error *err)
{
	int r = entry_begin(w, err);

	if (r < 0)
		return r;
	w->left = w->stored;
	w->state = ST_DATA;
	if (!w->left) {
		r = entry_end(w);
		skip_to_pad(w);
	}
	return r;
}

static int gnu_map_add(struct tar_walk *w, const uint8_t *p, size_t entries, struct error *err)
{
	for (size_t i = 0; i < entries; i++) {
		int64_t off, len;
		int r;

		if (!p[24 * i]) /* unused slots are zero */
			continue;
		if (tar_number(p + 24 * i, 12, &off) < 0 ||
		    tar_number(p + 24 * i + 12, 12, &len) < 0 || off < 0 || len < 0)
			return error_set(err, -EBADMSG, "a sparse file's map is not possible");
		r = tar_extent_add(&w->o.extents, (uint64_t)off, (uint64_t)len, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int gnu_sparse_begin(struct tar_walk *w, struct error *err)
{
	int64_t real;
	int r;

	if (tar_number(w->header + 483, 12, &real) < 0 || real < 0)
		return error_set(err, -EBADMSG, "entry \"%.100s\": its size is not possible",
				 (const char *)w->header);
	w->o.has_sparse_size = true;
	w->o.sparse_size = (uint64_t)real;
	w->o.extents.len = 0;
	r = gnu_map_add(w, w->header + 386, 4, err);
	if (r < 0)
		return r;
	if (w->header[482]) {
		w->state = ST_GNU_MAP;
		return 0;
	}
	return data_begin(w, err);
}

static int file_begin(struct tar_walk *w, struct error *err)
{
	if (w->header[156] == 'S' && is_gnu(w->header))
		return gnu_sparse_begin(w, err);
	if (w->o.sparse_1_0 && w->header[156] != '1') {
		w->o.extents.len = 0;
		w->map_count = 0;
		w->map_total = 0;
		w->meta.len = 0;
		w->left = w->stored;
		w->state = ST_MAP;
		return w->stored >= BLOCK
			       ? 0
			       : error_set(err, -EBADMSG, "a sparse file without its map");
	}
	return data_begin(w, err);
}

static int meta_begin(struct tar_walk *w, uint64_t size, char type, struct error *err)
{
	if (size > TAR_HEADERS_MAX)
		return error_set(err, -E2BIG, "an extended header of %llu bytes, the limit is %u",
				 (unsigned long long)size, TAR_HEADERS_MAX);
	w->meta_type = type;
	w->meta.len = 0;
	w->left = size;
	w->state = ST_META;
	return 0;
}

static bool block_is_zero(const uint8_t *p)
{
	for (size_t i = 0; i < BLOCK; i++)
		if (p[i])
			return false;
	return true;
}

static int header_parse(struct tar_walk *w, struct error *err)
{
	char type = (char)w->block[156];
	int64_t size;

	if (block_is_zero(w->block)) {
		w->state = w->zero_seen ? ST_END : ST_HEADER;
		w->zero_seen = true;
		return 0;
	}
	if (w->zero_seen) { /* one zero block and something after it: the end, as Go and GNU tar say
			     */
		w->state = ST_END;
		return 0;
	}
	if (!checksum_ok(w->block))
		return error_set(err, -EBADMSG,
				 "not a tar header at byte %llu: its checksum is wrong",
				 (unsigned long long)(w->pos - BLOCK));
	memcpy(w->header, w->block, BLOCK);
	if (tar_number(w->header + 124, 12, &size) < 0 || size < 0)
		return error_set(err, -EBADMSG, "entry \"%.100s\": its size is not possible",
				 (const char *)w->header);
	w->pad = -(uint64_t)size & (BLOCK - 1);
	if (type == 'x' || type == 'X' || type == 'L' || type == 'K')
		return meta_begin(w, (uint64_t)size, type, err);
	if (w->o.has_size && type != 'g')
		size = (int64_t)w->o.size;
	if (size < 0)
		return error_set(err, -EBADMSG, "entry \"%.100s\": its size is not possible",
				 (const char *)w->header);
	if (type >= '1' && type <= '6')
		size = 0;
	w->pad = -(uint64_t)size & (BLOCK - 1);
	w->stored = (uint64_t)size;
	if (type == 0 || (type >= '0' && type <= '7') || type == 'S')
		return file_begin(w, err);
	if (!strchr("gVMND", type))
		return error_set(err, -ENOTSUP, "entry \"%.100s\": type \"%c\" is not known",
				 (const char *)w->header, type);
	if (type != 'g')
		tar_overrides_reset(&w->o);
	w->left = w->stored;
	w->state = ST_SKIP;
	if (!w->left)
		skip_to_pad(w);
	return 0;
}

static int meta_apply(struct tar_walk *w, struct error *err)
{
	const char *text = (const char *)w->meta.data;
	struct buf *b;
	size_t n;

	if (w->meta_type == 'x' || w->meta_type == 'X')
		return tar_pax_parse(w->meta.data, w->meta.len, &w->o, err);
	b = w->meta_type == 'L' ? &w->o.path : &w->o.link;
	n = text ? strnlen(text, w->meta.len) : 0;
	b->len = 0;
	return buf_append(b, text, n);
}

/* Sparse 1.0: decimal lines, a count and then pairs, padded to a block, before the data. */
static int map_block(struct tar_walk *w, struct error *err)
{
	int r = buf_append(&w->meta, w->block, BLOCK);
	const char *p, *nl;

	w->left -= BLOCK;
	w->stored -= BLOCK;
	while (r >= 0 && w->meta.len && (!w->map_count || w->map_count < 1 + 2 * w->map_total)) {
		uint64_t v = 0;

		p = (const char *)w->meta.data;
		nl = memchr(p, '\n', w->meta.len);
		if (!nl && w->meta.len > 24)
			return error_set(err, -EBADMSG, "a sparse file's map is not possible");
		if (!nl)
			break;
		for (const char *q = p; q < nl; q++)
			if (*q < '0' || *q > '9' || mul_overflows(v, (uint64_t)10, &v) ||
			    add_overflows(v, (uint64_t)(*q - '0'), &v))
				return error_set(err, -EBADMSG,
						 "a sparse file's map is not possible");
		if (!w->map_count) {
			if (v > TAR_EXTENTS_MAX)
				return error_set(err, -E2BIG,
						 "a sparse file with more than %u pieces",
						 TAR_EXTENTS_MAX);
			w->map_total = v;
		} else if (w->map_count % 2)
			w->map_off = v;
		else
			r = tar_extent_add(&w->o.extents, w->map_off, v, err);
		w->map_count++;
		w->meta.len -= (size_t)(nl + 1 - p);
		memmove(w->meta.data, nl + 1, w->meta.len);
	}
	if (r < 0)
		return r;
	if (w->map_count && w->map_count == 1 + 2 * w->map_total)
		return data_begin(w, err);
	return w->left >= BLOCK ? 0 : error_set(err, -EBADMSG, "a sparse file's map never ends");
}

static int block_complete(struct tar_walk *w, struct error *err)
{
	int r;

	switch (w->state) {
	case ST_GNU_MAP:
		r = gnu_map_add(w, w->block, 21, err);
		if (r >= 0 && !w->block[504])
			r = data_begin(w, err);
		return r;
	case ST_MAP:
		return map_block(w, err);
	default:
		return header_parse(w, err);
	}
}

/* Content bytes, cut at the borders of extents. */
static int data_feed(struct tar_walk *w, const uint8_t *p, size_t n)
{
	while (n) {
		const struct tar_extent *x = &w->extents[w->extent];
		size_t take = min_u64(n, x->len - w->extent_done);
		int r = take ? w->cb.data(w->cb.userdata, x->off + w->extent_done, p, take, w->pos)
			     : 0;

		if (r < 0)
			return r;
		w->extent_done += take;
		w->pos += take;
		p += take;
		n -= take;
		if (w->extent_done == x->len) {
			w->extent++;
			w->extent_done = 0;
		}
	}
	return 0;
}

static int payload_feed(struct tar_walk *w, const uint8_t *p, size_t n, struct error *err)
{
	int r = 0;

	w->left -= n;
	if (w->state == ST_DATA && w->n_extents)
		r = data_feed(w, p, n);
	else {
		w->pos += n;
		if (w->state == ST_META)
			r = buf_append(&w->meta, p, n);
	}
	if (r < 0 || w->left)
		return r;
	if (w->state == ST_DATA)
		r = entry_end(w);
	else if (w->state == ST_META)
		r = meta_apply(w, err);
	skip_to_pad(w);
	return r;
}

int tar_walk_feed(struct tar_walk *w, const void *data, size_t n, struct error *err)
{
	const uint8_t *p = data;
	int r = 0;

	while (n && r >= 0 && w->state != ST_END) {
		size_t take;

		if (w->state == ST_PAD) {
			take = min_u64(n, w->pad);
			w->pad -= take;
			w->pos += take;
			if (!w->pad)
				w->state = ST_HEADER;
		} else if (w->state == ST_DATA || w->state == ST_SKIP || w->state == ST_META) {
			take = min_u64(n, w->left);
			r = take || w->state == ST_META ? payload_feed(w, p, take, err) : 0;
		} else {
			take = min_u64(n, BLOCK - w->block_len);
			memcpy(w->block + w->block_len, p, take);
			w->block_len += take;
			w->pos += take;
			if (w->block_len == BLOCK) {
				w->block_len = 0;
				r = block_complete(w, err);
			}
		}
		p += take;
		n -= take;
	}
	return r;
}

int tar_walk_finish(struct tar_walk *w, struct error *err)
{
	if (w->state == ST_END || (w->state == ST_HEADER && !w->block_len))
		return 0;
	if (w->state == ST_PAD) /* some writers leave the last padding out */
		return 0;
	return error_set(err, -EBADMSG,
			 "the archive is cut off at byte %llu, in or after \"%.120s\"",
			 (unsigned long long)w->pos, w->path);
}

uint64_t tar_walk_dropped_xattrs(const struct tar_walk *w)
{
	return w->dropped;
}

int tar_walk_new(const struct tar_callbacks *cb, struct tar_walk **ret)
{
	struct tar_walk *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->cb = *cb;
	*ret = w;
	return 0;
}

void tar_walk_free(struct tar_walk *w)
{
	if (!w)
		return;
	buf_fini(&w->meta);
	tar_overrides_fini(&w->o);
	free(w);
}
