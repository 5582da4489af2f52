/* SPDX-License-Identifier: MIT */
/*
 * The merge, layer by layer from the bottom, T being the tree so far:
 *
 *  1. Whiteouts and opaque marks of the layer, whatever their order in it, delete from T.
 *  2. Its entries in order; later duplicates win. Directory over directory keeps the children and
 *     takes the new attributes; anything else replaces what was there.
 *  3. A missing parent becomes 0755 0:0; an existing directory keeps its attributes. A parent that
 *     is a symlink of the same layer is followed, inside the layer's root; one of a lower layer is
 *     replaced by a directory, as an overlay mount would show it.
 *  4. Hardlinks take their target's inode, which must be of the same layer and no directory. One
 *     whose target comes later waits for the layer's end (tables of contents need not be in order).
 *  5. AUFS plumbing grows in a second root that is thrown away: only hardlinks see it.
 *
 * Everything is linear in the number of entries, and nothing recurses: depth and chains are the
 * image author's to choose.
 */
#include "image/tree_build.h"

#include <errno.h>
#include <sys/stat.h>

#include "image/path.h"

#define SYMLINKS_MAX 40

struct merge {
	struct tree *t;
	struct name_table names;
	const struct layer_index *layers;
	uint32_t layer;
	struct build_node *root, *plumbing;
	uint64_t n_built, max_entries;
	struct buf waiting_list; /* hardlinks without an inode: struct build_node * */
	struct buf walk, splice;    /* paths being walked */
	/* the last parent, since neighbours share it */
	const uint8_t *last_dir;
	size_t last_dir_len;
	struct build_node *last_parent;
	struct error *err;
};

static const char *heap_text(const struct merge *m, uint32_t off)
{
	return (const char *)m->layers[m->layer].heap + off;
}

static int refuse(const struct merge *m, int code, const char *path, size_t n, const char *what)
{
	return error_set(m->err, code, "layer %u: \"%.*s\": %s", m->layer + 1, (int)min_u64(n, 200), path,
			 what);
}

static void forget_parent(struct merge *m)
{
	m->last_parent = NULL;
}

static void node_kill(struct merge *m, struct build_node *n)
{
	n->dead = true;
	forget_parent(m);
}

static struct tree_inode *inode_new(struct merge *m)
{
	return tree_alloc(m->t, sizeof(struct tree_inode));
}

static struct build_node *child_lookup(struct merge *m, struct build_node *dir, const char *name, size_t n)
{
	struct build_node *c = *name_table_slot(&m->names, &dir->node, name, n);

	return c && !c->dead ? c : NULL;
}

static int child_add(struct merge *m, struct build_node *dir, const char *name, size_t n,
		     struct build_node **ret)
{
	struct build_node **slot, *c = tree_alloc(m->t, sizeof(*c));
	bool fresh;

	if (!c)
		return -ENOMEM;
	if (++m->n_built > m->max_entries)
		return error_set(m->err, -E2BIG,
				 "layer %u: the image has more than %llu files (--max-entries)", m->layer + 1,
				 (unsigned long long)m->max_entries);
	*c = (struct build_node){.node = {.name = name, .name_len = (uint32_t)n, .parent = &dir->node},
				 .layer = m->layer,
				 .next_sibling = dir->first_child};
	dir->first_child = c;
	slot = name_table_slot(&m->names, &dir->node, name, n);
	fresh = !*slot;
	*slot = c;
	*ret = c;
	return fresh ? name_table_grow(&m->names) : 0;
}

static int dir_add(struct merge *m, struct build_node *parent, const char *name, size_t n,
		   struct build_node **ret)
{
	struct tree_inode *ino = inode_new(m);
	int r = child_add(m, parent, name, n, ret);

	if (!ino)
		return -ENOMEM;
	if (r < 0)
		return r;
	*ino = (struct tree_inode){.mode = S_IFDIR | 0755, .layer = m->layer};
	(*ret)->node.inode = ino;
	return 0;
}

static bool is_dir(const struct build_node *n)
{
	return n->node.inode && S_ISDIR(n->node.inode->mode);
}

