/* SPDX-License-Identifier: MIT */
/*
 * Answers questions about a mapped EROFS image of the kind erofs_write() makes. Pure arithmetic on
 * borrowed bytes, thread-safe, no allocation, every offset checked: hostile bytes give -EBADMSG
 * ("structure needs cleaning"), never a wild read. Reads no file contents: those are on devices.
 *
 * Inode numbers are EROFS nids throughout; mapping to FUSE's 1-is-root is the FUSE layer's job.
 */
#ifndef MORSEL_IMAGE_EROFS_READ_H
#define MORSEL_IMAGE_EROFS_READ_H

#include "base/digest.h"

struct erofs {
	const uint8_t *bytes; /* borrowed mapping */
	uint64_t len;
	uint64_t root_nid;
	uint64_t inode_count;
	uint64_t blocks;
	uint32_t n_devices;
	uint64_t meta_off, device_table_off; /* bytes */
	uint8_t uuid[16];
	bool has_xattrs; /* the writer sets xattr_blkaddr only when some inode has xattrs */
};

struct erofs_inode {
	uint64_t nid;
	uint64_t size;
	uint64_t off;	   /* where the inode core is in the image: private to the reader */
	uint64_t data_pos; /* private: inline tail or chunk table */
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint32_t mode, uid, gid, nlink;
	uint32_t rdev_major, rdev_minor;
	uint32_t start_block;
	uint32_t xattr_bytes;
	uint16_t layout;
	uint16_t chunk_format;
};

/* Checks superblock, checksum, features, device table. */
int erofs_open(const void *bytes, size_t len, struct erofs *ret, struct error *err);
/* Device i (0-based): its size in bytes and its tag. */
int erofs_device(const struct erofs *fs, uint32_t device, uint64_t *ret_bytes, char ret_tag[65]);

int erofs_inode_get(const struct erofs *fs, uint64_t nid, struct erofs_inode *ret);

enum { EROFS_NO_ENTRY = 1, EROFS_END = 2, EROFS_RANGE = 3, EROFS_HOLE = 4 };

/* 0 with the nid, EROFS_NO_ENTRY, -ENOTDIR, -EBADMSG. O(log n). */
int erofs_lookup(const struct erofs *fs, const struct erofs_inode *dir, const char *name,
		 size_t name_len, uint64_t *ret_nid);

struct erofs_dirent {
	const char *name; /* borrowed, not terminated */
	uint32_t name_len;
	uint8_t type; /* EROFS file type 1..7 */
	uint64_t nid;
	uint64_t next; /* cookie that continues after this entry */
};
/* cookie 0 starts; stable across processes. 0, EROFS_END, -ENOTDIR, -EBADMSG (also for a cookie
 * that points nowhere). */
int erofs_readdir(const struct erofs *fs, const struct erofs_inode *dir, uint64_t cookie,
		  struct erofs_dirent *ret);

/* Copies the symlink's text, not terminated; buf holds 4096 bytes. -EINVAL: not a symlink. */
int erofs_readlink(const struct erofs *fs, const struct erofs_inode *ino, char *buf,
		   size_t *ret_len);

/* Where bytes [off, off + len) of a regular file are: one device range that starts at off and is
 * at most len long, or EROFS_HOLE (zeros) of *ret_len bytes. off must be < size. */
int erofs_map(const struct erofs *fs, const struct erofs_inode *ino, uint64_t off, uint64_t len,
	      uint32_t *ret_device, uint64_t *ret_dev_off, uint64_t *ret_len);

/* One extended attribute by its full name ("user.x"): its size in *ret_len, the bytes in value
 * when size > 0 (EROFS_RANGE when they do not fit), EROFS_NO_ENTRY. */
int erofs_getxattr(const struct erofs *fs, const struct erofs_inode *ino, const char *name,
		   void *value, size_t size, size_t *ret_len);
/* NUL-separated full names, as listxattr(2). */
int erofs_listxattr(const struct erofs *fs, const struct erofs_inode *ino, char *list, size_t size,
		    size_t *ret_len);

/* Whether some inode may have an extended attribute whose full name is, or with `prefix` begins
 * with, this one. One look over the bytes: true is a guess, false is not. */
bool erofs_may_have_xattr(const struct erofs *fs, const char *name, bool prefix);

#endif
