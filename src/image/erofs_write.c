/* SPDX-License-Identifier: MIT */
/*
 * Two passes over the inodes in breadth-first order. The first gives each its place: core, xattrs
 * and what follows them (a chunk index, the tail of a directory or symlink) and, where a tail does
 * not fit into the inode's block, blocks of its own. The second fills the bytes in; by then every
 * nid that a directory entry needs is known.
 */
#include "image/erofs_write.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <sys/stat.h>

#include "image/erofs_format.h"

struct place { /* of one inode, by order of first sight */
	struct tree_node *node;
	uint64_t off;        /* of the core, in bytes */
	uint64_t data_bytes; /* directories: with padding between blocks; symlinks: the text */
	uint32_t xattr_bytes;
	uint32_t block;      /* first block outside, relative to the data area */
	uint8_t layout;
};

struct writer {
	struct tree *t;
	struct place *places;
	uint64_t n_places;
	uint64_t meta_end, data_blocks;
	bool has_xattrs;
	uint8_t *out;
	struct error *err;
};

/* ---- xattrs ---- */

static const struct erofs_prefix *prefix_of(const struct layer_xattr *x)
{
	for (size_t i = 0; i < ARRAY_SIZE(erofs_prefixes); i++) {
		const struct erofs_prefix *p = &erofs_prefixes[i];

		if (x->name_len >= p->len && !memcmp(x->name, p->text, p->len) &&
		    (p->index == 2 || p->index == 3 ? x->name_len == p->len : x->name_len > p->len) &&
		    x->name_len - p->len <= 255 && x->value_len <= XATTR_VALUE_MAX)
			return p;
	}
	return NULL;
}

/* The heap form is the layer table's; a view of one inode's bytes serves as a table here. */
static bool next_xattr(const struct tree_inode *ino, uint32_t *pos, struct layer_xattr *ret)
{
	const struct layer_index view = {.heap = ino->xattrs};
	const struct layer_entry e = {.xattr_len = ino->xattr_len};

	return layer_entry_next_xattr(&view, &e, pos, ret);
}

static uint32_t xattr_entry_bytes(const struct layer_xattr *x, const struct erofs_prefix *p)
{
	return (uint32_t)align_up(XATTR_ENTRY + (x->name_len - p->len) + x->value_len, 4);
}

static uint32_t xattrs_measure(struct writer *w, const struct tree_inode *ino)
{
	struct layer_xattr x;
	uint32_t pos = 0, bytes = XATTR_HEADER;

	if (!ino->xattr_count)
		return 0;
	while (next_xattr(ino, &pos, &x)) {
		const struct erofs_prefix *p = prefix_of(&x);

		if (p)
			bytes += xattr_entry_bytes(&x, p);
		else
			w->t->dropped_xattrs++;
	}
	return bytes > XATTR_HEADER ? bytes : 0;
}

static void xattrs_write(const struct tree_inode *ino, uint8_t *out)
{
	struct layer_xattr x;
	uint32_t pos = 0;

	out += XATTR_HEADER; /* no filter, nothing shared: zeros */
	while (next_xattr(ino, &pos, &x)) {
		const struct erofs_prefix *p = prefix_of(&x);
		uint32_t suffix;

		if (!p)
			continue;
		suffix = x.name_len - p->len;
		out[0] = (uint8_t)suffix;
		out[1] = p->index;
		le16_put(out + 2, (uint16_t)x.value_len);
		memcpy(out + XATTR_ENTRY, x.name + p->len, suffix);
		memcpy(out + XATTR_ENTRY + suffix, x.value, x.value_len);
		out += xattr_entry_bytes(&x, p);
	}
}

/* ---- directories ---- */

/* A directory's entries in order: "." and ".." stand where their bytes put them. */
struct dir_iter {
	const struct tree_node *dir;
	uint32_t at;
	unsigned dots; /* of "." and "..": how many are out */
};

static int name_cmp(const char *a, size_t an, const char *b, size_t bn)
{
	int r = memcmp(a, b, min_u64(an, bn));

	return r ? r : (an > bn) - (an < bn);
}

