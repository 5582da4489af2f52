/* SPDX-License-Identifier: MIT */
/*
 * The parts of the EROFS on-disk format that the writer makes and the reader takes, as offsets
 * into little-endian bytes. From the Linux kernel's Documentation/filesystems/erofs.rst and the
 * field descriptions of its on-disk header.
 *
 *      0  unused       1024  superblock     1152  device table: 128 bytes a device
 *   then  inodes in 32-byte slots, the root first, each followed by its xattrs and by its chunk
 *         index or inline tail
 *   then  from a block border: directory and symlink blocks that were not inlined
 */
#ifndef MORSEL_IMAGE_EROFS_FORMAT_H
#define MORSEL_IMAGE_EROFS_FORMAT_H

#define EROFS_BLOCK 4096u
#define EROFS_BLOCK_BITS 12
#define EROFS_SLOT 32u

#define EROFS_SB 1024u
#define EROFS_SB_BYTES 128u
#define EROFS_MAGIC 0xe0f5e1e2u
enum { /* offsets in the superblock */
       SB_MAGIC = 0,
       SB_CHECKSUM = 4,
       SB_COMPAT = 8,
       SB_BLKSZBITS = 12,
       SB_EXTSLOTS = 13,
       SB_ROOT_NID = 14,
       SB_INOS = 16,
       SB_BLOCKS = 36,
       SB_META_BLKADDR = 40,
       SB_XATTR_BLKADDR = 44,
       SB_UUID = 48,
       SB_VOLUME = 64,
       SB_INCOMPAT = 80,
       SB_EXTRA_DEVICES = 86,
       SB_DEVT_SLOTOFF = 88,
       SB_DIRBLKBITS = 90,
};
#define EROFS_COMPAT 3u	    /* checksum, mtime */
#define EROFS_INCOMPAT 0xcu /* chunked files, device table */

#define EROFS_DEVICE 128u
enum { DEV_TAG = 0, DEV_BLOCKS = 64, DEV_UNIADDR = 68 };

#define EROFS_INODE 64u /* extended */
enum {
	INO_FORMAT = 0,
	INO_XATTR_ICOUNT = 2,
	INO_MODE = 4,
	INO_SIZE = 8,
	INO_U = 16,
	INO_INO = 20,
	INO_UID = 24,
	INO_GID = 28,
	INO_MTIME = 32,
	INO_MTIME_NS = 40,
	INO_NLINK = 44,
};
#define EROFS_EXTENDED 1u
enum { LAYOUT_PLAIN = 0, LAYOUT_INLINE = 2, LAYOUT_CHUNKS = 4 };
#define EROFS_NO_BLOCK 0xffffffffu

#define CHUNK_INDEX 8u /* bytes: u16 0, u16 device, u32 block */
#define CHUNK_FORMAT_INDEXES 0x20u
#define CHUNK_BITS 31u
#define CHUNK_BYTES ((unsigned long long)EROFS_BLOCK << CHUNK_BITS) /* one covers any file */

#define EROFS_DIRENT 12u /* u64 nid, u16 nameoff, u8 type, u8 0 */

#define XATTR_HEADER 12u
#define XATTR_ENTRY 4u /* u8 name_len, u8 index, u16 value_len */
#define XATTR_VALUE_MAX 65535u
#define XATTR_NAME_LEN_MAX                                                                         \
	255u /* with its prefix: Linux's limit; the format could hold a little more */

struct erofs_prefix {
	const char *text;
	unsigned char index, len;
	_Bool whole; /* the ACLs: not a prefix but the name */
};
/* clang-format off */
static const struct erofs_prefix erofs_prefixes[] = {
	{"system.posix_acl_access", 2, 23, 1},
	{"system.posix_acl_default", 3, 24, 1},
	{"user.", 1, 5, 0},
	{"trusted.", 4, 8, 0},
	{"security.", 6, 9, 0},
};
/* clang-format on */

#endif
