/* SPDX-License-Identifier: MIT */
/*
 * Layers and trees as text, for tests. One line an entry:
 *
 *   d|f|b|c|p PATH [key=value...]   directory, file, block, character device, fifo
 *   l PATH TEXT [key=value...]      symlink
 *   h PATH TARGET                   hardlink
 *   w PATH      o PATH              whiteout; opaque mark
 *
 * Keys: m octal mode, u uid, g gid, t mtime, ns, s size, r MAJOR:MINOR, x NAME:VALUE (repeatable),
 * O=1 opaque, H=1 hidden plumbing. Defaults: m 755 for directories, 777 symlinks, 644; s 1. "/" is
 * the root. A tree is written the same way, sorted by path, defaults left out, the root only when
 * it has any other; with L the layer (1 is the bottom) of files, and for a file of several names n,
 * their number, and i, the first of them.
 */
#ifndef MORSEL_TESTS_LAYER_TEXT_H
#define MORSEL_TESTS_LAYER_TEXT_H

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "image/layer_index.h"
#include "image/tree.h"

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* One xattr in heap form, appended. */
static inline void xattr_put(struct buf *b, const char *name, size_t name_len, const void *value,
			     size_t n)
{
	uint8_t head[8] = {0};

	le16_put(head, (uint16_t)name_len);
	le32_put(head + 4, (uint32_t)n);
	MUST(buf_append(b, head, sizeof(head)) >= 0);
	MUST(buf_append(b, name, name_len) >= 0);
	MUST(buf_append(b, value, n) >= 0);
}

static inline void layer_text_key(struct layer_entry *e, struct buf *xattrs, char *key)
{
	char *value = strchr(key, '='), *colon;

	MUST(value);
	*value++ = 0;
	colon = strchr(value, ':');
	if (!strcmp(key, "m"))
		e->mode = (e->mode & S_IFMT) | (uint32_t)strtoul(value, NULL, 8);
	else if (!strcmp(key, "u"))
		e->uid = (uint32_t)strtoul(value, NULL, 10);
	else if (!strcmp(key, "g"))
		e->gid = (uint32_t)strtoul(value, NULL, 10);
	else if (!strcmp(key, "t"))
		e->mtime_s = strtoll(value, NULL, 10);
	else if (!strcmp(key, "ns"))
		e->mtime_ns = (uint32_t)strtoul(value, NULL, 10);
	else if (!strcmp(key, "s"))
		e->size = strtoull(value, NULL, 10);
	else if (!strcmp(key, "O"))
		e->flags |= ENTRY_OPAQUE;
	else if (!strcmp(key, "H"))
		e->flags |= ENTRY_HIDDEN;
	else if (!strcmp(key, "r")) {
		e->rdev_major = (uint32_t)strtoul(value, NULL, 10);
		e->rdev_minor = (uint32_t)strtoul(colon + 1, NULL, 10);
	} else if (!strcmp(key, "x")) {
		xattr_put(xattrs, value, (size_t)(colon - value), colon + 1, strlen(colon + 1));
		e->xattr_count++;
	} else
		MUST(!"a known key");
}

static inline void layer_text_type(struct layer_entry *e, char type)
{
	switch (type) {
	case 'd':
		e->mode = S_IFDIR | 0755;
		break;
	case 'f':
		e->mode = S_IFREG | 0644;
		e->size = 1;
		break;
	case 'l':
		e->mode = S_IFLNK | 0777;
		break;
	case 'b':
		e->mode = S_IFBLK | 0644;
		break;
	case 'c':
		e->mode = S_IFCHR | 0644;
		break;
	case 'p':
		e->mode = S_IFIFO | 0644;
		break;
	case 'h':
		e->flags = ENTRY_HARDLINK;
		e->mode = S_IFDIR | 0700; /* unused, so it may say anything */
		break;
	case 'w':
		e->flags = ENTRY_WHITEOUT;
		break;
	case 'o':
		e->flags = ENTRY_OPAQUE_MARK;
		break;
	default:
		MUST(!"a known type");
	}
}

/* Contents go where the device ends so far. */
static inline void layer_add(struct layer_builder *b, struct layer_entry e, const void *path,
			     size_t path_len, const void *link, size_t link_len,
			     const struct buf *xattrs)
{
	struct layer_index_header *h = layer_builder_header(b);

	if (S_ISLNK(e.mode))
		e.size = link_len;
	if (S_ISREG(e.mode) && e.size) {
		e.data_off = h->device_bytes;
		h->device_bytes += align_up(e.size, DEVICE_BLOCK);
	}
	MUST(layer_builder_add_entry(b, &e, path, path_len, link, link_len,
				     xattrs ? xattrs->data : NULL, xattrs ? xattrs->len : 0) >= 0);
}

static inline void layer_text_line(struct layer_builder *b, char *line)
{
	char *save, *type = strtok_r(line, " ", &save), *key;
	const char *path = strtok_r(NULL, " ", &save), *link = NULL;
	struct buf xattrs = BUF_INIT;
	struct layer_entry e = {0};

	MUST(type && path);
	layer_text_type(&e, *type);
	if (*type == 'l' || *type == 'h')
		link = strtok_r(NULL, " ", &save);
	link = link ? link : "";
	while ((key = strtok_r(NULL, " ", &save)))
		layer_text_key(&e, &xattrs, key);
	if (!strcmp(path, "/"))
		path = "";
	if (*type == 'h' && !strcmp(link, "/"))
		link = "";
	layer_add(b, e, path, strlen(path), link, strlen(link), &xattrs);
	buf_fini(&xattrs);
}

