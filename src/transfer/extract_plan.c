/* SPDX-License-Identifier: MIT */
/*
 * The index is walked generation by generation. A name is wanted when it matches what is included
 * (or nothing is said about that) and not what is excluded; directories on the way to what is
 * wanted are kept with their attributes.
 *
 * The index is one that we wrote, but it has been on a disk: a loop or a name that is none is
 * damage, not a reason to run on.
 */
#include "transfer/extract_impl.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define DIRENT_BYTES 12u /* the least that a name takes in the index */
#define TYPE_DIR 2u	 /* EROFS file type */

static int index_damaged(struct error *err)
{
	return error_set(err, -EBADMSG,
			 "the image's index is damaged; run \"morsel cache verify\"");
}

void plan_fini(struct plan *p)
{
	free(p->nodes);
	*p = (struct plan){0};
}

void plan_name(const struct plan *p, uint32_t i, char out[static NAME_LEN_MAX + 1])
{
	memcpy(out, p->nodes[i].name, p->nodes[i].name_len);
	out[p->nodes[i].name_len] = 0;
}

void plan_path(const struct plan *p, uint32_t i, char *out)
{
	size_t at = 0, len = 0;

	for (uint32_t k = i; k; k = p->nodes[k].parent)
		len += p->nodes[k].name_len + (size_t)(k != i);
	out[at = len] = 0;
	for (uint32_t k = i; k; k = p->nodes[k].parent) {
		if (k != i)
			out[--at] = '/';
		at -= p->nodes[k].name_len;
		memcpy(out + at, p->nodes[k].name, p->nodes[k].name_len);
	}
}

/* ---- walking ---- */

static bool name_is_good(const struct erofs_dirent *d)
{
	return d->name_len && d->name_len <= NAME_LEN_MAX && !memchr(d->name, '/', d->name_len) &&
	       !memchr(d->name, 0, d->name_len);
}

static bool is_dots(const struct erofs_dirent *d)
{
	return d->name[0] == '.' && (d->name_len == 1 || (d->name_len == 2 && d->name[1] == '.'));
}

static int node_add(struct plan *p, const struct plan_node *node, struct error *err)
{
	if (p->n == p->cap) {
		uint32_t cap = p->cap ? 2 * p->cap : 1024;
		struct plan_node *more = reallocarray(p->nodes, cap, sizeof(*more));

		if (!more)
			return -ENOMEM;
		p->nodes = more;
		p->cap = cap;
	}
	if (p->n > p->o->n_roots * (p->o->fs->len / DIRENT_BYTES + 1))
		return index_damaged(err); /* more names than its bytes can hold: a loop */
	p->nodes[p->n] = *node;
	p->nodes[p->n].first = p->n;
	p->n++;
	return 0;
}

/* Applies the patterns to a node; false: it, and what is below it, is left out. */
static bool node_choose(const struct plan *p, struct plan_node *node, const char *dir_path)
{
	const struct extract_options *o = p->o;
	char path[2 * (PATH_LEN_MAX + 1)];
	bool excluded;

	node->wanted = true;
	if (!o->include && !o->exclude)
		return true;
	snprintf(path, sizeof(path), "%s%s%.*s", dir_path, *dir_path ? "/" : "",
		 (int)node->name_len, node->name);
	excluded = o->exclude && ignore_matches(o->exclude, path);
	if (excluded && !(node->is_dir && ignore_may_take_back(o->exclude, path)))
		return false;
	node->wanted = !excluded && (!o->include || ignore_matches(o->include, path));
	return node->wanted || node->is_dir;
}

/* The directory's path in the image: what patterns speak of. */
static int dir_path_get(const struct plan *p, uint32_t i, char *out, size_t n, struct error *err)
{
	char below[PATH_LEN_MAX + 1];
	size_t len = 0;

	for (uint32_t k = i; k; k = p->nodes[k].parent)
		if ((len += p->nodes[k].name_len + 1u) > PATH_LEN_MAX)
			return index_damaged(err);
	plan_path(p, i, below);
	snprintf(out, n, "%s%s%s", p->o->root_path, *p->o->root_path && *below ? "/" : "", below);
	return 0;
}

