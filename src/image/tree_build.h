/* SPDX-License-Identifier: MIT */
/*
 * The tree while it grows: shared by tree.c (memory, the table of names, finishing), merge_path.c
 * (paths in it) and merge.c (the rules) only.
 */
#ifndef MORSEL_IMAGE_TREE_BUILD_H
#define MORSEL_IMAGE_TREE_BUILD_H

#include "image/tree.h"

struct build_node {
	struct tree_node node; /* first: finished nodes are handed out as these */
	union {
		struct build_node *first_child; /* directories; the last one made comes first */
		const struct layer_entry
			*waiting; /* inode is NULL: a hardlink without its target */
	};
	struct build_node *next_sibling;
	uint16_t layer; /* that made it (files: as it is now) */
	uint16_t depth; /* the root's is 0 */
	bool dead;	/* deleted: skipped where it is still listed */
	bool visiting;	/* on the way of a hardlink being resolved */
};
static_assert(sizeof(struct build_node) == 64, "one cache line: there may be millions");

static inline bool build_is_dir(const struct build_node *n)
{
	return n->node.inode && (n->node.inode->mode & 0170000) == 0040000;
}

/* (parent, name) -> node, open addressing. A deleted node keeps its slot until a successor of the
 * same name takes it over; what is below a deleted directory is never met again, because addresses
 * are not reused. */
struct name_table {
	struct build_node **slots;
	size_t size, used;
	uint64_t key[2];
};

int name_table_init(struct name_table *t, uint64_t expected);
void name_table_fini(struct name_table *t);
/* Where the node is, or where it would go: *slot is NULL then. */
struct build_node **name_table_slot(const struct name_table *t, const struct tree_node *parent,
				    const char *name, size_t n);
/* After an empty slot was filled. Invalidates slots. */
int name_table_grow(struct name_table *t);

/* From the arena, zeroed, 8-byte aligned; n <= 512 KiB. NULL: no memory. */
void *tree_alloc(struct tree *t, size_t n);
/* Lists, sorts and counts what is reachable from t->root, of n_built nodes at most. */
int tree_finish(struct tree *t, uint64_t n_built);

struct merge {
	struct tree *t;
	struct name_table names;
	const struct layer_index *layers;
	uint32_t layer;			 /* being merged */
	const struct layer_entry *entry; /* likewise: the one that error texts name */
	struct build_node *root, *plumbing;
	uint64_t n_built, max_built;
	uint64_t link_budget;	 /* bytes of symlinks that may still be followed */
	struct buf waiting;	 /* struct build_node *: hardlinks without their target */
	struct buf chain;	 /* likewise: the ones being resolved together */
	struct buf walk, splice; /* paths that symlinks made */
	/* The last parent, since neighbours share it. */
	const char *last_dir;
	size_t last_dir_len;
	struct build_node *last_parent;
	struct error *err;
};

/* ---- merge_path.c ---- */

enum { PATH_MISSING = 1 };

/* Sets the error: layer, path of m->entry, what. Returns code. */
int merge_refuse(const struct merge *m, int code, const char *what);

/* The live child of that name, or NULL. */
struct build_node *merge_child(const struct merge *m, const struct build_node *dir,
			       const char *name, size_t n);
/* Makes a child without an inode, in the slot of a dead one if there is one. Borrows name. */
int merge_add_child(struct merge *m, struct build_node *dir, const char *name, size_t n,
		    struct build_node **ret);
/* Deletes a node with all that is below it. */
void merge_kill(struct merge *m, struct build_node *n);
/* Makes a node that is no directory ready to become something else, of this layer. */
void merge_reset(struct merge *m, struct build_node *n);

/* The directory dir. Missing ones are made, files in the way are replaced, symlinks of this layer
 * are followed. */
int merge_parent(struct merge *m, struct build_node *root, const char *dir, size_t len,
		 struct build_node **ret);
/* The node of a hardlink's target, or PATH_MISSING: the same walk, but nothing is made. */
int merge_target(struct merge *m, const char *path, size_t len, struct build_node **ret);
/* The node of a path in the tree of the lower layers, or NULL: nothing is followed or made. */
struct build_node *merge_lower(const struct merge *m, const char *path, size_t len);

#endif
