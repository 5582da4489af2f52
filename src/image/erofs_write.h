/* SPDX-License-Identifier: MIT */
/*
 * Serialises a merged tree as an EROFS image that holds metadata only: 4 KiB blocks, extended
 * inodes, chunk-based regular files with one 8-byte index each, one device slot a layer in order,
 * cumulative uniaddr, superblock checksum. Deterministic: same tree, same bytes.
 *
 * Does not write files, does not know where devices are. The layout is the one of the Linux
 * kernel's Documentation/filesystems/erofs.rst.
 */
#ifndef MORSEL_IMAGE_EROFS_WRITE_H
#define MORSEL_IMAGE_EROFS_WRITE_H

#include "image/tree.h"

struct erofs_params {
	const uint8_t *uuid;		/* 16 bytes, digest-derived */
	const char *const *device_tags; /* per layer, <= 64 bytes: the blob digest in hex */
	const char *volume_name;	/* <= 15 bytes */
};

/* *ret is appended to. -E2BIG: more than 2^32 blocks in all devices, or other format limits;
 * xattrs that EROFS can't hold (foreign namespaces, values over 65,535 bytes) are left out and
 * counted in t->dropped_xattrs. Sets nid in every inode. */
int erofs_write(struct tree *t, const struct erofs_params *params, struct buf *ret,
		struct error *err);

/* CRC-32C over the rest of the first block, as the superblock holds it. */
uint32_t erofs_checksum(const uint8_t block0[static 4096]);

#endif