static int dir_walk(struct plan *p, uint32_t i, struct error *err)
{
	const struct erofs *fs = p->o->fs;
	char path[2 * (PATH_LEN_MAX + 1)];
	struct erofs_dirent d = {0};
	struct erofs_inode ino;
	int r = dir_path_get(p, i, path, sizeof(path), err);

	if (r < 0)
		return r;
	if (erofs_inode_get(fs, p->nodes[i].nid, &ino) < 0 || !S_ISDIR(ino.mode))
		return index_damaged(err);
	p->nodes[i].children = p->n;
	while (!(r = erofs_readdir(fs, &ino, d.next, &d))) {
		struct plan_node node = {.nid = d.nid,
					 .name = d.name,
					 .name_len = (uint8_t)d.name_len,
					 .is_dir = d.type == TYPE_DIR,
					 .parent = i};

		if (!name_is_good(&d))
			return index_damaged(err);
		if (is_dots(&d) || !node_choose(p, &node, path))
			continue;
		r = node_add(p, &node, err);
		if (r < 0)
			return r;
	}
	p->nodes[i].n_children = p->n - p->nodes[i].children;
	return r == EROFS_END ? 0 : index_damaged(err);
}

/* ---- what is left of it ---- */

/* From the leaves up: a directory that is only on the way to something. */
static void keep_what_is_wanted(struct plan *p)
{
	for (uint32_t i = p->n; i-- > 0;) {
		struct plan_node *node = &p->nodes[i];

		node->kept |= node->wanted || !i;
		p->n_kept += node->kept;
		if (node->kept)
			p->nodes[node->parent].kept = true;
	}
}

static int by_inode(const void *a, const void *b, void *nodes)
{
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	uint64_t x = ((const struct plan_node *)nodes)[i].nid;
	uint64_t y = ((const struct plan_node *)nodes)[j].nid;

	if (x != y)
		return x < y ? -1 : 1;
	return i < j ? -1 : i > j;
}

/* Groups the names of one inode, and sums contents. */
static int links_group(struct plan *p, struct error *err)
{
	_cleanup_(freep) uint32_t *order = malloc(((size_t)p->n + 1) * sizeof(*order));
	struct erofs_inode ino;
	uint32_t n = 0;

	if (!order)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->n; i++) {
		const struct plan_node *node = &p->nodes[i];

		if (!node->kept || node->is_dir)
			continue;
		if (erofs_inode_get(p->o->fs, node->nid, &ino) < 0 || S_ISDIR(ino.mode))
			return index_damaged(err);
		if (ino.nlink > 1)
			order[n++] = i;
		else if (S_ISREG(ino.mode))
			p->bytes += ino.size;
	}
	qsort_r(order, n, sizeof(*order), by_inode, p->nodes);
	for (uint32_t i = 0; i < n; i++) {
		struct plan_node *node = &p->nodes[order[i]];

		if (i && node->nid == p->nodes[order[i - 1]].nid)
			node->first = p->nodes[order[i - 1]].first;
		else if (!erofs_inode_get(p->o->fs, node->nid, &ino) && S_ISREG(ino.mode))
			p->bytes += ino.size;
	}
	return 0;
}

/* Below a destination that is not itself the image's. */
static int named_add(struct plan *p, struct error *err)
{
	int r = 0;

	p->nodes[0].absent = true;
	p->nodes[0].children = p->n;
	for (uint32_t i = 0; i < p->o->n_roots && r >= 0; i++) {
		const struct extract_root *root = &p->o->roots[i];
		struct plan_node node = {.nid = root->nid,
					 .name = root->name,
					 .name_len = (uint8_t)strlen(root->name),
					 .wanted = true};
		struct erofs_inode ino;

		if (erofs_inode_get(p->o->fs, root->nid, &ino) < 0)
			return index_damaged(err);
		node.is_dir = S_ISDIR(ino.mode);
		r = node_add(p, &node, err);
	}
	p->nodes[0].n_children = p->n - p->nodes[0].children;
	return r;
}

int plan_make(const struct extract_options *o, struct plan *ret, struct error *err)
{
	struct plan p = {.o = o};
	struct plan_node root = {.nid = o->roots[0].nid, .is_dir = true};
	bool named = *o->roots[0].name;
	int r;

	root.wanted = !o->include || (*o->root_path && ignore_matches(o->include, o->root_path));
	r = node_add(&p, &root, err);
	if (r >= 0 && named)
		r = named_add(&p, err);
	for (uint32_t i = named; i < p.n && r >= 0; i++)
		if (p.nodes[i].is_dir)
			r = dir_walk(&p, i, err);
	if (r >= 0) {
		keep_what_is_wanted(&p);
		r = links_group(&p, err);
	}
	if (r >= 0 && o->include && p.n_kept == 1 && !root.wanted)
		r = error_set(err, -ENOENT, "no file of the image matches what is included");
	if (r < 0) {
		plan_fini(&p);
		return r;
	}
	*ret = p;
	return 0;
}
