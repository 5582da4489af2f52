/* SPDX-License-Identifier: MIT */
/* The extended attributes of one open file that an image can hold and should. Sets none. */
#ifndef MORSEL_TRANSFER_XATTRS_READ_H
#define MORSEL_TRANSFER_XATTRS_READ_H

#include "transfer/tar_encode.h"

struct xattrs {
	struct tar_xattr *list; /* sorted by name; points into bytes */
	size_t n;
	char *names; /* as listed by the kernel */
	struct buf bytes;
	uint64_t dropped; /* that can't be written: empty, or with a "=" in the name */
};
#define XATTRS_INIT ((struct xattrs){0})

/* fd may be O_PATH. Takes the place of what x held. A file system without attributes has none.
 * -ENOMEM, -errno. */
int xattrs_read(int fd, struct xattrs *x);
void xattrs_fini(struct xattrs *x);

#endif
