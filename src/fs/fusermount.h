/* SPDX-License-Identifier: MIT */
/*
 * The setuid helper that mounts for users, run without libfuse: so its words end up in our one line
 * of error, and no threaded host is forked. Does not decide anything.
 */
#ifndef MORSEL_FS_FUSERMOUNT_H
#define MORSEL_FS_FUSERMOUNT_H

#include "base/error.h"

/* Returns the /dev/fuse descriptor of the new mount. options: as after -o, escaped. */
int fusermount_mount(const char *dir, const char *options, struct error *err);
/* -EBUSY: it is in use. */
int fusermount_umount(const char *dir, bool lazy, struct error *err);

#endif
