/* SPDX-License-Identifier: MIT */
/*
 * Files that a user names and wants read whole: traces, profiles. Not for what a cache or a
 * registry gave, whose readers are bounded by what the bytes may be.
 */
#ifndef MORSEL_LIB_FILE_READ_H
#define MORSEL_LIB_FILE_READ_H

#include "base/buf.h"

#define FILE_READ_MAX ((size_t)2 << 30)

/* ret: with FILE_READ_MAX as its cap. -E2BIG, and what the file system says, with the path. */
int file_read(const char *path, struct buf *ret, struct error *err);

#endif
