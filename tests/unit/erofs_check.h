/* SPDX-License-Identifier: MIT */
/* An EROFS image against the tree it was written from, through the reader; aborts where they
 * differ. */
#ifndef MORSEL_TESTS_EROFS_CHECK_H
#define MORSEL_TESTS_EROFS_CHECK_H

#include "image/erofs_read.h"
#include "image/erofs_write.h"
#include "layer_text.h"

static const uint8_t check_uuid[16] = "0123456789abcdef";

/* Layer i's tag is "layer i". */
static inline int check_write(struct tree *t, struct buf *ret, struct error *err)
{
	char(*tags)[16] = calloc(t->n_layers + 1, sizeof(*tags));
	const char **list = calloc(t->n_layers + 1, sizeof(*list));
	struct erofs_params params = {
		.uuid = check_uuid, .device_tags = list, .volume_name = "a volume's name"};
	int r;

	MUST(tags && list);
	for (uint32_t i = 0; i < t->n_layers; i++) {
		snprintf(tags[i], sizeof(tags[i]), "layer %u", i);
		list[i] = tags[i];
	}
	r = erofs_write(t, &params, ret, err);
	free(list);
	free(tags);
	return r;
}

static inline bool check_xattr_fits(const struct layer_xattr *x)
{
	static const char *const prefixes[] = {"user.", "trusted.", "security."};
	static const char *const acls[] = {"system.posix_acl_access", "system.posix_acl_default"};

	if (x->value_len > 65535 || memchr(x->name, 0, x->name_len))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		size_t n = strlen(prefixes[i]);

		if (x->name_len > n && x->name_len <= 255 && !memcmp(x->name, prefixes[i], n))
			return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(acls); i++)
		if (x->name_len == strlen(acls[i]) && !memcmp(x->name, acls[i], x->name_len))
			return true;
	return false;
}

static inline bool check_next_xattr(const struct tree_inode *want, uint32_t *pos,
				    struct layer_xattr *ret)
{
	const struct layer_index view = {.heap = want->xattrs};
	const struct layer_entry e = {.xattr_len = want->xattr_len};

	return want->xattr_len && layer_entry_next_xattr(&view, &e, pos, ret);
}

/* Returns how many there are; *dropped counts what the format can't hold. */
static inline unsigned check_xattrs(const struct erofs *fs, const struct erofs_inode *ino,
				    const struct tree_inode *want, uint64_t *dropped)
{
	static char value[65536];
	struct buf names = BUF_INIT;
	struct layer_xattr x;
	uint32_t pos = 0;
	unsigned count = 0;
	size_t len;
	char *list;

	while (check_next_xattr(want, &pos, &x)) {
		char *name = strndup(x.name, x.name_len);

		if (check_xattr_fits(&x)) {
			MUST(!erofs_getxattr(fs, ino, name, value, sizeof(value), &len));
			MUST(len == x.value_len && !memcmp(value, x.value, len));
			MUST(!erofs_getxattr(fs, ino, name, NULL, 0, &len) && len == x.value_len);
			if (len > 1)
				MUST(erofs_getxattr(fs, ino, name, value, len - 1, &len) ==
				     EROFS_RANGE);
			MUST(buf_append(&names, name, x.name_len + 1) >= 0);
			count++;
		} else {
			if (strlen(name) == x.name_len)
				MUST(erofs_getxattr(fs, ino, name, value, sizeof(value), &len) ==
				     EROFS_NO_ENTRY);
			++*dropped;
		}
		free(name);
	}
	MUST(!erofs_listxattr(fs, ino, NULL, 0, &len) && len == names.len);
	list = malloc(len + 1);
	MUST(list && !erofs_listxattr(fs, ino, list, len, &len) && len == names.len);
	MUST(!len || !memcmp(list, names.data, len));
	if (len > 1)
		MUST(erofs_listxattr(fs, ino, list, len - 1, &len) == EROFS_RANGE);
	MUST(erofs_getxattr(fs, ino, "user.absent", value, sizeof(value), &len) == EROFS_NO_ENTRY);
	MUST(erofs_getxattr(fs, ino, "", value, sizeof(value), &len) == EROFS_NO_ENTRY);
	free(list);
	buf_fini(&names);
	return count;
}

