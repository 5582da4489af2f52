/* SPDX-License-Identifier: MIT */
/*
 * Each function checks the place it is about to look at against the end of the image, and nothing
 * else was checked before but the superblock and the root: an image of any size opens at once.
 *
 * A directory is blocks, each with its entries' heads before their names; names are sorted over all
 * of it, so that a lookup searches for the block by the first name of each, and then within it.
 */
#include "image/erofs_read.h"

#include <errno.h>
#include <sys/stat.h>

#include "image/erofs_format.h"
#include "image/erofs_write.h"

static bool in_image(const struct erofs *fs, uint64_t off, uint64_t len)
{
	return off <= fs->len && len <= fs->len - off;
}

int erofs_open(const void *bytes, size_t len, struct erofs *ret, struct error *err)
{
	const uint8_t *sb = (const uint8_t *)bytes + EROFS_SB;
	struct erofs fs = {.bytes = bytes, .len = len};
	struct erofs_inode root;

	if (len < EROFS_BLOCK || len % EROFS_BLOCK || le32_get(sb + SB_MAGIC) != EROFS_MAGIC ||
	    sb[SB_BLKSZBITS] != EROFS_BLOCK_BITS || sb[SB_EXTSLOTS] || sb[SB_DIRBLKBITS])
		return error_set(err, -EBADMSG, "not an EROFS image of the kind morsel writes");
	if (le32_get(sb + SB_CHECKSUM) != erofs_checksum(bytes))
		return error_set(err, -EBADMSG, "the EROFS image's checksum is wrong");
	if (le32_get(sb + SB_COMPAT) != EROFS_COMPAT ||
	    le32_get(sb + SB_INCOMPAT) != EROFS_INCOMPAT)
		return error_set(err, -EBADMSG,
				 "the EROFS image has features morsel does not write");
	fs.blocks = le32_get(sb + SB_BLOCKS);
	fs.inode_count = le64_get(sb + SB_INOS);
	fs.root_nid = le16_get(sb + SB_ROOT_NID);
	fs.meta_off = (uint64_t)le32_get(sb + SB_META_BLKADDR) * EROFS_BLOCK;
	fs.n_devices = le16_get(sb + SB_EXTRA_DEVICES);
	fs.device_table_off = (uint64_t)le16_get(sb + SB_DEVT_SLOTOFF) * EROFS_DEVICE;
	fs.has_xattrs = le32_get(sb + SB_XATTR_BLKADDR) != 0;
	memcpy(fs.uuid, sb + SB_UUID, sizeof(fs.uuid));
	if (fs.blocks != len / EROFS_BLOCK ||
	    !in_image(&fs, fs.device_table_off, (uint64_t)fs.n_devices * EROFS_DEVICE))
		return error_set(err, -EBADMSG, "the EROFS image is cut off");
	if (erofs_inode_get(&fs, fs.root_nid, &root) < 0 || !S_ISDIR(root.mode))
		return error_set(err, -EBADMSG, "the EROFS image has no root directory");
	*ret = fs;
	return 0;
}

int erofs_device(const struct erofs *fs, uint32_t device, uint64_t *ret_bytes, char ret_tag[65])
{
	const uint8_t *d;

	if (device >= fs->n_devices)
		return -EBADMSG;
	d = fs->bytes + fs->device_table_off + (uint64_t)device * EROFS_DEVICE;
	*ret_bytes = (uint64_t)le32_get(d + DEV_BLOCKS) * EROFS_BLOCK;
	memcpy(ret_tag, d + DEV_TAG, 64);
	ret_tag[64] = 0;
	return 0;
}

static bool type_is_known(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return true;
	default:
		return false;
	}
}

/* Where an inode's bytes continue, by its layout. */
static int data_check(const struct erofs *fs, struct erofs_inode *ino)
{
	uint64_t tail = ino->size % EROFS_BLOCK, full = ino->size - tail;
	uint64_t block_off = (uint64_t)ino->start_block * EROFS_BLOCK;

	ino->data_pos = ino->off + EROFS_INODE + ino->xattr_bytes;
	switch (ino->layout) {
	case LAYOUT_CHUNKS: /* exactly one */
		ino->data_pos = align_up(ino->data_pos, CHUNK_INDEX);
		if (!S_ISREG(ino->mode) || !ino->size || ino->size > CHUNK_BYTES ||
		    ino->chunk_format != (CHUNK_FORMAT_INDEXES | CHUNK_BITS) ||
		    !in_image(fs, ino->data_pos, CHUNK_INDEX))
			return -EBADMSG;
		return 0;
	case LAYOUT_INLINE:
		if (S_ISREG(ino->mode) || !tail || !in_image(fs, ino->data_pos, tail) ||
		    ino->data_pos / EROFS_BLOCK != (ino->data_pos + tail - 1) / EROFS_BLOCK)
			return -EBADMSG;
		return full && !in_image(fs, block_off, full) ? -EBADMSG : 0;
	case LAYOUT_PLAIN:
		if (S_ISREG(ino->mode) && ino->size)
			return -EBADMSG;
		return ino->size && !in_image(fs, block_off, ino->size) ? -EBADMSG : 0;
	default:
		return -EBADMSG;
	}
}

