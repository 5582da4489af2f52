/* SPDX-License-Identifier: MIT */
/*
 * What the kernel says of mounts, from /proc/self/mountinfo alone: a directory below which a server
 * hangs or is dead must not be touched. Does not mount, unmount or look into filesystems.
 */
#ifndef MORSEL_FS_MOUNTINFO_H
#define MORSEL_FS_MOUNTINFO_H

#include <limits.h>
#include <sys/types.h>
#include "base/error.h"

struct mount_info {
	unsigned id, parent;
	dev_t dev;
	uid_t owner; /* FUSE: who mounted it; 0 for others */
	char type[64];
	bool kernel; /* EROFS, of a source that only our kernel backend gives */
};

#define KERNEL_SOURCE_SUFFIX ".morsel"

/* One line of mountinfo; it is written to. *ret_point points into it, unescaped. */
bool mountinfo_parse(char *line, char **ret_point, struct mount_info *ret);
/* The topmost mount on dir, which is a path as path_resolve() makes it. -ENOENT: none is there. */
int mountinfo_lookup(const char *dir, struct mount_info *ret);
bool mountinfo_is_ours(const struct mount_info *m);
/* Whether this very mount is there, on whatever. */
bool mountinfo_is_mounted(const struct mount_info *m);
/* Looks for an image that is mounted on dir, as a user wrote it. -ENOENT with a text. */
int mountinfo_find_ours(const char *dir, char ret_path[static PATH_MAX], struct mount_info *ret,
			struct error *err);

/* Absolute, with the symlinks of the parents resolved, but the last component not looked at. */
int path_resolve(const char *dir, char ret[static PATH_MAX], struct error *err);

#endif