static bool dir_next(struct dir_iter *it, const char **name, uint32_t *len, const struct tree_node **ret)
{
	const struct tree_node *c = it->at < it->dir->n_children ? it->dir->children[it->at] : NULL;

	if (it->dots < 2 && (!c || name_cmp("..", it->dots + 1, c->name, c->name_len) < 0)) {
		*name = "..";
		*len = ++it->dots;
		*ret = *len == 1 ? it->dir : it->dir->parent;
		return true;
	}
	if (!c)
		return false;
	it->at++;
	*name = c->name;
	*len = c->name_len;
	*ret = c;
	return true;
}

static uint64_t dir_measure(const struct tree_node *dir)
{
	struct dir_iter it = {.dir = dir};
	const struct tree_node *n;
	const char *name;
	uint64_t blocks = 0;
	uint32_t used = 0, len;

	while (dir_next(&it, &name, &len, &n)) {
		if (used + EROFS_DIRENT + len > EROFS_BLOCK) {
			blocks++;
			used = 0;
		}
		used += EROFS_DIRENT + len;
	}
	return blocks * EROFS_BLOCK + used;
}

static uint8_t dirent_type(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return 1;
	case S_IFDIR:
		return 2;
	case S_IFCHR:
		return 3;
	case S_IFBLK:
		return 4;
	case S_IFIFO:
		return 5;
	case S_IFSOCK:
		return 6;
	default:
		return 7;
	}
}

/* Writes one block's worth of entries; both iterators stand at its first. */
static void dir_block_write(struct dir_iter *it, uint32_t count, uint8_t *out)
{
	uint32_t name_at = count * EROFS_DIRENT, len;
	const struct tree_node *n;
	const char *name;

	for (uint32_t i = 0; i < count && dir_next(it, &name, &len, &n); i++) {
		uint8_t *d = out + i * EROFS_DIRENT;

		le64_put(d, n->inode->nid);
		le16_put(d + 8, (uint16_t)name_at);
		d[10] = dirent_type(n->inode->mode);
		memcpy(out + name_at, name, len);
		name_at += len;
	}
}

static uint32_t dir_block_count(struct dir_iter it)
{
	uint32_t used = 0, count = 0, len;
	const struct tree_node *n;
	const char *name;

	while (dir_next(&it, &name, &len, &n)) {
		used += EROFS_DIRENT + len;
		if (used > EROFS_BLOCK)
			break;
		count++;
	}
	return count;
}

/* Whole blocks go to `blocks`, the last one to `tail`, which may be the same area. */
static void dir_write(const struct place *p, uint8_t *blocks, uint8_t *tail)
{
	struct dir_iter it = {.dir = p->node};
	uint64_t full = p->data_bytes / EROFS_BLOCK;
	uint32_t count;

	for (uint64_t b = 0; (count = dir_block_count(it)); b++)
		dir_block_write(&it, count, b < full ? blocks + b * EROFS_BLOCK : tail);
}

/* ---- first pass: places ---- */

static uint64_t index_off(const struct place *p)
{
	return align_up(p->off + EROFS_INODE + p->xattr_bytes, CHUNK_INDEX);
}

static void blocks_take(struct writer *w, struct place *p, uint64_t bytes)
{
	p->block = (uint32_t)w->data_blocks;
	w->data_blocks += (bytes + EROFS_BLOCK - 1) / EROFS_BLOCK;
}

static uint64_t slot_for(uint64_t at, uint64_t together)
{
	at = align_up(at, EROFS_SLOT);
	if (at / EROFS_BLOCK != (at + together - 1) / EROFS_BLOCK)
		at = align_up(at, EROFS_BLOCK);
	return at;
}

/* Core, xattrs and an inline tail stand in one block together, or the tail is not inlined. */
static void place_with_tail(struct writer *w, struct place *p)
{
	uint64_t head = EROFS_INODE + p->xattr_bytes, tail = p->data_bytes % EROFS_BLOCK;

	if (tail && head + tail <= EROFS_BLOCK) {
		p->layout = LAYOUT_INLINE;
		p->off = slot_for(w->meta_end, head + tail);
		w->meta_end = p->off + head + tail;
		if (p->data_bytes >= EROFS_BLOCK)
			blocks_take(w, p, p->data_bytes - tail);
		return;
	}
	p->layout = LAYOUT_PLAIN;
	p->off = slot_for(w->meta_end, EROFS_INODE);
	w->meta_end = p->off + head;
	blocks_take(w, p, p->data_bytes);
}

