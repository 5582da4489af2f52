/* SPDX-License-Identifier: MIT */
/*
 * Paths in the tree that grows. Only symlinks of the layer being merged are followed, inside the
 * layer's root: those of lower layers are what an overlay mount would hide behind a directory.
 */
#include "image/tree_build.h"

#include <errno.h>
#include <sys/stat.h>

#include "image/path.h"

#define SYMLINKS_MAX 40 /* on the way of one name, as Linux allows */

int merge_refuse(const struct merge *m, int code, const char *what)
{
	const char *path = (const char *)m->layers[m->layer].heap + m->entry->path_off;

	return error_set(m->err, code, "layer %u: \"%.*s\": %s", m->layer + 1,
			 (int)min_u64(m->entry->path_len, 200), path, what);
}

struct build_node *merge_child(const struct merge *m, const struct build_node *dir,
			       const char *name, size_t n)
{
	struct build_node *c = *name_table_slot(&m->names, &dir->node, name, n);

	return c && !c->dead ? c : NULL;
}

int merge_add_child(struct merge *m, struct build_node *dir, const char *name, size_t n,
		    struct build_node **ret)
{
	struct build_node **slot, *c;
	bool fresh;

	if (dir->depth >= PATH_DEPTH_MAX)
		return merge_refuse(m, -E2BIG, "deeper than 1024 directories");
	if (m->n_built >= m->max_built)
		return merge_refuse(m, -E2BIG,
				    "the image has too many files up to here (--max-entries)");
	c = tree_alloc(m->t, sizeof(*c));
	if (!c)
		return -ENOMEM;
	m->n_built++;
	*c = (struct build_node){
		.node = {.name = name, .name_len = (uint32_t)n, .parent = &dir->node},
		.layer = (uint16_t)m->layer,
		.depth = (uint16_t)(dir->depth + 1),
		.next_sibling = dir->first_child,
	};
	dir->first_child = c;
	slot = name_table_slot(&m->names, &dir->node, name, n);
	fresh = !*slot;
	*slot = c;
	*ret = c;
	return fresh ? name_table_grow(&m->names) : 0;
}

/* Remembered parents stay right as long as no directory or symlink on their way goes. */
static void forget_parent(struct merge *m, const struct build_node *n)
{
	if (!n->node.inode || !S_ISREG(n->node.inode->mode))
		m->last_parent = NULL;
}

void merge_kill(struct merge *m, struct build_node *n)
{
	forget_parent(m, n);
	n->dead = true;
}

void merge_reset(struct merge *m, struct build_node *n)
{
	forget_parent(m, n);
	n->node.inode = NULL;
	n->first_child = NULL;
	n->layer = (uint16_t)m->layer;
	n->visiting = false;
}

/* Makes an implied directory of a new name, or of the file c that is in its place. */
static int dir_make(struct merge *m, struct build_node *dir, struct build_node *c, const char *name,
		    size_t n, struct build_node **ret)
{
	struct tree_inode *ino = tree_alloc(m->t, sizeof(*ino));
	int r = 0;

	if (!ino)
		return -ENOMEM;
	if (c)
		merge_reset(m, c);
	else
		r = merge_add_child(m, dir, name, n, &c);
	if (r < 0)
		return r;
	*ino = (struct tree_inode){.mode = S_IFDIR | 0755, .layer = m->layer};
	c->node.inode = ino;
	*ret = c;
	return 0;
}

static bool is_own_symlink(const struct merge *m, const struct build_node *n)
{
	return n->layer == m->layer && n->node.inode && S_ISLNK(n->node.inode->mode);
}

struct walk {
	struct build_node *root;
	struct build_node *dir; /* reached so far */
	const char *p, *end;	/* what is left of the path */
	unsigned links;		/* followed; the path is in m->walk when there were any */
	bool create;
};

