/* SPDX-License-Identifier: MIT */
/*
 * Where the indexer's program is. We may be a program that was installed, copied together with the
 * helper or built a moment ago, or a library in somebody else's program; and nobody may slip us a
 * helper of his own. So no search path and no environment: the file that holds this code decides.
 */
#ifndef MORSEL_IMAGE_INDEXER_PATH_H
#define MORSEL_IMAGE_INDEXER_PATH_H

#include <limits.h>
#include "base/error.h"

#define INDEXER_NAME "morsel-indexer"

/* In this order: beside the program or library that holds this code; where it stands relative to
 * that when both were installed, wherever that is now; where it was installed. The first two only
 * when the helper's owner is root or the owner of that program or library, and nobody else can
 * write it; not at all for programs that run with others' rights. -ENOENT with a text. */
int indexer_path_find(char ret[static PATH_MAX], struct error *err);

#endif