static bool is_own_symlink(const struct merge *m, const struct build_node *n)
{
	return n->layer == m->layer && n->node.inode && S_ISLNK(n->node.inode->mode);
}

/* Names made on the way of a symlink live in the walk buffer only: keep those of new directories. */
static const char *name_keep(struct merge *m, const char *name, size_t n)
{
	char *own = tree_alloc(m->t, n);

	return own ? memcpy(own, name, n) : NULL;
}

/* Puts a symlink's text before the rest of the path. */
static int walk_splice(struct merge *m, const struct tree_inode *link, size_t rest)
{
	int r;

	m->splice.len = 0;
	r = buf_append(&m->splice, link->link, link->size);
	if (r >= 0)
		r = buf_append(&m->splice, "/", 1);
	if (r >= 0)
		r = buf_append(&m->splice, m->walk.data + rest, m->walk.len - rest);
	if (r >= 0) {
		struct buf old = m->walk;

		m->walk = m->splice;
		m->splice = old;
	}
	return r;
}

/* One component of a parent path. create: false when looking for a hardlink's target. */
static int step(struct merge *m, struct build_node **dir, const char *name, size_t n, bool create,
		struct build_node **ret_link)
{
	struct build_node *c;

	*ret_link = NULL;
	if (n == 1 && *name == '.')
		return 0;
	if (n == 2 && !memcmp(name, "..", 2)) {
		*dir = (struct build_node *)(*dir)->node.parent;
		return 0;
	}
	c = child_lookup(m, *dir, name, n);
	if (c && is_dir(c)) {
		*dir = c;
		return 0;
	}
	if (c && is_own_symlink(m, c)) {
		*ret_link = c;
		return 0;
	}
	if (!create)
		return -ENOENT;
	if (c)
		node_kill(m, c);
	name = name_keep(m, name, n);
	return name ? dir_add(m, *dir, name, n, dir) : -ENOMEM;
}

/* Walks a directory path from root, making what is missing. */
static int dir_walk(struct merge *m, struct build_node *root, const char *path, size_t len, bool create,
		    struct build_node **ret)
{
	struct build_node *dir = root, *link;
	unsigned links = 0;
	size_t at = 0;
	int r;

	m->walk.len = 0;
	r = buf_append(&m->walk, path, len);
	while (r >= 0 && at < m->walk.len) {
		const char *p = (const char *)m->walk.data + at, *slash = memchr(p, '/', m->walk.len - at);
		size_t n = slash ? (size_t)(slash - p) : m->walk.len - at;

		at += n + (slash != NULL);
		if (!n)
			continue;
		r = step(m, &dir, p, n, create, &link);
		if (r < 0 || !link)
			continue;
		if (++links > SYMLINKS_MAX)
			return refuse(m, -EPERM, path, len, "more than 40 symlinks on its way");
		if (link->node.inode->size && *link->node.inode->link == '/')
			dir = root;
		r = walk_splice(m, link->node.inode, at);
		at = 0;
	}
	*ret = dir;
	return r;
}

static void path_split(const char *path, size_t len, size_t *ret_dir_len, const char **ret_name,
		       size_t *ret_name_len)
{
	const char *slash = memrchr(path, '/', len);

	*ret_dir_len = slash ? (size_t)(slash - path) : 0;
	*ret_name = slash ? slash + 1 : path;
	*ret_name_len = len - (size_t)(*ret_name - path);
}

static int parent_of(struct merge *m, struct build_node *root, const char *path, size_t dir_len,
		     struct build_node **ret)
{
	int r;

	if (m->last_parent && root == m->root && m->last_dir_len == dir_len &&
	    !memcmp(m->last_dir, path, dir_len)) {
		*ret = m->last_parent;
		return 0;
	}
	r = dir_walk(m, root, path, dir_len, true, ret);
	if (r >= 0 && root == m->root) {
		m->last_dir = (const uint8_t *)path;
		m->last_dir_len = dir_len;
		m->last_parent = *ret;
	}
	return r;
}

/* ---- pass 1: what the layer deletes from the tree so far ---- */

/* Lower directories only, nothing followed, nothing made. */
static struct build_node *lower_lookup(struct merge *m, const char *path, size_t len)
{
	struct build_node *n = m->root;

