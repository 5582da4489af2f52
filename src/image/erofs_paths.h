/* SPDX-License-Identifier: MIT */
/*
 * Paths of some inodes of a mapped image: one walk over its directories, made when somebody wants
 * to read names. Of several hard links the first in directory order counts. Pure.
 */
#ifndef MORSEL_IMAGE_EROFS_PATHS_H
#define MORSEL_IMAGE_EROFS_PATHS_H

#include "image/erofs_read.h"

struct erofs_paths;

/* nids: in any order, some perhaps twice. -ENOMEM; a damaged directory only loses what is below it.
 */
int erofs_paths_new(const struct erofs *fs, const uint64_t *nids, size_t n,
		    struct erofs_paths **ret);
void erofs_paths_free(struct erofs_paths *p); /* accepts NULL */
DEFINE_CLEANUP(struct erofs_paths *, erofs_paths_free)
/* "/usr/bin/env", the root is "/"; NULL: it was not found, or not asked for. */
const char *erofs_paths_get(const struct erofs_paths *p, uint64_t nid);

/* How many names there are, hard links one by one, without the root, "." and "..". */
uint64_t erofs_count_names(const struct erofs *fs);

#endif