/* The tables of a layer, as an indexer would have left them, validated. buf owns the bytes. */
static inline void layer_done(struct layer_builder *b, struct buf *bytes, struct layer_index *ret)
{
	struct error err = ERROR_INIT;

	MUST(layer_builder_write_buf(b, bytes) >= 0);
	if (layer_index_validate(bytes->data, bytes->len, UINT32_MAX, ret, &err) < 0) {
		fprintf(stderr, "the test's own layer: %s\n", err.text);
		abort();
	}
}

static inline void layer_from_text(const char *text, struct buf *bytes, struct layer_index *ret)
{
	_cleanup_(layer_builder_freep) struct layer_builder *b = NULL;
	_cleanup_(freep) char *own = strdup(text);
	char *save, *line;

	MUST(own && layer_builder_new(LAYER_GZIP, UINT32_MAX, &b) >= 0);
	for (line = strtok_r(own, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		layer_text_line(b, line);
	layer_done(b, bytes, ret);
}

#define LAYERS_MOST 4

struct layers { /* a few of them, with their bytes */
	struct buf bytes[LAYERS_MOST];
	struct layer_index index[LAYERS_MOST];
	uint32_t n;
};

static inline void layers_fini(struct layers *l)
{
	for (uint32_t i = 0; i < l->n; i++)
		buf_fini(&l->bytes[i]);
}

static inline void layers_from_text(const char *const *texts, struct layers *ret)
{
	*ret = (struct layers){0};
	for (; texts[ret->n]; ret->n++)
		layer_from_text(texts[ret->n], &ret->bytes[ret->n], &ret->index[ret->n]);
}

/* ---- trees ---- */

static inline void tree_path(const struct tree_node *n, struct buf *ret)
{
	if (n->parent != n)
		tree_path(n->parent, ret);
	if (ret->len)
		MUST(buf_append(ret, "/", 1) >= 0);
	MUST(buf_append(ret, n->name, n->name_len) >= 0);
}

static inline char tree_type(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return 'd';
	case S_IFREG:
		return 'f';
	case S_IFLNK:
		return 'l';
	case S_IFBLK:
		return 'b';
	case S_IFCHR:
		return 'c';
	default:
		return 'p';
	}
}

static inline void tree_text_attributes(const struct tree_inode *ino, struct buf *ret)
{
	uint32_t mode = ino->mode & 07777;
	struct layer_index view = {.heap = ino->xattrs};
	struct layer_entry e = {.xattr_len = ino->xattr_len};
	struct layer_xattr x;
	uint32_t pos = 0;

	if (S_ISLNK(ino->mode))
		MUST(buf_printf(ret, " %.*s", (int)ino->size, ino->link) >= 0);
	if (mode != (S_ISDIR(ino->mode) ? 0755u : S_ISLNK(ino->mode) ? 0777u : 0644u))
		MUST(buf_printf(ret, " m=%o", mode) >= 0);
	if (ino->uid)
		MUST(buf_printf(ret, " u=%u", ino->uid) >= 0);
	if (ino->gid)
		MUST(buf_printf(ret, " g=%u", ino->gid) >= 0);
	if (ino->mtime_s)
		MUST(buf_printf(ret, " t=%lld", (long long)ino->mtime_s) >= 0);
	if (ino->mtime_ns)
		MUST(buf_printf(ret, " ns=%u", ino->mtime_ns) >= 0);
	if (S_ISREG(ino->mode) && ino->size != 1)
		MUST(buf_printf(ret, " s=%llu", (unsigned long long)ino->size) >= 0);
	if (S_ISCHR(ino->mode) || S_ISBLK(ino->mode))
		MUST(buf_printf(ret, " r=%u:%u", ino->rdev_major, ino->rdev_minor) >= 0);
	while (ino->xattr_len && layer_entry_next_xattr(&view, &e, &pos, &x))
		MUST(buf_printf(ret, " x=%.*s:%.*s", (int)x.name_len, x.name, (int)x.value_len,
				x.value) >= 0);
	if (S_ISREG(ino->mode))
		MUST(buf_printf(ret, " L=%u", ino->layer + 1) >= 0);
}

struct tree_line {
	char *path, *text;
	const struct tree_inode *inode;
};

static inline int tree_line_order(const void *a, const void *b)
{
	return strcmp(((const struct tree_line *)a)->path, ((const struct tree_line *)b)->path);
}

static inline void tree_to_text(const struct tree *t, struct buf *ret)
{
	struct tree_line *lines = calloc(t->n_nodes, sizeof(*lines));

	MUST(lines);
	for (uint64_t i = 0; i < t->n_nodes; i++) {
		struct buf path = BUF_INIT, text = BUF_INIT;

		tree_path(t->nodes[i], &path);
		tree_text_attributes(t->nodes[i]->inode, &text);
		lines[i].path = strdup(buf_str(&path));
		lines[i].text = strdup(buf_str(&text));
		lines[i].inode = t->nodes[i]->inode;
		buf_fini(&path);
		buf_fini(&text);
	}
	qsort(lines, t->n_nodes, sizeof(*lines), tree_line_order);
	for (uint64_t i = 0; i < t->n_nodes; i++) {
		const struct tree_line *l = &lines[i];
		uint64_t first = 0;

		while (lines[first].inode != l->inode)
			first++;
		if (i || *l->text)
			MUST(buf_printf(ret, "%c %s%s", tree_type(l->inode->mode),
					i ? l->path : "/", l->text) >= 0);
		if (!S_ISDIR(l->inode->mode) && l->inode->nlink != 1)
			MUST(buf_printf(ret, " n=%u i=%s", l->inode->nlink, lines[first].path) >=
			     0);
		if (i || *l->text)
			MUST(buf_append_str(ret, "\n") >= 0);
	}
	for (uint64_t i = 0; i < t->n_nodes; i++) {
		free(lines[i].path);
		free(lines[i].text);
	}
	free(lines);
}

#endif