	for (size_t at = 0; at < len && n;) {
		const char *slash = memchr(path + at, '/', len - at);
		size_t c = slash ? (size_t)(slash - path) - at : len - at;

		n = is_dir(n) ? child_lookup(m, n, path + at, c) : NULL;
		at += c + 1;
	}
	return n;
}

static void deletions_apply(struct merge *m)
{
	const struct layer_index *ix = &m->layers[m->layer];

	for (uint64_t i = 0; i < ix->header.n_entries; i++) {
		const struct layer_entry *e = &ix->entries[i];
		struct build_node *n;

		if (!(e->flags & (ENTRY_WHITEOUT | ENTRY_OPAQUE | ENTRY_OPAQUE_MARK)))
			continue;
		n = lower_lookup(m, heap_text(m, e->path_off), e->path_len);
		if (!n)
			continue;
		if (e->flags & ENTRY_WHITEOUT)
			node_kill(m, n);
		else
			for (struct build_node *c = n->first_child; c; c = c->next_sibling)
				c->dead = true;
	}
	forget_parent(m);
}

/* ---- pass 2: what it adds ---- */

static void inode_fill(const struct merge *m, const struct layer_entry *e, struct tree_inode *ino)
{
	*ino = (struct tree_inode){
		.mode = e->mode,
		.uid = e->uid,
		.gid = e->gid,
		.mtime_s = e->mtime_s,
		.mtime_ns = e->mtime_ns,
		.rdev_major = e->rdev_major,
		.rdev_minor = e->rdev_minor,
		.layer = m->layer,
		.size = S_ISREG(e->mode) || S_ISLNK(e->mode) ? e->size : 0,
		.data_off = e->data_off,
		.link = S_ISLNK(e->mode) ? heap_text(m, e->link_off) : NULL,
		.xattrs = (const uint8_t *)heap_text(m, e->xattr_off),
		.xattr_len = e->xattr_len,
		.xattr_count = e->xattr_count,
	};
}

static struct build_node *target_lookup(struct merge *m, const char *path, size_t len)
{
	char own[PATH_LEN_MAX + 1];
	struct build_node *dir;
	enum path_kind kind = PATH_PLAIN;
	size_t n = len, dir_len, name_len;
	const char *name;

	memcpy(own, path, len);
	own[len] = 0;
	if (path_classify(own, &n, &kind, NULL) < 0)
		return NULL;
	path_split(path, len, &dir_len, &name, &name_len);
	if (dir_walk(m, kind == PATH_PLUMBING ? m->plumbing : m->root, path, dir_len, false, &dir) < 0)
		return NULL;
	return child_lookup(m, dir, name, name_len);
}

static int hardlink_add(struct merge *m, struct build_node *n, const struct layer_entry *e)
{
	const char *target = heap_text(m, e->link_off);
	struct build_node *t;

	n->node.inode = NULL;
	t = target_lookup(m, target, e->link_len);
	if (t && t != n && t->layer == m->layer && t->node.inode && !S_ISDIR(t->node.inode->mode)) {
		n->node.inode = t->node.inode;
		return 0;
	}
	n->target = target;
	n->target_len = e->link_len;
	return buf_append(&m->waiting_list, &n, sizeof(n));
}

static int entry_add(struct merge *m, const struct layer_entry *e)
{
	struct build_node *root = e->flags & ENTRY_HIDDEN ? m->plumbing : m->root, *parent, *n;
	const char *path = heap_text(m, e->path_off), *name;
	size_t dir_len, name_len;
	int r;

	if (e->flags & (ENTRY_WHITEOUT | ENTRY_OPAQUE_MARK))
		return 0;
	if (S_ISCHR(e->mode) && !e->rdev_major && !e->rdev_minor && !(e->flags & ENTRY_HARDLINK))
		return refuse(m, -EPERM, path, e->path_len, "a character device 0:0, which is refused");
	if (!e->path_len) {
		inode_fill(m, e, m->root->node.inode);
		return 0;
	}
	path_split(path, e->path_len, &dir_len, &name, &name_len);
	r = parent_of(m, root, path, dir_len, &parent);
	if (r < 0)
		return r;
	n = child_lookup(m, parent, name, name_len);
	if (n && is_dir(n) && S_ISDIR(e->mode) && !(e->flags & ENTRY_HARDLINK)) {
		inode_fill(m, e, n->node.inode);
		n->layer = m->layer;
		return 0;
	}
	if (n)
		node_kill(m, n);
	r = child_add(m, parent, name, name_len, &n);
	if (r < 0)
		return r;
	if (e->flags & ENTRY_HARDLINK)
		return hardlink_add(m, n, e);
	n->node.inode = inode_new(m);
	if (!n->node.inode)
		return -ENOMEM;
	inode_fill(m, e, n->node.inode);
	return 0;
}

