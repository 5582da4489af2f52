/* SPDX-License-Identifier: MIT */
/*
 * Directories that are open, read entry by entry. The stream has a descriptor of its own, so that
 * neither end disturbs the other's place. Opens nothing by a path, follows no symlink, sorts
 * nothing.
 */
#ifndef MORSEL_BASE_DIR_H
#define MORSEL_BASE_DIR_H

#include <dirent.h>
#include "base/util.h"

DEFINE_CLEANUP(DIR *, closedir)

/* Takes fd over in any case. NULL, also for fd < 0: errno says why. */
DIR *dir_take(int fd);
/* The directory `name` in dir_fd, "." for dir_fd itself. NULL: errno says why. */
DIR *dir_open(int dir_fd, const char *name);
/* The next entry but "." and ".."; NULL: there is none, or (errno) it can't be read. */
const struct dirent *dir_next(DIR *d);

#endif
