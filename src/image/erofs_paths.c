/* SPDX-License-Identifier: MIT */
#include "image/erofs_paths.h"

#include <errno.h>
#include <limits.h>

#define DEPTH_MAX 1024
#define DIRENT_BYTES 12
#define TYPE_DIRECTORY 2

struct found {
	uint64_t nid;
	char *path;
};

struct erofs_paths {
	struct found *found; /* by nid */
	size_t n;
};

struct walk {
	const struct erofs *fs;
	struct erofs_paths *p; /* NULL: names are counted only */
	char path[PATH_MAX];
	uint64_t names;
	uint64_t entries_left; /* no image holds more: a directory in itself ends there */
};

static int nid_compare(const void *x, const void *y)
{
	const struct found *a = x, *b = y;

	return a->nid < b->nid ? -1 : a->nid > b->nid;
}

static struct found *find(const struct erofs_paths *p, uint64_t nid)
{
	struct found key = {.nid = nid};

	return p->n ? bsearch(&key, p->found, p->n, sizeof(key), nid_compare) : NULL;
}

static int note(struct walk *w, uint64_t nid)
{
	struct found *f = w->p ? find(w->p, nid) : NULL;

	if (!f || f->path)
		return 0;
	f->path = strdup(w->path);
	return f->path ? 0 : -ENOMEM;
}

static bool is_dot(const struct erofs_dirent *d)
{
	return d->name[0] == '.' && (d->name_len == 1 || (d->name_len == 2 && d->name[1] == '.'));
}

static int walk_dir(struct walk *w, uint64_t nid, size_t len, unsigned depth)
{
	struct erofs_dirent d = {0};
	struct erofs_inode dir;
	int r = 0;

	if (depth > DEPTH_MAX || erofs_inode_get(w->fs, nid, &dir) < 0)
		return 0;
	while (r >= 0 && erofs_readdir(w->fs, &dir, d.next, &d) == 0) {
		if (!w->entries_left--) {
			w->entries_left = 0;
			return 0;
		}
		if (is_dot(&d) || len + 1 + d.name_len >= sizeof(w->path))
			continue;
		w->path[len] = '/';
		memcpy(w->path + len + 1, d.name, d.name_len);
		w->path[len + 1 + d.name_len] = 0;
		w->names++;
		r = note(w, d.nid);
		if (r >= 0 && d.type == TYPE_DIRECTORY)
			r = walk_dir(w, d.nid, len + 1 + d.name_len, depth + 1);
	}
	return r;
}

uint64_t erofs_count_names(const struct erofs *fs)
{
	struct walk w = {.fs = fs, .entries_left = fs->len / DIRENT_BYTES};

	walk_dir(&w, fs->root_nid, 0, 0);
	return w.names;
}

int erofs_paths_new(const struct erofs *fs, const uint64_t *nids, size_t n,
		    struct erofs_paths **ret)
{
	_cleanup_(erofs_paths_freep) struct erofs_paths *p = calloc(1, sizeof(*p));
	struct walk w = {.fs = fs, .p = p, .path = "/", .entries_left = fs->len / DIRENT_BYTES};
	int r;

	if (!p || !(p->found = calloc(n + 1, sizeof(*p->found))))
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		p->found[i].nid = nids[i];
	if (n)
		qsort(p->found, n, sizeof(*p->found), nid_compare);
	for (size_t i = 0; i < n; i++)
		if (!p->n || p->found[p->n - 1].nid != p->found[i].nid)
			p->found[p->n++].nid = p->found[i].nid;
	r = note(&w, fs->root_nid);
	if (r >= 0)
		r = walk_dir(&w, fs->root_nid, 0, 0);
	if (r >= 0)
		*ret = steal_ptr(p);
	return r;
}

void erofs_paths_free(struct erofs_paths *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n; i++)
		free(p->found[i].path);
	free(p->found);
	free(p);
}

const char *erofs_paths_get(const struct erofs_paths *p, uint64_t nid)
{
	struct found *f = find(p, nid);

	return f ? f->path : NULL;
}
