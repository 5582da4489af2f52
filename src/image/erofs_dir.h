/* SPDX-License-Identifier: MIT */
/*
 * Directories as EROFS blocks: an array of entries, then their names; sorted by unsigned bytes over
 * the whole directory, "." and ".." among them. For the writer only.
 */
#ifndef MORSEL_IMAGE_EROFS_DIR_H
#define MORSEL_IMAGE_EROFS_DIR_H

#include "image/tree.h"

/* Bytes of the directory: whole blocks, padding between them included, and the last one. */
uint64_t erofs_dir_measure(const struct tree_node *dir);

/* Writes what was measured (dir->inode->size), with the nids of all children known. Whole blocks go
 * to `blocks`, a last one that is not full to `tail`. Both were zeroed. */
void erofs_dir_write(const struct tree_node *dir, uint8_t *blocks, uint8_t *tail);

#endif