int erofs_inode_get(const struct erofs *fs, uint64_t nid, struct erofs_inode *ret)
{
	struct erofs_inode ino = {.nid = nid};
	const uint8_t *o;
	uint16_t format, icount;
	uint32_t u;
	int r;

	if (nid > fs->len / EROFS_SLOT ||
	    !in_image(fs, fs->meta_off + nid * EROFS_SLOT, EROFS_INODE))
		return -EBADMSG;
	ino.off = fs->meta_off + nid * EROFS_SLOT;
	o = fs->bytes + ino.off;
	format = le16_get(o + INO_FORMAT);
	icount = le16_get(o + INO_XATTR_ICOUNT);
	u = le32_get(o + INO_U);
	ino.layout = format >> 1 & 7;
	ino.mode = le16_get(o + INO_MODE);
	ino.size = le64_get(o + INO_SIZE);
	ino.uid = le32_get(o + INO_UID);
	ino.gid = le32_get(o + INO_GID);
	ino.mtime_s = (int64_t)le64_get(o + INO_MTIME);
	ino.mtime_ns = le32_get(o + INO_MTIME_NS);
	ino.nlink = le32_get(o + INO_NLINK);
	ino.xattr_bytes = icount ? XATTR_HEADER + 4u * (icount - 1u) : 0;
	if ((format & ~0xeu) != EROFS_EXTENDED || !type_is_known(ino.mode) ||
	    ino.mtime_ns >= 1000000000 || !in_image(fs, ino.off + EROFS_INODE, ino.xattr_bytes))
		return -EBADMSG;
	if (S_ISCHR(ino.mode) || S_ISBLK(ino.mode)) {
		ino.rdev_major = u >> 8 & 0xfff;
		ino.rdev_minor = (u & 0xff) | (u >> 12 & 0xfff00);
	} else if (ino.layout == LAYOUT_CHUNKS)
		ino.chunk_format = (uint16_t)u;
	else
		ino.start_block = u;
	if (S_ISCHR(ino.mode) || S_ISBLK(ino.mode) || S_ISFIFO(ino.mode) || S_ISSOCK(ino.mode))
		ino.size = 0;
	r = data_check(fs, &ino);
	if (r >= 0)
		*ret = ino;
	return r;
}

/* ---- directories ---- */

struct dir_block {
	const uint8_t *p;
	uint32_t len, count;
};

/* Block b of a directory, its first name offset checked. */
static int block_get(const struct erofs *fs, const struct erofs_inode *dir, uint64_t b,
		     struct dir_block *ret)
{
	uint64_t left = dir->size - b * EROFS_BLOCK;
	struct dir_block d = {.len = (uint32_t)min_u64(left, EROFS_BLOCK)};
	uint16_t first;

	if (d.len < EROFS_BLOCK && dir->layout == LAYOUT_INLINE)
		d.p = fs->bytes + dir->data_pos;
	else
		d.p = fs->bytes + ((uint64_t)dir->start_block + b) * EROFS_BLOCK;
	if (d.len < EROFS_DIRENT)
		return -EBADMSG;
	first = le16_get(d.p + 8);
	if (first < EROFS_DIRENT || first % EROFS_DIRENT || first >= d.len)
		return -EBADMSG;
	d.count = first / EROFS_DIRENT;
	*ret = d;
	return 0;
}

static int block_entry(const struct dir_block *d, uint32_t i, struct erofs_dirent *ret)
{
	const uint8_t *e = d->p + i * EROFS_DIRENT;
	uint32_t off = le16_get(e + 8), end = d->len;

	if (i + 1 < d->count)
		end = le16_get(e + EROFS_DIRENT + 8);
	if (off < d->count * EROFS_DIRENT || end > d->len || off >= end)
		return -EBADMSG;
	ret->name = (const char *)d->p + off;
	ret->name_len = (uint32_t)strnlen(ret->name, end - off);
	if (!ret->name_len || ret->name_len > 255 || memchr(ret->name, '/', ret->name_len) ||
	    (i + 1 < d->count && ret->name_len != end - off))
		return -EBADMSG;
	ret->nid = le64_get(e);
	ret->type = e[10];
	return 0;
}