static inline uint8_t check_dirent_type(uint32_t mode)
{
	const char types[] = "?fdcbpsl"; /* by EROFS's number */

	return (uint8_t)(strchr(types, tree_type(mode)) - types);
}

static inline void check_dirent(const struct erofs *fs, const struct tree_node *dir,
				const struct erofs_dirent *d, uint32_t *child)
{
	const struct tree_node *c = dir;

	if (d->name_len == 2 && !memcmp(d->name, "..", 2))
		c = dir->parent;
	else if (d->name_len != 1 || *d->name != '.') {
		MUST(*child < dir->n_children);
		c = dir->children[(*child)++];
		MUST(d->name_len == c->name_len && !memcmp(d->name, c->name, c->name_len));
	}
	MUST(d->nid == c->inode->nid && d->type == check_dirent_type(c->inode->mode));
}

static inline int check_lookup(const struct erofs *fs, const struct erofs_inode *dir,
			       const char *name, size_t n)
{
	uint64_t nid;

	return erofs_lookup(fs, dir, name, n, &nid);
}

static inline void check_dir(const struct erofs *fs, const struct erofs_inode *ino,
			     const struct tree_node *dir)
{
	struct erofs_dirent d = {0}, prev = {0};
	uint32_t child = 0, total = 0;
	char other[300];
	uint64_t nid;

	while (!erofs_readdir(fs, ino, d.next, &d)) {
		if (total++) {
			int c = memcmp(prev.name, d.name, min_u64(prev.name_len, d.name_len));

			MUST(c < 0 || (!c && prev.name_len < d.name_len));
		}
		prev = d;
		check_dirent(fs, dir, &d, &child);
		MUST(!erofs_lookup(fs, ino, d.name, d.name_len, &nid) && nid == d.nid);
		memcpy(other, d.name, d.name_len);
		other[d.name_len] = 1; /* the next name there can be, and one just before */
		MUST(check_lookup(fs, ino, other, d.name_len + 1) == EROFS_NO_ENTRY ||
		     (child < dir->n_children && dir->children[child]->name_len == d.name_len + 1));
	}
	MUST(erofs_readdir(fs, ino, d.next, &d) == EROFS_END);
	MUST(child == dir->n_children && total == child + 2);
	MUST(check_lookup(fs, ino, "", 0) == EROFS_NO_ENTRY);
	memset(other, 0xff, sizeof(other));
	MUST(check_lookup(fs, ino, other, 256) == EROFS_NO_ENTRY);
	MUST(check_lookup(fs, ino, "a/b", 3) == EROFS_NO_ENTRY);
}

static inline void check_map(const struct erofs *fs, const struct erofs_inode *ino,
			     const struct tree_inode *want)
{
	const uint64_t offs[] = {0, 1, want->size / 2, want->size - 1};
	uint64_t off, len;
	uint32_t device;

	MUST(erofs_map(fs, ino, want->size, 1, &device, &off, &len) == -EBADMSG);
	for (size_t i = 0; i < ARRAY_SIZE(offs) && want->size; i++) {
		if (offs[i] >= want->size)
			continue;
		MUST(!erofs_map(fs, ino, offs[i], UINT64_MAX, &device, &off, &len));
		MUST(device == want->layer && off == want->data_off + offs[i]);
		MUST(len == want->size - offs[i]);
		MUST(!erofs_map(fs, ino, offs[i], 1, &device, &off, &len) && len == 1);
	}
}

static inline void check_inode(const struct erofs *fs, const struct tree_node *n,
			       struct erofs_inode *ino)
{
	const struct tree_inode *want = n->inode;
	uint64_t nid;
	char link[4096];
	size_t len;

