/* SPDX-License-Identifier: MIT */
/*
 * The merge. Layers are put on top of each other from the bottom; T is the tree so far.
 *
 *  1. A layer's whiteouts and opaque marks act first, whatever their place in it, and on T only: a
 *     whiteout deletes a name with all that is below it, an opaque mark empties a directory. One
 *     that names nothing in T does nothing. T's symlinks are not followed.
 *  2. Then its entries in their order; of two with the same name the later one counts. A directory
 *     over a directory keeps the children and takes all of the new attributes, xattrs included.
 *     Anything else replaces what was there, children and all.
 *  3. Parents that are missing are implied: directories 0755 0:0 of 1970. A parent that is a
 *     directory, in T too, keeps its attributes. A parent that is a symlink of the same layer is
 *     followed, inside the layer's root, 40 links at most. A parent that is a symlink of a lower
 *     layer, or any other file, is replaced by an implied directory, as an overlay mount shows it.
 *  4. A hardlink takes its target's inode. The target is a file of any other type in the same
 *     layer, as it is when the link comes; failing that, as it is at the end of the layer (tables
 *     of contents need not be in order), through other links if need be. No such file: refused,
 *     unless the link is itself replaced later in the layer.
 *  5. AUFS plumbing (ENTRY_HIDDEN) grows under a root of its own, a new one for each layer: only
 *     hardlinks see it.
 *  6. The root's attributes are those of the topmost layer that has an entry for it, else 0755 0:0.
 *  7. A character device 0:0 is refused: an overlay mount would take it for a whiteout.
 *  8. Times of directories are never touched by what happens in them. Directories have 2 + their
 *     subdirectories as link count; other files the number of names that are left.
 *
 * All is linear in the bytes of the entries, and nothing recurses: depths, chains and circles are
 * the image author's to choose. Names meet in one keyed hash table over (parent, name). Following
 * symlinks has a budget, since 40 links of 4 KiB on the way of each name are no longer linear.
 */
#include "image/tree_build.h"

#include <errno.h>
#include <sys/stat.h>

#define LINK_BUDGET (UINT64_C(64) << 20) /* bytes, and so many more for each entry: */
#define LINK_BUDGET_ENTRY 256u
#define RDEV_MAJOR_MAX 4095u
#define RDEV_MINOR_MAX 1048575u

static const char *heap_text(const struct merge *m, uint32_t off)
{
	return (const char *)m->layers[m->layer].heap + off;
}

/* ---- pass 1: what the layer deletes from the tree so far ---- */

static void deletions_apply(struct merge *m)
{
	const struct layer_index *ix = &m->layers[m->layer];
	const uint32_t deletes = ENTRY_WHITEOUT | ENTRY_OPAQUE | ENTRY_OPAQUE_MARK;

	for (uint64_t i = 0; i < ix->header.n_entries; i++) {
		const struct layer_entry *e = &ix->entries[i];
		struct build_node *n;

		if (!(e->flags & deletes))
			continue;
		n = merge_lower(m, heap_text(m, e->path_off), e->path_len);
		if (n && e->flags & ENTRY_WHITEOUT)
			merge_kill(m, n);
		else if (n && build_is_dir(n)) {
			for (struct build_node *c = n->first_child; c; c = c->next_sibling)
				merge_kill(m, c);
			n->first_child = NULL;
		}
	}
}

/* ---- pass 2: what it adds ---- */

static void inode_fill(const struct merge *m, struct tree_inode *ino)
{
	const struct layer_entry *e = m->entry;

	*ino = (struct tree_inode){
		.mode = e->mode,
		.uid = e->uid,
		.gid = e->gid,
		.mtime_s = e->mtime_s,
		.mtime_ns = e->mtime_ns,
		.layer = m->layer,
		.xattrs = (const uint8_t *)heap_text(m, e->xattr_off),
		.xattr_len = e->xattr_len,
		.xattr_count = e->xattr_count,
	};
	if (S_ISREG(e->mode)) {
		ino->size = e->size;
		ino->data_off = e->size ? e->data_off : 0;
	} else if (S_ISLNK(e->mode)) {
		ino->size = e->link_len;
		ino->link = heap_text(m, e->link_off);
	} else if (S_ISCHR(e->mode) || S_ISBLK(e->mode)) {
		ino->rdev_major = e->rdev_major;
		ino->rdev_minor = e->rdev_minor;
	}
}