static void place_inode(struct writer *w, struct place *p)
{
	struct tree_inode *ino = p->node->inode;

	p->xattr_bytes = xattrs_measure(w, ino);
	w->has_xattrs = w->has_xattrs || p->xattr_bytes;
	if (S_ISDIR(ino->mode) || S_ISLNK(ino->mode)) {
		p->data_bytes = S_ISDIR(ino->mode) ? dir_measure(p->node) : ino->size;
		place_with_tail(w, p);
	} else {
		p->layout = S_ISREG(ino->mode) && ino->size ? LAYOUT_CHUNKS : LAYOUT_PLAIN;
		p->off = slot_for(w->meta_end, EROFS_INODE);
		w->meta_end = p->layout == LAYOUT_CHUNKS ? index_off(p) + CHUNK_INDEX
							 : p->off + EROFS_INODE + p->xattr_bytes;
	}
	ino->nid = p->off / EROFS_SLOT;
}

static void tree_place(struct writer *w)
{
	uint64_t queued = 1;

	/* The places are the breadth-first queue: directories append their children. */
	w->places[0].node = w->t->root;
	w->t->root->inode->nid = UINT64_MAX;
	for (uint64_t i = 0; i < queued; i++) {
		struct tree_node *n = w->places[i].node;

		place_inode(w, &w->places[i]);
		for (uint32_t c = 0; c < n->n_children; c++)
			if (!n->children[c]->inode->nid) {
				n->children[c]->inode->nid = UINT64_MAX; /* queued, not placed */
				w->places[queued++].node = n->children[c];
			}
	}
	w->n_places = queued;
}

/* ---- second pass: bytes ---- */

static uint32_t rdev_encode(const struct tree_inode *ino)
{
	return (ino->rdev_minor & 0xff) | ino->rdev_major << 8 | (ino->rdev_minor & ~0xffu) << 12;
}

static void inode_write(struct writer *w, const struct place *p, uint64_t number, uint32_t first_block)
{
	const struct tree_inode *ino = p->node->inode;
	uint8_t *o = w->out + p->off, *tail = o + EROFS_INODE + p->xattr_bytes;
	uint8_t *blocks = w->out + ((uint64_t)first_block + p->block) * EROFS_BLOCK;
	uint64_t size = S_ISREG(ino->mode) ? ino->size : p->data_bytes;
	uint32_t u = 0;

	if (p->layout == LAYOUT_CHUNKS)
		u = CHUNK_FORMAT_INDEXES | CHUNK_BITS;
	else if (S_ISCHR(ino->mode) || S_ISBLK(ino->mode))
		u = rdev_encode(ino);
	else if (S_ISREG(ino->mode))
		u = EROFS_NO_BLOCK;
	else if (p->layout == LAYOUT_PLAIN ? size != 0 : size >= EROFS_BLOCK)
		u = first_block + p->block;
	le16_put(o + INO_FORMAT, (uint16_t)(EROFS_EXTENDED | p->layout << 1));
	le16_put(o + INO_XATTR_ICOUNT, (uint16_t)(p->xattr_bytes ? 1 + (p->xattr_bytes - XATTR_HEADER) / 4 : 0));
	le16_put(o + INO_MODE, (uint16_t)ino->mode);
	le64_put(o + INO_SIZE, size);
	le32_put(o + INO_U, u);
	le32_put(o + INO_INO, (uint32_t)number);
	le32_put(o + INO_UID, ino->uid);
	le32_put(o + INO_GID, ino->gid);
	le64_put(o + INO_MTIME, (uint64_t)ino->mtime_s);
	le32_put(o + INO_MTIME_NS, ino->mtime_ns);
	le32_put(o + INO_NLINK, ino->nlink);
	if (p->xattr_bytes)
		xattrs_write(ino, o + EROFS_INODE);
	if (p->layout == LAYOUT_CHUNKS) {
		uint8_t *index = w->out + index_off(p);

		le16_put(index + 2, (uint16_t)(ino->layer + 1));
		le32_put(index + 4, (uint32_t)(ino->data_off / EROFS_BLOCK));
	} else if (S_ISLNK(ino->mode))
		memcpy(p->layout == LAYOUT_INLINE ? tail : blocks, ino->link, ino->size);
	else if (S_ISDIR(ino->mode))
		dir_write(p, blocks, p->layout == LAYOUT_INLINE ? tail
								: blocks + p->data_bytes / EROFS_BLOCK * EROFS_BLOCK);
}

