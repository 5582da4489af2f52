/* SPDX-License-Identifier: MIT */
/*
 * Names below a directory that never lead out of it: no symlink is followed, "..", mounts of procfs
 * and absolute paths are not either. A mover: decides nothing.
 */
#ifndef MORSEL_TRANSFER_BENEATH_H
#define MORSEL_TRANSFER_BENEATH_H

#include "base/seam.h"

/* Opens the directory `path` ("" = itself) below dir_fd. flags: O_PATH, O_RDONLY, ... -ELOOP or
 * -ENOTDIR: a symlink or a file is in the way. */
int beneath_open(int dir_fd, const char *path, int flags);

/* The directory that somebody last worked in, so that neighbours open it once. */
struct beneath {
	int root_fd; /* borrowed */
	int fd;	     /* O_PATH; -1: none yet */
	char *path;  /* of fd */
	size_t len;
};
#define BENEATH_INIT(root) ((struct beneath){.root_fd = (root), .fd = -1})
/* Opens what holds `path`; *ret_name: its last component, a part of path. */
int beneath_parent(struct beneath *b, const char *path, const char **ret_name);
void beneath_fini(struct beneath *b);

/* 1: the directory holds something; 0: it does not. */
int beneath_holds_something(int dir_fd);

/* Removes what is in the directory, whatever modes it has. Goes on after a failure; -errno of the
 * first. */
int beneath_clear(int dir_fd);

#endif