	MUST(!erofs_inode_get(fs, want->nid, ino));
	MUST(ino->nid == want->nid && ino->mode == want->mode && ino->nlink == want->nlink);
	MUST(ino->uid == want->uid && ino->gid == want->gid && ino->size == want->size);
	MUST(ino->mtime_s == want->mtime_s && ino->mtime_ns == want->mtime_ns);
	if (S_ISCHR(want->mode) || S_ISBLK(want->mode))
		MUST(ino->rdev_major == want->rdev_major && ino->rdev_minor == want->rdev_minor);
	else
		MUST(!ino->rdev_major && !ino->rdev_minor);
	if (S_ISLNK(want->mode)) {
		MUST(!erofs_readlink(fs, ino, link, &len));
		MUST(len == want->size && !memcmp(link, want->link, len));
	} else
		MUST(erofs_readlink(fs, ino, link, &len) == -EINVAL);
	if (S_ISREG(want->mode))
		check_map(fs, ino, want);
	if (S_ISDIR(want->mode))
		check_dir(fs, ino, n);
	else {
		struct erofs_dirent d;

		MUST(erofs_lookup(fs, ino, "x", 1, &nid) == -ENOTDIR);
		MUST(erofs_readdir(fs, ino, 0, &d) == -ENOTDIR);
	}
}

/* What the format promises about places, beyond what the reader needs. */
static inline void check_places(const struct erofs *fs, const struct erofs_inode *ino)
{
	uint64_t head = 64 + ino->xattr_bytes, tail = ino->layout == 2 ? ino->size % 4096 : 0;

	MUST(ino->off % 32 == 0 && ino->off / 4096 == (ino->off + 63) / 4096);
	if (S_ISDIR(ino->mode) || S_ISLNK(ino->mode)) /* inline whenever that works */
		MUST((ino->layout == 2) == (ino->size % 4096 && head + ino->size % 4096 <= 4096));
	if (tail)
		MUST(ino->off / 4096 == (ino->off + head + tail - 1) / 4096);
}

static inline void check_image(const struct tree *t, uint64_t dropped_before, const void *bytes,
			       size_t len)
{
	uint64_t dropped = 0, device_bytes;
	struct error err = ERROR_INIT;
	struct erofs_inode ino;
	unsigned xattrs = 0;
	struct erofs fs;
	char tag[65], want[65];

	if (erofs_open(bytes, len, &fs, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	MUST(fs.root_nid == t->root->inode->nid && fs.inode_count == t->n_inodes);
	MUST(fs.n_devices == t->n_layers && !memcmp(fs.uuid, check_uuid, 16));
	for (uint32_t i = 0; i < t->n_layers; i++) {
		MUST(!erofs_device(&fs, i, &device_bytes, tag));
		snprintf(want, sizeof(want), "layer %u", i);
		MUST(device_bytes == t->device_bytes[i] && !strcmp(tag, want));
	}
	MUST(erofs_device(&fs, t->n_layers, &device_bytes, tag) == -EBADMSG);
	for (uint64_t i = 0; i < t->n_nodes; i++) {
		uint64_t d = 0;

		check_inode(&fs, t->nodes[i], &ino);
		check_places(&fs, &ino);
		xattrs += check_xattrs(&fs, &ino, t->nodes[i]->inode, &d);
		if (t->nodes[i]->inode->nlink == 1 || S_ISDIR(ino.mode))
			dropped += d; /* the images of the tests put xattrs on single names only */
	}
	MUST(fs.has_xattrs == (xattrs > 0));
	MUST(t->dropped_xattrs == dropped_before + dropped);
}

/* Layers -> tree -> image, checked, and the same bytes when written again. *ret is kept when asked.
 */
static inline void check_layers(const struct layer_index *layers, uint32_t n, struct tree **ret,
				struct buf *image)
{
	struct buf again = BUF_INIT;
	struct error err = ERROR_INIT;
	uint64_t dropped;
	struct tree *t;

	if (tree_merge(layers, n, UINT64_MAX, &t, &err) < 0 ||
	    (dropped = t->dropped_xattrs, check_write(t, image, &err)) < 0) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	check_image(t, dropped, image->data, image->len);
	MUST(buf_append(&again, "before", 6) >= 0 && !check_write(t, &again, &err));
	MUST(again.len == 6 + image->len && !memcmp(again.data + 6, image->data, image->len));
	buf_fini(&again);
	if (ret)
		*ret = t;
	else
		tree_free(t);
}

#endif
