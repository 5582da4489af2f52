/* SPDX-License-Identifier: MIT */
/*
 * The merge once more, for comparison: a flat list of whole paths, searched from end to end for
 * everything. No tables, no tree, nothing shared with src/. Slow and, hopefully, obviously right.
 * Paths here start with '/', those of plumbing with '#'; "/" and "#" alone are the roots.
 */
#ifndef MORSEL_TESTS_MERGE_MODEL_H
#define MORSEL_TESTS_MERGE_MODEL_H

#include "layer_text.h"

struct model_file {
	char *path;
	uint32_t layer;
	const struct layer_entry *entry; /* whose attributes it has; NULL: an implied directory */
	uint32_t entry_layer;
	const struct layer_entry *waiting; /* a hardlink without its target */
	bool doomed;
};

struct model {
	struct model_file *files;
	size_t n;
	const struct layer_index *layers;
	uint32_t layer;
};

static inline const char *model_text(const struct model *m, uint32_t off)
{
	return (const char *)m->layers[m->layer].heap + off;
}

static inline bool model_is_dir(const struct model_file *f)
{
	return !f->waiting && (!f->entry || S_ISDIR(f->entry->mode));
}

static inline struct model_file *model_find(const struct model *m, const char *path)
{
	for (size_t i = 0; i < m->n; i++)
		if (!strcmp(m->files[i].path, path))
			return &m->files[i];
	return NULL;
}

/* "/" + "a" -> "/a", "/a" + "b" -> "/a/b" */
static inline char *model_join(const char *dir, const char *name, size_t n)
{
	char *p;

	MUST(asprintf(&p, "%s%s%.*s", dir, strlen(dir) > 1 ? "/" : "", (int)n, name) >= 0);
	return p;
}

static inline bool model_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	if (n == 1)
		return path[0] == dir[0] && path[1];
	return !strncmp(path, dir, n) && path[n] == '/';
}

static inline void model_remove_doomed(struct model *m)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->n; i++) {
		if (m->files[i].doomed)
			free(m->files[i].path);
		else
			m->files[kept++] = m->files[i];
	}
	m->n = kept;
}

static inline void model_delete(struct model *m, const char *path, bool itself)
{
	for (size_t i = 0; i < m->n; i++)
		if (model_below(m->files[i].path, path) ||
		    (itself && !strcmp(m->files[i].path, path)))
			m->files[i].doomed = true;
}

static inline struct model_file *model_add(struct model *m, const char *path)
{
	m->files = realloc(m->files, (m->n + 1) * sizeof(*m->files));
	MUST(m->files);
	m->files[m->n] = (struct model_file){.path = strdup(path), .layer = m->layer};
	return &m->files[m->n++];
}

/* The real path of a directory. *dir is replaced by it. 0, 1 (missing), -errno. */
static inline int model_walk(struct model *m, char root, const char *path, size_t len, bool create,
			     char **dir)
{
	char *todo = strndup(path, len), *cur = strndup(&root, 1);
	int links = 0, r = 0;

	while (!r && *todo) {
		size_t n = strcspn(todo, "/");
		char *name = strndup(todo, n), *rest = strdup(todo + n + (todo[n] == '/')), *next;
		struct model_file *f;

		free(todo);
		todo = rest;
		next = model_join(cur, name, n);
		f = model_find(m, next);
		if (!n || !strcmp(name, ".")) {
		} else if (!strcmp(name, "..")) {
			char *slash = strrchr(cur, '/');

			if (slash && slash != cur)
				*slash = 0;
			else
				cur[1] = 0;
		} else if (f && model_is_dir(f)) {
			cur[0] = 0;
			free(cur);
			cur = strdup(next);
		} else if (f && !f->waiting && S_ISLNK(f->entry->mode) && f->layer == m->layer) {
			const char *text =
				(const char *)m->layers[f->entry_layer].heap + f->entry->link_off;
			char *longer;

			MUST(asprintf(&longer, "%.*s/%s", (int)f->entry->link_len, text, rest) >=
			     0);
			if (*text == '/')
				cur[1] = 0;
			free(todo);
			todo = longer;
			r = ++links > 40 ? -EPERM : 0;
		} else if (create) {
			model_delete(m, next, true);
			model_remove_doomed(m);
			model_add(m, next);
			free(cur);
			cur = strdup(next);
		} else
			r = 1;
		free(name);
		free(next);
	}
	free(todo);
	if (r)
		free(cur);
	else
		*dir = cur;
	return r;
}