static int entry_check(const struct merge *m)
{
	const struct layer_entry *e = m->entry;

	if (e->flags & ENTRY_HARDLINK)
		return 0;
	if (S_ISLNK(e->mode) && !e->link_len)
		return merge_refuse(m, -EBADMSG, "a symlink to nothing");
	if (!S_ISCHR(e->mode) && !S_ISBLK(e->mode))
		return 0;
	if (e->rdev_major > RDEV_MAJOR_MAX || e->rdev_minor > RDEV_MINOR_MAX)
		return merge_refuse(m, -EBADMSG, "a device number out of range");
	if (S_ISCHR(e->mode) && !e->rdev_major && !e->rdev_minor)
		return merge_refuse(m, -EPERM,
				    "a character device 0:0, which overlay mounts take for a "
				    "whiteout; the image is refused");
	return 0;
}

/* The node that a hardlink leads to next, which may be one that waits itself; or PATH_MISSING. */
static int link_target(struct merge *m, const struct layer_entry *e, struct build_node **ret)
{
	struct build_node *t = NULL;
	int r = merge_target(m, heap_text(m, e->link_off), e->link_len, &t);

	if (r)
		return r;
	if (t->layer != m->layer || build_is_dir(t))
		return PATH_MISSING;
	*ret = t;
	return 0;
}

static int hardlink_add(struct merge *m, struct build_node *n)
{
	struct build_node *t;
	int r;

	n->node.inode = NULL;
	r = link_target(m, m->entry, &t);
	if (r < 0)
		return r;
	if (!r && t->node.inode) {
		n->node.inode = t->node.inode;
		return 0;
	}
	n->waiting = m->entry;
	return buf_append(&m->waiting, &n, sizeof(n));
}

/* The node for m->entry: a new one, or the one of the file or directory it replaces. */
static int node_take(struct merge *m, struct build_node **ret)
{
	const struct layer_entry *e = m->entry;
	const char *path = heap_text(m, e->path_off), *slash = memrchr(path, '/', e->path_len);
	const char *name = slash ? slash + 1 : path;
	size_t n = (size_t)(path + e->path_len - name);
	struct build_node *dir, *c;
	int r = merge_parent(m, e->flags & ENTRY_HIDDEN ? m->plumbing : m->root, path,
			     slash ? (size_t)(slash - path) : 0, &dir);

	if (r < 0)
		return r;
	c = merge_child(m, dir, name, n);
	if (c && build_is_dir(c)) {
		if (S_ISDIR(e->mode) && !(e->flags & ENTRY_HARDLINK)) {
			*ret = c;
			return 0;
		}
		merge_kill(m, c);
		c = NULL;
	}
	if (!c)
		return merge_add_child(m, dir, name, n, ret);
	merge_reset(m, c);
	*ret = c;
	return 0;
}

static int entry_add(struct merge *m)
{
	const struct layer_entry *e = m->entry;
	struct build_node *n = m->root;
	struct tree_inode *ino;
	int r = entry_check(m);

	if (r >= 0 && e->path_len)
		r = node_take(m, &n);
	if (r < 0)
		return r;
	if (e->flags & ENTRY_HARDLINK)
		return n == m->root ? merge_refuse(m, -EBADMSG, "a hardlink") : hardlink_add(m, n);
	ino = build_is_dir(n) ? n->node.inode : tree_alloc(m->t, sizeof(*ino));
	if (!ino)
		return -ENOMEM;
	inode_fill(m, ino);
	n->node.inode = ino;
	return 0;
}

/* ---- the layer's end: hardlinks that waited ---- */

static bool is_reachable(const struct merge *m, const struct build_node *n)
{
	while (!n->dead && n != m->root && n != m->plumbing)
		n = (const struct build_node *)n->node.parent;
	return !n->dead;
}

/* Follows a chain of waiting links to an inode, and gives it to all of them. */
static int waiting_resolve(struct merge *m, struct build_node *n)
{
	struct build_node **chain;
	size_t len;
	int r;

	m->chain.len = 0;
	while (!n->node.inode) {
		m->entry = n->waiting;
		if (n->visiting)
			return merge_refuse(m, -EBADMSG, "a hardlink that leads to itself");
		n->visiting = true;
		r = buf_append(&m->chain, &n, sizeof(n));
		if (r >= 0)
			r = link_target(m, n->waiting, &n);
		if (r < 0)
			return r;
		if (r)
			return merge_refuse(m, -EBADMSG,
					    "a hardlink whose target is not a file of this layer");
	}
	chain = (struct build_node **)m->chain.data;
	len = m->chain.len / sizeof(*chain);
	for (size_t i = 0; i < len; i++)
		chain[i]->node.inode = n->node.inode;
	return 0;
}