/* Follows a chain of waiting links to an inode, and gives it to all of them. */
static int waiting_resolve(struct merge *m, struct build_node *n)
{
	struct build_node *t = n, *next;
	struct tree_inode *ino = NULL;

	while (!ino) {
		if (t->visiting)
			return refuse(m, -EBADMSG, n->target, n->target_len, "hardlinks that lead to themselves");
		t->visiting = true;
		next = target_lookup(m, t->target, t->target_len);
		if (!next || next->layer != m->layer || is_dir(next))
			return refuse(m, -EBADMSG, t->target, t->target_len,
				      "the target of a hardlink is not a file of the same layer");
		ino = next->node.inode;
		t = next;
	}
	for (t = n; t && !t->node.inode; t = next) {
		next = target_lookup(m, t->target, t->target_len);
		t->node.inode = ino;
		t->visiting = false;
	}
	return 0;
}

static int waiting_finish(struct merge *m)
{
	struct build_node **list = (struct build_node **)m->waiting_list.data;
	size_t n = m->waiting_list.len / sizeof(*list);
	int r = 0;

	for (size_t i = 0; i < n && r >= 0; i++)
		if (!list[i]->dead && !list[i]->node.inode)
			r = waiting_resolve(m, list[i]);
	m->waiting_list.len = 0;
	return r;
}

static int layer_merge(struct merge *m)
{
	const struct layer_index *ix = &m->layers[m->layer];
	int r = 0;

	deletions_apply(m);
	for (uint64_t i = 0; i < ix->header.n_entries && r >= 0; i++)
		r = entry_add(m, &ix->entries[i]);
	if (r >= 0)
		r = waiting_finish(m);
	for (struct build_node *c = m->plumbing->first_child; c; c = c->next_sibling)
		c->dead = true;
	return r;
}

static int root_add(struct merge *m, struct build_node **ret)
{
	struct build_node *n = tree_alloc(m->t, sizeof(*n));
	struct tree_inode *ino = inode_new(m);

	if (!n || !ino)
		return -ENOMEM;
	*ino = (struct tree_inode){.mode = S_IFDIR | 0755};
	*n = (struct build_node){.node = {.name = "", .inode = ino}};
	n->node.parent = &n->node;
	*ret = n;
	return 0;
}

int tree_merge(const struct layer_index *layers, uint32_t n_layers, uint64_t max_entries,
	       struct tree **ret, struct error *err)
{
	_cleanup_(tree_freep) struct tree *t = calloc(1, sizeof(*t));
	struct merge m = {.t = t, .layers = layers, .max_entries = max_entries, .err = err};
	uint64_t expected = 0;
	int r;

	if (!t)
		return -ENOMEM;
	for (uint32_t i = 0; i < n_layers; i++)
		expected += layers[i].header.n_entries;
	r = name_table_init(&m.names, expected);
	if (r >= 0)
		r = root_add(&m, &m.root);
	if (r >= 0)
		r = root_add(&m, &m.plumbing);
	for (; m.layer < n_layers && r >= 0; m.layer++) {
		r = layer_merge(&m);
		t->dropped_xattrs += layers[m.layer].header.dropped_xattrs;
	}
	if (r >= 0) {
		t->root = &m.root->node;
		t->n_layers = n_layers;
		r = tree_finish(t, m.n_built);
	}
	name_table_fini(&m.names);
	buf_fini(&m.waiting_list);
	buf_fini(&m.walk);
	buf_fini(&m.splice);
	if (r < 0)
		return r;
	*ret = steal_ptr(t);
	return 0;
}
