/* SPDX-License-Identifier: MIT */
/*
 * The merged tree of an image in memory: what merge makes from the layers' entries and what the
 * EROFS writer serialises. One arena, freed as a whole; built, written, dropped.
 * Names and xattr bytes are borrowed from the layers' heaps (or static), never copied.
 */
#ifndef MORSEL_IMAGE_TREE_H
#define MORSEL_IMAGE_TREE_H

#include "image/layer_index.h"

struct tree_inode {
	uint32_t mode; /* with type bits */
	uint32_t uid, gid;
	uint32_t nlink; /* names referring to it; directories 2 + subdirectories */
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint32_t layer; /* device: index of the layer that holds the content; 0-based */
	uint64_t size;	/* bytes; symlink: length of the text; directory: the writer's */
	union {
		uint64_t data_off; /* regular files: on that layer's device */
		const char *link;  /* symlinks: the text, `size` bytes, not terminated */
		struct {
			uint32_t rdev_major, rdev_minor; /* <= 4095, <= 1048575 */
		};
	};
	const uint8_t *xattrs; /* layer_entry heap form */
	uint32_t xattr_len;
	uint16_t xattr_count;
	uint16_t flags; /* tree.c's */
	uint64_t nid;	/* the writer's; 0 before */
};

/* A name in a directory. Children of a directory form an array sorted by unsigned bytes. */
struct tree_node {
	const char *name; /* not terminated; borrowed */
	uint32_t name_len;
	uint32_t n_children;
	struct tree_inode *inode;    /* shared between hard links */
	struct tree_node *parent;    /* the root's is itself */
	struct tree_node **children; /* NULL for non-directories */
};

struct tree {
	struct tree_node *root;
	struct tree_node **nodes;   /* all of them, breadth first: the root is the first */
	uint64_t n_nodes, n_inodes; /* with the root */
	uint32_t n_layers;
	const uint64_t *device_bytes; /* per layer, multiples of DEVICE_BLOCK */
	uint64_t dropped_xattrs;
	void *arena; /* tree.c's */
	size_t nodes_bytes;
};

/* Merges layers bottom to top by the rules at the top of merge.c. layers[] were validated, and what
 * they point to must outlive the tree. max_entries counts the names in the result, without the
 * root. Pure; fuzzed. The image is refused with the layer and the name in err:
 *   -EBADMSG  a hardlink's target is missing, in another layer, a directory, or leads in a circle;
 *             a device number is out of range
 *   -EPERM    a character device 0:0; more than 40 symlinks on the way of a name
 *   -E2BIG    more names than max_entries; a name that is deeper than PATH_DEPTH_MAX
 * or -ENOMEM. */
int tree_merge(const struct layer_index *layers, uint32_t n_layers, uint64_t max_entries,
	       struct tree **ret, struct error *err);
/* -E2BIG when a tree of so many names, without the root, is over the limit: for one merged before.
 */
int tree_check_names(uint64_t names, uint64_t max_entries, struct error *err);
void tree_free(struct tree *t);
DEFINE_CLEANUP(struct tree *, tree_free)

#endif