static int waiting_finish(struct merge *m)
{
	struct build_node **list = (struct build_node **)m->waiting.data;
	size_t n = m->waiting.len / sizeof(*list);
	int r = 0;

	for (size_t i = 0; i < n && r >= 0; i++)
		if (!list[i]->node.inode && is_reachable(m, list[i]))
			r = waiting_resolve(m, list[i]);
	m->waiting.len = 0;
	return r;
}

static int root_add(struct merge *m, struct build_node **ret)
{
	struct build_node *n = tree_alloc(m->t, sizeof(*n));
	struct tree_inode *ino = tree_alloc(m->t, sizeof(*ino));

	if (!n || !ino)
		return -ENOMEM;
	*ino = (struct tree_inode){.mode = S_IFDIR | 0755};
	*n = (struct build_node){.node = {.name = "", .inode = ino}};
	n->node.parent = &n->node;
	*ret = n;
	return 0;
}

static int layer_merge(struct merge *m)
{
	const struct layer_index *ix = &m->layers[m->layer];
	int r = root_add(m, &m->plumbing);

	m->last_parent = NULL;
	m->t->dropped_xattrs += ix->header.dropped_xattrs;
	deletions_apply(m);
	for (uint64_t i = 0; i < ix->header.n_entries && r >= 0; i++) {
		m->entry = &ix->entries[i];
		if (!(m->entry->flags & (ENTRY_WHITEOUT | ENTRY_OPAQUE_MARK)))
			r = entry_add(m);
	}
	if (r >= 0)
		r = waiting_finish(m);
	return r;
}

/* ---- all of them ---- */

static int merge_init(struct merge *m, uint32_t n_layers, uint64_t max_entries)
{
	uint64_t *device_bytes = tree_alloc(m->t, n_layers * sizeof(*device_bytes));
	uint64_t entries = 0;
	int r;

	if (!device_bytes)
		return -ENOMEM;
	for (uint32_t i = 0; i < n_layers; i++) {
		entries += m->layers[i].header.n_entries;
		device_bytes[i] = m->layers[i].header.device_bytes;
	}
	m->t->device_bytes = device_bytes;
	m->t->n_layers = n_layers;
	m->max_built = entries + min_u64(max_entries, UINT64_MAX - entries);
	m->link_budget = LINK_BUDGET + entries * LINK_BUDGET_ENTRY;
	r = name_table_init(&m->names, min_u64(entries, max_entries));
	return r < 0 ? r : root_add(m, &m->root);
}

static void merge_fini(struct merge *m)
{
	name_table_fini(&m->names);
	buf_fini(&m->waiting);
	buf_fini(&m->chain);
	buf_fini(&m->walk);
	buf_fini(&m->splice);
}

int tree_check_names(uint64_t names, uint64_t max_entries, struct error *err)
{
	if (names <= max_entries)
		return 0;
	return error_set(err, -E2BIG, "the image has %llu files, the limit is %llu (--max-entries)",
			 (unsigned long long)names, (unsigned long long)max_entries);
}

int tree_merge(const struct layer_index *layers, uint32_t n_layers, uint64_t max_entries,
	       struct tree **ret, struct error *err)
{
	_cleanup_(tree_freep) struct tree *t = calloc(1, sizeof(*t));
	_cleanup_(merge_fini) struct merge m = {.t = t, .layers = layers, .err = err};
	int r;

	if (!t)
		return -ENOMEM;
	if (n_layers > UINT16_MAX)
		return error_set(err, -E2BIG, "the image has %u layers", n_layers);
	r = merge_init(&m, n_layers, max_entries);
	for (; m.layer < n_layers && r >= 0; m.layer++)
		r = layer_merge(&m);
	if (r < 0)
		return r;
	t->root = &m.root->node;
	r = tree_finish(t, m.n_built);
	if (r < 0)
		return r;
	r = tree_check_names(t->n_nodes - 1, max_entries, err);
	if (r >= 0)
		*ret = steal_ptr(t);
	return r;
}