/* Puts a symlink's text before the rest of the path. */
static int walk_link(struct merge *m, struct walk *w, const struct tree_inode *link)
{
	size_t rest = (size_t)(w->end - w->p);
	struct buf old = m->walk;
	int r;

	if (++w->links > SYMLINKS_MAX)
		return merge_refuse(m, -EPERM, "more than 40 symlinks on its way");
	if (m->link_budget < link->size + rest + 1)
		return merge_refuse(m, -E2BIG, "the layer's names go through too many symlinks");
	m->link_budget -= link->size + rest + 1;
	m->splice.len = 0;
	r = buf_append(&m->splice, link->link, link->size);
	if (r >= 0)
		r = buf_append(&m->splice, "/", 1);
	if (r >= 0)
		r = buf_append(&m->splice, w->p, rest);
	if (r < 0)
		return r;
	m->walk = m->splice;
	m->splice = old;
	w->p = (const char *)m->walk.data;
	w->end = w->p + m->walk.len;
	if (*w->p == '/')
		w->dir = w->root;
	return 0;
}

static int walk_make(struct merge *m, struct walk *w, struct build_node *c, const char *name,
		     size_t n)
{
	if (n > NAME_LEN_MAX)
		return merge_refuse(m, -E2BIG, "a symlink on its way has a name over 255 bytes");
	if (!c && w->links) { /* m->walk does not last */
		char *own = tree_alloc(m->t, n);

		if (!own)
			return -ENOMEM;
		name = memcpy(own, name, n);
	}
	return dir_make(m, w->dir, c, name, n, &w->dir);
}

/* One component. */
static int walk_step(struct merge *m, struct walk *w, const char *name, size_t n)
{
	struct build_node *c;

	if (!n || (n == 1 && *name == '.'))
		return 0;
	if (n == 2 && !memcmp(name, "..", 2)) {
		w->dir = (struct build_node *)w->dir->node.parent;
		return 0;
	}
	c = merge_child(m, w->dir, name, n);
	if (c && build_is_dir(c)) {
		w->dir = c;
		return 0;
	}
	if (c && is_own_symlink(m, c))
		return walk_link(m, w, c->node.inode);
	return w->create ? walk_make(m, w, c, name, n) : PATH_MISSING;
}

static int walk(struct merge *m, struct walk *w)
{
	int r = 0;

	while (!r && w->p < w->end) {
		const char *name = w->p, *slash = memchr(name, '/', (size_t)(w->end - name));

		w->p = slash ? slash + 1 : w->end;
		r = walk_step(m, w, name, (size_t)((slash ? slash : w->end) - name));
	}
	return r;
}

int merge_parent(struct merge *m, struct build_node *root, const char *dir, size_t len,
		 struct build_node **ret)
{
	struct walk w = {.root = root, .dir = root, .p = dir, .end = dir + len, .create = true};
	int r;

	if (m->last_parent && root == m->root && m->last_dir_len == len &&
	    !memcmp(m->last_dir, dir, len)) {
		*ret = m->last_parent;
		return 0;
	}
	r = walk(m, &w);
	if (r < 0)
		return r;
	*ret = w.dir;
	if (root == m->root) {
		m->last_dir = dir;
		m->last_dir_len = len;
		m->last_parent = w.dir;
	}
	return 0;
}

int merge_target(struct merge *m, const char *path, size_t len, struct build_node **ret)
{
	const char *slash = memrchr(path, '/', len), *name = slash ? slash + 1 : path;
	struct walk w = {.p = path, .end = slash ? slash : path};
	enum path_kind kind = PATH_PLAIN;
	char own[PATH_LEN_MAX + 1];
	size_t n = len;
	int r;

	memcpy(own, path, len);
	own[len] = 0;
	if (path_classify(own, &n, &kind, NULL) < 0)
		return PATH_MISSING;
	w.root = w.dir = kind == PATH_PLUMBING ? m->plumbing : m->root;
	r = walk(m, &w);
	if (r)
		return r;
	*ret = merge_child(m, w.dir, name, (size_t)(path + len - name));
	return *ret ? 0 : PATH_MISSING;
}

struct build_node *merge_lower(const struct merge *m, const char *path, size_t len)
{
	struct build_node *n = m->root;

	for (size_t at = 0; at < len && n;) {
		const char *slash = memchr(path + at, '/', len - at);
		size_t c = slash ? (size_t)(slash - path) - at : len - at;

		n = merge_child(m, n, path + at, c);
		at += c + 1;
	}
	return n;
}
