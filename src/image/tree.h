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
	uint32_t nlink; /* names referring to it; directories 2 + subdirectories. Set by tree_finish */
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint32_t rdev_major, rdev_minor;
	uint32_t layer;    /* device: index of the layer that holds the content; 0-based */
	uint64_t size;     /* bytes; symlink: length of the text */
	uint64_t data_off; /* on that layer's device */
	const char *link;  /* symlink text, `size` bytes, not terminated */
	const uint8_t *xattrs; /* layer_entry heap form */
	uint32_t xattr_len;
	uint16_t xattr_count;
	uint16_t flags;    /* tree.c's */
	uint64_t nid;      /* the writer's */
};

/* A name in a directory. Children of a directory form an array sorted by unsigned bytes once
 * tree_finish() has run. */
struct tree_node {
	const char *name; /* not terminated; borrowed */
	uint32_t name_len;
	uint32_t n_children;
	struct tree_inode *inode; /* shared between hard links */
	struct tree_node *parent; /* the root's is itself */
	struct tree_node **children; /* after tree_finish(); NULL for non-directories */
};

struct tree {
	struct tree_node *root;
	uint64_t n_nodes, n_inodes; /* with the root */
	uint32_t n_layers;
	const uint64_t *device_bytes; /* per layer, multiples of 4096; borrowed */
	uint64_t dropped_xattrs;
	void *arena, *lists; /* tree.c's */
	size_t lists_bytes;
};

/* Merges layers bottom to top by the rules of docs/architecture.md ("the merge"). layers[] and
 * what they point to must outlive the tree. -EBADMSG / -EPERM: the image is refused, with the
 * layer and entry named; -E2BIG; -ENOMEM. Pure; fuzzed. */
int tree_merge(const struct layer_index *layers, uint32_t n_layers, uint64_t max_entries,
	       struct tree **ret, struct error *err);
void tree_free(struct tree *t);
DEFINE_CLEANUP(struct tree *, tree_free)

#endif
