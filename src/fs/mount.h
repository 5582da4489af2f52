/* SPDX-License-Identifier: MIT */
/*
 * The mount itself: made with mount(2) as root and by fusermount3 for users, so that a descriptor
 * comes out that libfuse, or a successor, is handed. Does not talk FUSE.
 */
#ifndef MORSEL_FS_MOUNT_H
#define MORSEL_FS_MOUNT_H

#include "fs/fs.h"
#include "fs/mountinfo.h"

#define FS_READ_MAX (1u << 20)

/* Returns the /dev/fuse descriptor; with p->kernel, which needs devices_dir (see kernel_mount()),
 * 0. path becomes the mountpoint without symlinks, *ret what the kernel says of the mount. Nothing
 * stays mounted on failure. -EBUSY: morsel is mounted there. */
int mount_make(const struct fs_params *p, int devices_dir, char path[static PATH_MAX],
	       struct mount_info *ret, struct error *err);
/* Takes away what is topmost on path. -EBUSY without a text: it is in use. */
int mount_remove(const char *path, bool lazy, struct error *err);

/* Larger read-ahead makes larger requests. bdi: "0:42". Nothing when it may not be. */
void mount_readahead_raise(const char *bdi);
/* The highest N for which the kernel has a bdi of this name; false: none. */
bool mount_newest_bdi(const char *prefix, unsigned long *ret);

#endif
