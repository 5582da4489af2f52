/* SPDX-License-Identifier: MIT */
/*
 * The filesystem that lies below a kernel mount: one directory, whose files "0", "1" and so on are
 * the devices of the image's table. Only the kernel's EROFS opens them, once, and reads. Everything
 * it gets is verified by the reader, as what FUSE mounts serve.
 *
 * The kernel's read-ahead on these files stays what it is, 128 KiB: it runs on into the next file,
 * and what is worth fetching beside what was asked for is the planner's to know.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fs/fs_impl.h"

#define INO_FIRST 2 /* of device 0; 1 is the directory */

static struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static bool device_of(const struct fs *f, fuse_ino_t ino, uint32_t *ret, uint64_t *ret_bytes)
{
	char tag[65];

	if (ino < INO_FIRST || ino - INO_FIRST >= f->p.image->n_devices)
		return false;
	*ret = (uint32_t)(ino - INO_FIRST);
	return erofs_device(f->p.image, *ret, ret_bytes, tag) >= 0;
}

static bool stat_fill(const struct fs *f, fuse_ino_t ino, struct stat *st)
{
	uint64_t bytes;
	uint32_t device;

	*st = (struct stat){
		.st_ino = ino, .st_mode = S_IFDIR | 0500, .st_nlink = 2, .st_blksize = 4096};
	if (ino == FUSE_ROOT_ID)
		return true;
	if (!device_of(f, ino, &device, &bytes))
		return false;
	st->st_mode = S_IFREG | 0400;
	st->st_nlink = 1;
	st->st_size = (off_t)bytes;
	st->st_blocks = (blkcnt_t)(bytes / 512);
	return true;
}

static void device_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = {
		.generation = 1, .attr_timeout = FS_FOREVER, .entry_timeout = FS_FOREVER};
	unsigned device;
	int end = 0;

	if (sscanf(name, "%u%n", &device, &end) != 1 || name[end] ||
	    !stat_fill(fs_of(req), (fuse_ino_t)device + INO_FIRST, &e.attr)) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	e.ino = (fuse_ino_t)device + INO_FIRST;
	fuse_reply_entry(req, &e);
}

static void device_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	if (stat_fill(fs_of(req), ino, &st))
		fuse_reply_attr(req, &st, FS_FOREVER);
	else
		fuse_reply_err(req, ENOENT);
}

static void device_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);
	uint64_t bytes;
	uint32_t device;

	if (!device_of(f, ino, &device, &bytes))
		fuse_reply_err(req, EIO);
	else if ((uint64_t)off >= bytes || !size)
		fuse_reply_buf(req, NULL, 0);
	else
		fs_device_read(f, req, device, (uint64_t)off, min_u64(size, bytes - (uint64_t)off));
}

const struct fuse_lowlevel_ops fs_device_ops = {
	.init = fs_op_init,
	.lookup = device_lookup,
	.forget = fs_op_forget,
	.forget_multi = fs_op_forget_multi,
	.getattr = device_getattr,
	.open = fs_op_open,
	.read = device_read,
};
