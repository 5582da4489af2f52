/* SPDX-License-Identifier: MIT */
#include "image/erofs_dir.h"

#include <sys/stat.h>

#include "image/erofs_format.h"

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

static bool dir_next(struct dir_iter *it, const char **name, uint32_t *len,
		     const struct tree_node **ret)
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

uint64_t erofs_dir_measure(const struct tree_node *dir)
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

void erofs_dir_write(const struct tree_node *dir, uint8_t *blocks, uint8_t *tail)
{
	struct dir_iter it = {.dir = dir};
	uint64_t full = dir->inode->size / EROFS_BLOCK;
	uint32_t count;

	for (uint64_t b = 0; (count = dir_block_count(it)); b++)
		dir_block_write(&it, count, b < full ? blocks + b * EROFS_BLOCK : tail);
}
