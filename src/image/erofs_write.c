/* SPDX-License-Identifier: MIT */
/*
 * Two passes over the tree, breadth first. The first gives each inode its place: core, xattrs and
 * what follows them (a chunk index, the tail of a directory or symlink) and, where a tail does not
 * fit into the inode's block, blocks of its own. The second finds the same places again, instead of
 * keeping them, and fills the bytes in; by then every nid that a directory entry needs is known.
 *
 * Xattrs are all written inline: sharing equal ones would save little, since hardly any file of a
 * container image has one.
 */
#include "image/erofs_write.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <sys/stat.h>

#include "image/erofs_dir.h"
#include "image/erofs_format.h"

struct place {	      /* of one inode */
	uint64_t off; /* of the core, in bytes */
	uint32_t xattr_bytes;
	uint32_t block; /* first block outside, relative to the data area */
	uint8_t layout;
};

struct writer {
	struct tree *t;
	uint64_t meta_end, data_blocks; /* placed so far */
	uint64_t dropped_xattrs;
	bool has_xattrs;
	uint32_t first_block; /* of the data area; known in the second pass */
	uint8_t *out;
	struct error *err;
};

/* ---- xattrs ---- */

static const struct erofs_prefix *prefix_of(const struct layer_xattr *x)
{
	for (size_t i = 0; i < ARRAY_SIZE(erofs_prefixes); i++) {
		const struct erofs_prefix *p = &erofs_prefixes[i];

		if (x->name_len >= p->len && !memcmp(x->name, p->text, p->len) &&
		    (p->whole ? x->name_len == p->len : x->name_len > p->len) &&
		    x->name_len <= XATTR_NAME_LEN_MAX && !memchr(x->name, 0, x->name_len) &&
		    x->value_len <= XATTR_VALUE_MAX)
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
			w->dropped_xattrs++;
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

/* ---- places ---- */

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
static void place_with_tail(struct writer *w, struct place *p, uint64_t size)
{
	uint64_t head = EROFS_INODE + p->xattr_bytes, tail = size % EROFS_BLOCK;

	if (tail && head + tail <= EROFS_BLOCK) {
		p->layout = LAYOUT_INLINE;
		p->off = slot_for(w->meta_end, head + tail);
		w->meta_end = p->off + head + tail;
		if (size >= EROFS_BLOCK)
			blocks_take(w, p, size - tail);
		return;
	}
	p->layout = LAYOUT_PLAIN;
	p->off = slot_for(w->meta_end, EROFS_INODE);
	w->meta_end = p->off + head;
	blocks_take(w, p, size);
}

static void place_take(struct writer *w, const struct tree_inode *ino, struct place *p)
{
	*p = (struct place){.xattr_bytes = xattrs_measure(w, ino)};
	w->has_xattrs = w->has_xattrs || p->xattr_bytes;
	if (S_ISDIR(ino->mode) || S_ISLNK(ino->mode)) {
		place_with_tail(w, p, ino->size);
		return;
	}
	p->off = slot_for(w->meta_end, EROFS_INODE);
	p->layout = S_ISREG(ino->mode) && ino->size ? LAYOUT_CHUNKS : LAYOUT_PLAIN;
	w->meta_end = p->layout == LAYOUT_CHUNKS ? index_off(p) + CHUNK_INDEX
						 : p->off + EROFS_INODE + p->xattr_bytes;
}

static void places_start(struct writer *w)
{
	w->meta_end = EROFS_SB + EROFS_SB_BYTES + (uint64_t)w->t->n_layers * EROFS_DEVICE;
	w->data_blocks = 0;
	w->dropped_xattrs = 0;
}

static void tree_place(struct writer *w)
{
	struct place p;

	places_start(w);
	if (w->t->root->inode->nid) /* written before */
		for (uint64_t i = 0; i < w->t->n_nodes; i++)
			w->t->nodes[i]->inode->nid = 0;
	for (uint64_t i = 0; i < w->t->n_nodes; i++) {
		struct tree_inode *ino = w->t->nodes[i]->inode;

		if (ino->nid)
			continue; /* another name of it came first */
		if (S_ISDIR(ino->mode))
			ino->size = erofs_dir_measure(w->t->nodes[i]);
		place_take(w, ino, &p);
		ino->nid = p.off / EROFS_SLOT;
	}
}

/* ---- bytes ---- */

static uint32_t rdev_encode(const struct tree_inode *ino)
{
	return (ino->rdev_minor & 0xff) | ino->rdev_major << 8 | (ino->rdev_minor & ~0xffu) << 12;
}

static uint32_t inode_u(const struct writer *w, const struct tree_inode *ino, const struct place *p)
{
	if (S_ISCHR(ino->mode) || S_ISBLK(ino->mode))
		return rdev_encode(ino);
	if (S_ISREG(ino->mode))
		return p->layout == LAYOUT_CHUNKS ? CHUNK_FORMAT_INDEXES | CHUNK_BITS
						  : EROFS_NO_BLOCK;
	if (p->layout == LAYOUT_PLAIN ? ino->size != 0 : ino->size >= EROFS_BLOCK)
		return w->first_block + p->block;
	return 0;
}

static uint16_t xattr_icount(const struct place *p)
{
	return p->xattr_bytes ? (uint16_t)(1 + (p->xattr_bytes - XATTR_HEADER) / 4) : 0;
}

static void content_write(struct writer *w, const struct tree_node *n, const struct place *p)
{
	const struct tree_inode *ino = n->inode;
	uint8_t *blocks = w->out + ((uint64_t)w->first_block + p->block) * EROFS_BLOCK;
	uint8_t *tail = w->out + p->off + EROFS_INODE + p->xattr_bytes;

	if (p->layout == LAYOUT_CHUNKS) {
		uint8_t *index = w->out + index_off(p);

		le16_put(index + 2, (uint16_t)(ino->layer + 1));
		le32_put(index + 4, (uint32_t)(ino->data_off / EROFS_BLOCK));
		return;
	}
	if (p->layout == LAYOUT_PLAIN)
		tail = blocks + ino->size / EROFS_BLOCK * EROFS_BLOCK;
	if (S_ISLNK(ino->mode))
		memcpy(tail, ino->link, ino->size);
	else if (S_ISDIR(ino->mode))
		erofs_dir_write(n, blocks, tail);
}

static void inode_write(struct writer *w, const struct tree_node *n, const struct place *p,
			uint64_t number)
{
	const struct tree_inode *ino = n->inode;
	uint8_t *o = w->out + p->off;

	le16_put(o + INO_FORMAT, (uint16_t)(EROFS_EXTENDED | p->layout << 1));
	le16_put(o + INO_XATTR_ICOUNT, xattr_icount(p));
	le16_put(o + INO_MODE, (uint16_t)ino->mode);
	le64_put(o + INO_SIZE, ino->size);
	le32_put(o + INO_U, inode_u(w, ino, p));
	le32_put(o + INO_INO, (uint32_t)number);
	le32_put(o + INO_UID, ino->uid);
	le32_put(o + INO_GID, ino->gid);
	le64_put(o + INO_MTIME, (uint64_t)ino->mtime_s);
	le32_put(o + INO_MTIME_NS, ino->mtime_ns);
	le32_put(o + INO_NLINK, ino->nlink);
	if (p->xattr_bytes)
		xattrs_write(ino, o + EROFS_INODE);
	content_write(w, n, p);
}

static void tree_write(struct writer *w)
{
	uint64_t number = 0;
	struct place p;

	places_start(w);
	for (uint64_t i = 0; i < w->t->n_nodes; i++) {
		const struct tree_node *n = w->t->nodes[i];

		if (n->inode->nid * EROFS_SLOT < w->meta_end)
			continue; /* written under another name */
		place_take(w, n->inode, &p);
		inode_write(w, n, &p, ++number);
	}
}

static int superblock_write(struct writer *w, const struct erofs_params *params, uint64_t blocks)
{
	uint8_t *sb = w->out + EROFS_SB;
	uint64_t uniaddr = blocks;

	le32_put(sb + SB_MAGIC, EROFS_MAGIC);
	le32_put(sb + SB_COMPAT, EROFS_COMPAT);
	sb[SB_BLKSZBITS] = EROFS_BLOCK_BITS;
	le16_put(sb + SB_ROOT_NID, (uint16_t)w->t->root->inode->nid);
	le64_put(sb + SB_INOS, w->t->n_inodes);
	le32_put(sb + SB_BLOCKS, (uint32_t)blocks);
	if (w->has_xattrs) /* none are shared: only that it is not 0 matters */
		le32_put(sb + SB_XATTR_BLKADDR, w->first_block);
	memcpy(sb + SB_UUID, params->uuid, 16);
	memcpy(sb + SB_VOLUME, params->volume_name, strnlen(params->volume_name, 15));
	le32_put(sb + SB_INCOMPAT, EROFS_INCOMPAT);
	le16_put(sb + SB_EXTRA_DEVICES, (uint16_t)w->t->n_layers);
	le16_put(sb + SB_DEVT_SLOTOFF, (EROFS_SB + EROFS_SB_BYTES) / EROFS_DEVICE);
	for (uint32_t i = 0; i < w->t->n_layers; i++) {
		uint8_t *d = sb + EROFS_SB_BYTES + i * EROFS_DEVICE;
		uint64_t n = w->t->device_bytes[i] / EROFS_BLOCK;

		if (uniaddr + n > UINT32_MAX)
			return error_set(w->err, -E2BIG,
					 "the image's layers have more than 16 TiB");
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

int erofs_write(struct tree *t, const struct erofs_params *params, struct buf *ret,
		struct error *err)
{
	struct writer w = {.t = t, .err = err};
	uint64_t first, blocks;
	int r;

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
	w.first_block = (uint32_t)first;
	w.out = ret->data + ret->len;
	memset(w.out, 0, blocks * EROFS_BLOCK);
	tree_write(&w);
	r = superblock_write(&w, params, blocks);
	if (r < 0)
		return r;
	t->dropped_xattrs += w.dropped_xattrs;
	ret->len += blocks * EROFS_BLOCK;
	return 0;
}
