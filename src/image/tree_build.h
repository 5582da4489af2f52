/* SPDX-License-Identifier: MIT */
/* The tree while it grows: shared by merge.c and tree.c only. */
#ifndef MORSEL_IMAGE_TREE_BUILD_H
#define MORSEL_IMAGE_TREE_BUILD_H

#include "image/tree.h"

struct build_node {
	struct tree_node node; /* first: finished nodes are handed out as these */
	struct build_node *first_child, *next_sibling;
	uint32_t layer; /* that made it */
	bool dead;      /* deleted: stays in its parent's list, is skipped */
	bool visiting;  /* on the way of a hardlink being resolved */
	const char *target; /* of a hardlink that waits for its target; inode is NULL then */
	uint32_t target_len;
};

/* (parent, name) -> node, open addressing. A deleted node's entry is taken over by its successor;
 * entries below a deleted directory are never met again, since its address is never reused. */
struct name_table {
	struct build_node **slots;
	size_t size, used;
	uint64_t seed;
};

int name_table_init(struct name_table *t, uint64_t expected);
void name_table_fini(struct name_table *t);
/* Where the node is, or where it would go: *slot is NULL then. */
struct build_node **name_table_slot(struct name_table *t, const struct tree_node *parent,
				    const char *name, size_t n);
/* After a slot was filled. Invalidates slots. */
int name_table_grow(struct name_table *t);

void *tree_alloc(struct tree *t, size_t n);
int tree_finish(struct tree *t, uint64_t n_built);

#endif