static int name_cmp(const char *a, size_t an, const struct erofs_dirent *e)
{
	int r = memcmp(a, e->name, min_u64(an, e->name_len));

	return r ? r : (an > e->name_len) - (an < e->name_len);
}

static uint64_t block_total(const struct erofs_inode *dir)
{
	return (dir->size + EROFS_BLOCK - 1) / EROFS_BLOCK;
}

/* The last block whose first name is not after the one looked for. */
static int block_find(const struct erofs *fs, const struct erofs_inode *dir, const char *name,
		      size_t n, struct dir_block *ret)
{
	uint64_t lo = 0, hi = block_total(dir);
	struct erofs_dirent e;

	while (hi - lo > 1) {
		uint64_t mid = lo + (hi - lo) / 2;
		struct dir_block d;
		int r = block_get(fs, dir, mid, &d);

		if (r >= 0)
			r = block_entry(&d, 0, &e);
		if (r < 0)
			return r;
		if (name_cmp(name, n, &e) < 0)
			hi = mid;
		else
			lo = mid;
	}
	return block_get(fs, dir, lo, ret);
}

int erofs_lookup(const struct erofs *fs, const struct erofs_inode *dir, const char *name, size_t n,
		 uint64_t *ret_nid)
{
	struct dir_block d;
	uint32_t lo = 0, hi;
	int r;

	if (!S_ISDIR(dir->mode))
		return -ENOTDIR;
	if (!dir->size || n > 255)
		return EROFS_NO_ENTRY;
	r = block_find(fs, dir, name, n, &d);
	if (r < 0)
		return r;
	for (hi = d.count; lo < hi;) {
		uint32_t mid = lo + (hi - lo) / 2;
		struct erofs_dirent e;
		int c;

		r = block_entry(&d, mid, &e);
		if (r < 0)
			return r;
		c = name_cmp(name, n, &e);
		if (!c) {
			*ret_nid = e.nid;
			return 0;
		}
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return EROFS_NO_ENTRY;
}

/* A cookie is the place of the next entry: block times block size, plus its index in the block. */
int erofs_readdir(const struct erofs *fs, const struct erofs_inode *dir, uint64_t cookie,
		  struct erofs_dirent *ret)
{
	uint64_t b = cookie / EROFS_BLOCK;
	uint32_t i = (uint32_t)(cookie % EROFS_BLOCK);
	struct dir_block d;
	int r;

	if (!S_ISDIR(dir->mode))
		return -ENOTDIR;
	if (b >= block_total(dir))
		return EROFS_END;
	r = block_get(fs, dir, b, &d);
	if (r < 0)
		return r;
	if (i >= d.count)
		return -EBADMSG;
	r = block_entry(&d, i, ret);
	if (r < 0)
		return r;
	ret->next = i + 1 < d.count ? cookie + 1 : (b + 1) * EROFS_BLOCK;
	return 0;
}

/* ---- symlinks, files ---- */

int erofs_readlink(const struct erofs *fs, const struct erofs_inode *ino, char *buf,
		   size_t *ret_len)
{
	const uint8_t *p = fs->bytes + (ino->layout == LAYOUT_INLINE
						? ino->data_pos
						: (uint64_t)ino->start_block * EROFS_BLOCK);

	if (!S_ISLNK(ino->mode))
		return -EINVAL;
	if (!ino->size || ino->size >= EROFS_BLOCK || memchr(p, 0, ino->size))
		return -EBADMSG;
	memcpy(buf, p, ino->size);
	*ret_len = ino->size;
	return 0;
}

int erofs_map(const struct erofs *fs, const struct erofs_inode *ino, uint64_t off, uint64_t len,
	      uint32_t *ret_device, uint64_t *ret_dev_off, uint64_t *ret_len)
{
	const uint8_t *index = fs->bytes + ino->data_pos;
	uint64_t device_bytes, start;
	uint32_t device;
	char tag[65];

	if (ino->layout != LAYOUT_CHUNKS || off >= ino->size)
		return -EBADMSG;
	*ret_len = min_u64(len, ino->size - off);
	if (le32_get(index + 4) == EROFS_NO_BLOCK)
		return EROFS_HOLE;
	device = le16_get(index + 2);
	start = (uint64_t)le32_get(index + 4) * EROFS_BLOCK;
	if (erofs_device(fs, device - 1, &device_bytes, tag) < 0 || start > device_bytes ||
	    ino->size > device_bytes - start)
		return -EBADMSG;
	*ret_device = device - 1;
	*ret_dev_off = start + off;
	return 0;
}

/* ---- xattrs ---- */

struct xattr_view {
	const struct erofs_prefix *prefix;
	const uint8_t *suffix, *value;
	uint32_t suffix_len, value_len;
};

/* *pos starts at 0. 0, EROFS_END, -EBADMSG. */
static int xattr_next(const struct erofs *fs, const struct erofs_inode *ino, uint32_t *pos,
		      struct xattr_view *ret)
{
	const uint8_t *body = fs->bytes + ino->off + EROFS_INODE;
	uint32_t at = *pos ? *pos : XATTR_HEADER, bytes;

	if (!ino->xattr_bytes || at >= ino->xattr_bytes)
		return EROFS_END;
	if (body[4] || ino->xattr_bytes - at < XATTR_ENTRY) /* shared ones are not written */
		return -EBADMSG;
	*ret = (struct xattr_view){.suffix = body + at + XATTR_ENTRY,
				   .suffix_len = body[at],
				   .value_len = le16_get(body + at + 2)};
	ret->value = ret->suffix + ret->suffix_len;
	bytes = (uint32_t)align_up(XATTR_ENTRY + ret->suffix_len + ret->value_len, 4);
	if (bytes > ino->xattr_bytes - at)
		return -EBADMSG;
	for (size_t i = 0; i < ARRAY_SIZE(erofs_prefixes); i++)
		if (erofs_prefixes[i].index == body[at + 1])
			ret->prefix = &erofs_prefixes[i];
	if (!ret->prefix)
		return -EBADMSG;
	*pos = at + bytes;
	return 0;
}

int erofs_getxattr(const struct erofs *fs, const struct erofs_inode *ino, const char *name,
		   void *value, size_t size, size_t *ret_len)
{
	size_t n = strlen(name);
	struct xattr_view x;
	uint32_t pos = 0;
	int r;

	while (!(r = xattr_next(fs, ino, &pos, &x))) {
		if (n != x.prefix->len + x.suffix_len ||
		    memcmp(name, x.prefix->text, x.prefix->len) ||
		    memcmp(name + x.prefix->len, x.suffix, x.suffix_len))
			continue;
		*ret_len = x.value_len;
		if (size && size < x.value_len)
			return EROFS_RANGE;
		if (size)
			memcpy(value, x.value, x.value_len);
		return 0;
	}
	return r == EROFS_END ? EROFS_NO_ENTRY : r;
}

int erofs_listxattr(const struct erofs *fs, const struct erofs_inode *ino, char *list, size_t size,
		    size_t *ret_len)
{
	struct xattr_view x;
	uint32_t pos = 0;
	size_t len = 0;
	int r;

	while (!(r = xattr_next(fs, ino, &pos, &x))) {
		size_t n = x.prefix->len + x.suffix_len + 1;

		if (memchr(x.suffix, 0, x.suffix_len))
			return -EBADMSG;
		if (size) {
			if (n > size - len)
				return EROFS_RANGE;
			memcpy(list + len, x.prefix->text, x.prefix->len);
			memcpy(list + len + x.prefix->len, x.suffix, x.suffix_len);
			list[len + n - 1] = 0;
		}
		len += n;
	}
	if (r < 0)
		return r;
	*ret_len = len;
	return 0;
}

bool erofs_may_have_xattr(const struct erofs *fs, const char *name, bool prefix)
{
	const struct erofs_prefix *p = NULL;
	const uint8_t *at = fs->bytes, *end = fs->bytes + fs->len;
	size_t n;

	for (size_t i = 0; i < ARRAY_SIZE(erofs_prefixes); i++)
		if (!strncmp(name, erofs_prefixes[i].text, erofs_prefixes[i].len) &&
		    (!p || erofs_prefixes[i].len > p->len))
			p = &erofs_prefixes[i];
	if (!p || !fs->has_xattrs)
		return false;
	name += p->len;
	n = strlen(name);
	while ((at = memmem(at, (size_t)(end - at), name, n))) {
		if (at - fs->bytes >= XATTR_ENTRY && at[1 - (int)XATTR_ENTRY] == p->index &&
		    (prefix ? at[-(int)XATTR_ENTRY] >= n : at[-(int)XATTR_ENTRY] == n))
			return true;
		at++;
	}
	return false;
}