static int superblock_write(struct writer *w, const struct erofs_params *params, uint64_t blocks)
{
	uint8_t *sb = w->out + EROFS_SB;
	uint64_t uniaddr = blocks;

	le32_put(sb + SB_MAGIC, EROFS_MAGIC);
	le32_put(sb + SB_COMPAT, EROFS_COMPAT);
	sb[SB_BLKSZBITS] = EROFS_BLOCK_BITS;
	le16_put(sb + SB_ROOT_NID, (uint16_t)w->t->root->inode->nid);
	le64_put(sb + SB_INOS, w->n_places);
	le32_put(sb + SB_BLOCKS, (uint32_t)blocks);
	if (w->has_xattrs) /* no shared ones: only that it is not 0 matters */
		le32_put(sb + SB_XATTR_BLKADDR, (uint32_t)((w->meta_end - 1) / EROFS_BLOCK));
	memcpy(sb + SB_UUID, params->uuid, 16);
	memcpy(sb + SB_VOLUME, params->volume_name, strnlen(params->volume_name, 15));
	le32_put(sb + SB_INCOMPAT, EROFS_INCOMPAT);
	le16_put(sb + SB_EXTRA_DEVICES, (uint16_t)w->t->n_layers);
	le16_put(sb + SB_DEVT_SLOTOFF, (EROFS_SB + EROFS_SB_BYTES) / EROFS_DEVICE);
	for (uint32_t i = 0; i < w->t->n_layers; i++) {
		uint8_t *d = sb + EROFS_SB_BYTES + i * EROFS_DEVICE;
		uint64_t n = w->t->device_bytes[i] / EROFS_BLOCK;

		if (uniaddr + n > UINT32_MAX)
			return error_set(w->err, -E2BIG, "the image's layers have more than 16 TiB");
		memcpy(d + DEV_TAG, params->device_tags[i], strnlen(params->device_tags[i], 64));
		le32_put(d + DEV_BLOCKS, (uint32_t)n);
		le32_put(d + DEV_UNIADDR, (uint32_t)uniaddr);
		uniaddr += n;
	}
	le32_put(sb + SB_CHECKSUM, erofs_checksum(w->out));
	return 0;
}

uint32_t erofs_checksum(const uint8_t block0[static 4096])
{
	uint8_t copy[EROFS_BLOCK - EROFS_SB];

	memcpy(copy, block0 + EROFS_SB, sizeof(copy));
	le32_put(copy + SB_CHECKSUM, 0);
	return crc32_iscsi(copy, sizeof(copy), 0xffffffff);
}

int erofs_write(struct tree *t, const struct erofs_params *params, struct buf *ret, struct error *err)
{
	struct writer w = {.t = t, .err = err};
	_cleanup_(freep) struct place *places = calloc(t->n_inodes + 1, sizeof(*places));
	uint64_t blocks, first;
	int r;

	if (!places)
		return -ENOMEM;
	w.places = places;
	w.meta_end = EROFS_SB + EROFS_SB_BYTES + (uint64_t)t->n_layers * EROFS_DEVICE;
	tree_place(&w);
	if (t->root->inode->nid > UINT16_MAX)
		return error_set(err, -E2BIG, "the image has too many layers for its index");
	first = align_up(w.meta_end, EROFS_BLOCK) / EROFS_BLOCK;
	blocks = first + w.data_blocks;
	if (blocks > UINT32_MAX)
		return error_set(err, -E2BIG, "the image's index has more than 16 TiB");
	r = buf_reserve(ret, blocks * EROFS_BLOCK);
	if (r < 0)
		return r;
	w.out = ret->data + ret->len;
	memset(w.out, 0, blocks * EROFS_BLOCK);
	for (uint64_t i = 0; i < w.n_places; i++)
		inode_write(&w, &w.places[i], i + 1, (uint32_t)first);
	r = superblock_write(&w, params, blocks);
	if (r >= 0)
		ret->len += blocks * EROFS_BLOCK;
	return r;
}