static inline size_t model_dir_len(const char *path, size_t len)
{
	while (len && path[len - 1] != '/')
		len--;
	return len;
}

/* The file a hardlink leads to, or NULL. */
static inline int model_target(struct model *m, const struct layer_entry *e,
			       struct model_file **ret)
{
	const char *target = model_text(m, e->link_off);
	size_t dir_len = model_dir_len(target, e->link_len);
	bool plumbing = memmem(target, e->link_len, ".wh..wh.", 8);
	char *dir, *path;
	int r = model_walk(m, plumbing ? '#' : '/', target, dir_len, false, &dir);

	*ret = NULL;
	if (r)
		return r < 0 ? r : 0;
	path = model_join(dir, target + dir_len, e->link_len - dir_len);
	*ret = model_find(m, path);
	if (*ret && ((*ret)->layer != m->layer || model_is_dir(*ret)))
		*ret = NULL;
	free(dir);
	free(path);
	return 0;
}

static inline int model_entry(struct model *m, const struct layer_entry *e)
{
	const char *path = model_text(m, e->path_off);
	size_t dir_len = model_dir_len(path, e->path_len);
	bool link = e->flags & ENTRY_HARDLINK;
	struct model_file *f, *target;
	char *dir, *real;
	int r;

	if (link && !e->path_len)
		return -EBADMSG;
	if (!link && S_ISCHR(e->mode) && !e->rdev_major && !e->rdev_minor)
		return -EPERM;
	r = model_walk(m, e->flags & ENTRY_HIDDEN ? '#' : '/', path, dir_len, true, &dir);
	if (r < 0)
		return r;
	real = e->path_len ? model_join(dir, path + dir_len, e->path_len - dir_len) : strdup("/");
	f = model_find(m, real);
	if (!f || !model_is_dir(f) || link || !S_ISDIR(e->mode)) {
		model_delete(m, real, true);
		model_remove_doomed(m);
		f = model_add(m, real);
	}
	f->layer = f->entry_layer = m->layer;
	f->entry = e;
	if (link) {
		f->waiting = e;
		r = model_target(m, e, &target);
		f = model_find(m, real);
		if (r >= 0 && target && !target->waiting) {
			f->entry = target->entry;
			f->entry_layer = target->entry_layer;
			f->waiting = NULL;
		}
	}
	free(dir);
	free(real);
	return r;
}

static inline int model_resolve(struct model *m, struct model_file *f)
{
	struct model_file *t = f;
	int r;

	for (size_t hops = 0; t->waiting; hops++) {
		if (hops > m->n)
			return -EBADMSG;
		r = model_target(m, t->waiting, &t);
		if (r < 0)
			return r;
		if (!t)
			return -EBADMSG;
	}
	f->entry = t->entry;
	f->entry_layer = t->entry_layer;
	f->waiting = NULL;
	return 0;
}

static inline void model_deletions(struct model *m)
{
	const struct layer_index *ix = &m->layers[m->layer];

	for (uint64_t i = 0; i < ix->header.n_entries; i++) {
		const struct layer_entry *e = &ix->entries[i];
		char *path = model_join("/", model_text(m, e->path_off), e->path_len);

		if (e->flags & ENTRY_HIDDEN) {
		} else if (e->flags & ENTRY_WHITEOUT)
			model_delete(m, path, true);
		else if (e->flags & (ENTRY_OPAQUE | ENTRY_OPAQUE_MARK))
			model_delete(m, path, false);
		free(path);
	}
	model_remove_doomed(m);
}

