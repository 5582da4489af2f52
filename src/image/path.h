/* SPDX-License-Identifier: MIT */
/*
 * Names as layers write them: cleaned to the form the tables hold, and told apart into files,
 * whiteouts and plumbing. Names are bytes; nothing is folded or normalised. Pure.
 */
#ifndef MORSEL_IMAGE_PATH_H
#define MORSEL_IMAGE_PATH_H

#include "image/layer_index.h"

/* Drops leading "/" and "./", collapses "//" and ".", resolves ".." lexically. out holds
 * PATH_LEN_MAX + 1 bytes and is terminated. -EBADMSG: a name with a NUL, or one that climbs above
 * the root; -E2BIG: a component, the path or the depth over its limit. "" is the root. */
int path_clean(const void *name, size_t n, char *out, size_t *ret_len, struct error *err);

/* What is left of a clean path behind a clean prefix ("": all of it), without a slash; "" where
 * they are the same. NULL: the path is not in there. */
const char *path_below(const char *path, const char *prefix);

enum path_kind {
	PATH_PLAIN,
	PATH_WHITEOUT, /* path is shortened and renamed to what it deletes */
	PATH_OPAQUE,   /* path is shortened to the directory that is opaque */
	PATH_PLUMBING, /* ".wh..wh.*": AUFS's own; regular files may be hardlink targets */
};

/* Classifies a cleaned path by its last component and rewrites it as above. -EBADMSG: a whiteout
 * of nothing, of "." or of "..". */
int path_classify(char *path, size_t *len, enum path_kind *ret, struct error *err);

#endif
