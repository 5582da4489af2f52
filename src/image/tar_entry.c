/* SPDX-License-Identifier: MIT */
/* What one header says, together with the pax records and long names before it. */
#include "image/tar_impl.h"

#include <errno.h>
#include <sys/stat.h>

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

static bool is_ustar(const uint8_t *h)
{
	return !memcmp(h + 257, "ustar\0", 6);
}

static size_t field_len(const uint8_t *f, size_t n)
{
	return strnlen((const char *)f, n);
}

/* What pax records say, else a GNU header, else NULL. */
static const struct buf *long_text(const struct buf *pax, const struct buf *gnu)
{
	return pax->len ? pax : gnu->len ? gnu : NULL;
}

/* The raw name of the entry: pax or GNU long name, else name, behind prefix in ustar headers. */
static void raw_name(const struct tar_walk *w, char *buf, const char **ret, size_t *ret_len)
{
	const uint8_t *h = w->header;
	size_t n = field_len(h, 100), p = 0;
	const struct buf *text =
		w->o.sparse_name.len ? &w->o.sparse_name : long_text(&w->o.path, &w->o.long_path);

	if (text) {
		*ret = (const char *)text->data;
		*ret_len = text->len;
		return;
	}
	if (is_ustar(h))
		p = field_len(h + 345, 155);
	memcpy(buf, h + 345, p);
	if (p)
		buf[p++] = '/';
	memcpy(buf + p, h, n);
	*ret = buf;
	*ret_len = p + n;
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

/* Sparse records are a whole, or readers differ about whether this is a sparse file. */
static int sparse_check(const struct tar_walk *w, bool *ret, struct error *err)
{
	const struct tar_overrides *o = &w->o;
	bool is_pax = o->sparse_major || o->has_sparse_map;

	*ret = w->header[156] == 'S' || is_pax;
	if (o->sparse_major && o->sparse_minor)
		return error_set(err, -ENOTSUP, "sparse format 1.%u is not known", o->sparse_minor);
	if ((*ret && !o->has_sparse_size) || o->sparse_pending_off ||
	    (!*ret && o->has_sparse_size && o->sparse_size != w->stored) ||
	    (!is_pax && o->sparse_name.len))
		return error_set(err, -EBADMSG,
				 "entry \"%.100s\": what says that it is sparse is incomplete",
				 (const char *)w->header);
	return 0;
}

static int link_set(struct tar_walk *w, struct tar_entry *e, struct error *err)
{
	const char *raw = (const char *)w->header + 157;
	size_t n = field_len(w->header + 157, 100);
	const struct buf *text = long_text(&w->o.link, &w->o.long_link);

	if (text) {
		raw = (const char *)text->data;
		n = text->len;
	}
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

int tar_entry_begin(struct tar_walk *w, struct error *err)
{
	struct tar_entry e = {0};
	char buf[300];
	const char *name;
	size_t n;
	uint64_t size = w->stored;
	bool sparse;
	enum path_kind kind;
	uint32_t type;
	int r = sparse_check(w, &sparse, err);

	if (r < 0)
		return r;
	raw_name(w, buf, &name, &n);
	type = entry_type(w, name, n);
	if (type == S_IFDIR && w->stored) /* to Go a file, to GNU tar a directory */
		return error_set(err, -EBADMSG, "entry \"%.100s\": a directory with contents",
				 (const char *)w->header);
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
