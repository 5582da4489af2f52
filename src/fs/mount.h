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

/* Returns the /dev/fuse descriptor. path becomes the mountpoint without symlinks, *ret what the
 * kernel says of the mount. Nothing stays mounted on failure. -EBUSY: morsel is mounted there. */
int mount_make(const struct fs_params *p, char path[static PATH_MAX], struct mount_info *ret,
	       struct error *err);
/* Takes away what is topmost on path. -EBUSY without a text: it is in use. */
int mount_remove(const char *path, bool lazy, struct error *err);

#endif