static inline int model_layer(struct model *m)
{
	const struct layer_index *ix = &m->layers[m->layer];
	int r = 0;

	model_add(m, "#");
	model_deletions(m);
	for (uint64_t i = 0; i < ix->header.n_entries && r >= 0; i++)
		if (!(ix->entries[i].flags & (ENTRY_WHITEOUT | ENTRY_OPAQUE_MARK)))
			r = model_entry(m, &ix->entries[i]);
	for (size_t i = 0; i < m->n && r >= 0; i++)
		if (m->files[i].waiting)
			r = model_resolve(m, &m->files[i]);
	model_delete(m, "#", true);
	model_remove_doomed(m);
	return r;
}

static inline int model_merge(struct model *m, const struct layer_index *layers, uint32_t n_layers)
{
	int r = 0;

	*m = (struct model){.layers = layers};
	model_add(m, "/");
	for (; m->layer < n_layers && r >= 0; m->layer++)
		r = model_layer(m);
	return r;
}

static inline void model_fini(struct model *m)
{
	model_delete(m, "/", true);
	model_delete(m, "#", true);
	model_remove_doomed(m);
	free(m->files);
}

/* ---- comparing ---- */

static inline void model_compare_inode(const struct model *m, const struct model_file *f,
				       const struct tree_inode *ino)
{
	static const struct layer_entry implied = {.mode = S_IFDIR | 0755};
	const struct layer_entry *e = f->entry ? f->entry : &implied;
	const uint8_t *heap = m->layers[f->entry_layer].heap;

	MUST(ino->mode == e->mode && ino->uid == e->uid && ino->gid == e->gid);
	MUST(ino->mtime_s == e->mtime_s && ino->mtime_ns == e->mtime_ns);
	MUST(ino->xattr_len == e->xattr_len && ino->xattr_count == e->xattr_count);
	MUST(!e->xattr_len || !memcmp(ino->xattrs, heap + e->xattr_off, e->xattr_len));
	if (S_ISREG(e->mode))
		MUST(ino->size == e->size && ino->data_off == e->data_off &&
		     ino->layer == f->entry_layer);
	else if (S_ISLNK(e->mode))
		MUST(ino->size == e->link_len &&
		     !memcmp(ino->link, heap + e->link_off, e->link_len));
	else if (S_ISCHR(e->mode) || S_ISBLK(e->mode))
		MUST(ino->rdev_major == e->rdev_major && ino->rdev_minor == e->rdev_minor);
}

/* Two names are one file when they came from the same entry. */
static inline uint32_t model_links(const struct model *m, const struct model_file *f)
{
	uint32_t n = 0;

	for (size_t i = 0; i < m->n; i++)
		if (model_is_dir(f))
			n += model_is_dir(&m->files[i]) && model_below(m->files[i].path, f->path) &&
			     !strchr(m->files[i].path + strlen(f->path) + (strlen(f->path) > 1),
				     '/');
		else
			n += m->files[i].entry == f->entry;
	return model_is_dir(f) ? n + 2 : n;
}

static inline void model_compare(const struct model *m, const struct tree *t)
{
	uint64_t inodes = 0;

	MUST(t->n_nodes == m->n);
	for (uint64_t i = 0; i < t->n_nodes; i++) {
		struct buf path = BUF_INIT;
		struct model_file *f;
		uint64_t first = 0;
		char *p;

		tree_path(t->nodes[i], &path);
		p = model_join("/", (const char *)path.data, path.len);
		f = model_find(m, p);
		MUST(f);
		model_compare_inode(m, f, t->nodes[i]->inode);
		MUST(t->nodes[i]->inode->nlink == model_links(m, f));
		while (t->nodes[first]->inode != t->nodes[i]->inode)
			first++;
		inodes += first == i;
		buf_fini(&path);
		free(p);
	}
	MUST(t->n_inodes == inodes);
}

#endif
