/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "base/userns.h"
#include "fs/kernel_mount.h"
#include "image/erofs_write.h"

#define BLOCK 4096
#define WANT_VERSION ((6 << 16) + (12 << 8) + 7) /* buffered devices; no panics any more */

static bool version_suffices(void)
{
	unsigned a = 0, b = 0, c = 0;
	struct utsname u;

	if (uname(&u) < 0 || sscanf(u.release, "%u.%u.%u", &a, &b, &c) < 2)
		return false;
	return (a << 16) + (b << 8) + (c > 255 ? 255 : c) >= WANT_VERSION;
}

/* One file, "f", of one block on one device. */
static int probe_write(struct buf *ret)
{
	static const uint64_t device_bytes = BLOCK;
	static const char *const tag = "probe";
	struct tree_inode dir = {.mode = S_IFDIR | 0700, .nlink = 2};
	struct tree_inode file = {.mode = S_IFREG | 0400, .nlink = 1, .size = BLOCK};
	struct tree_node root = {.inode = &dir, .n_children = 1};
	struct tree_node f = {.name = "f", .name_len = 1, .inode = &file, .parent = &root};
	struct tree_node *children[] = {&f}, *nodes[] = {&root, &f};
	struct tree t = {.root = &root,
			 .nodes = nodes,
			 .n_nodes = 2,
			 .n_inodes = 2,
			 .n_layers = 1,
			 .device_bytes = &device_bytes};
	const struct erofs_params params = {.uuid = (const uint8_t *)"morsel probe....",
					    .device_tags = &tag,
					    .volume_name = ""};

	root.parent = &root;
	root.children = children;
	return erofs_write(&t, &params, ret, NULL);
}

static int nameless_file(const char *dir, const void *bytes, size_t n)
{
	_cleanup_(closep) int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 || pwrite(fd, bytes, n, 0) != (ssize_t)n)
		return -errno;
	return steal_fd(&fd);
}

/* Half of the device's block is missing: what the file reads as must be an error. */
static int probe_read(int image_fd, int device_fd)
{
	const struct fs_kernel k = {.image_fd = image_fd, .device_fds = &device_fd, .n_devices = 1};
	_cleanup_(closep) int mnt = kernel_mount_unseen(&k);
	_cleanup_(closep) int fd = -1;
	char block[BLOCK];

	if (mnt < 0)
		return mnt;
	fd = openat(mnt, "f", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return pread(fd, block, sizeof(block), 0) < 0 ? 0 : -EILSEQ;
}

int kernel_check(const char *dir, struct error *err)
{
	_cleanup_(buf_fini) struct buf image = BUF_INIT;
	_cleanup_(closep) int image_fd = -1, device_fd = -1;
	const char half[BLOCK / 2] = "x";
	int r;

	if (geteuid() || !userns_is_initial() || !userns_may_mount())
		return error_set(err, -ENOTSUP,
				 "--backend kernel is for root with CAP_SYS_ADMIN, outside of user "
				 "namespaces; use --backend fuse");
	if (!version_suffices())
		return error_set(err, -ENOTSUP,
				 "--backend kernel needs Linux 6.12.7; use --backend fuse");
	r = probe_write(&image);
	if (r < 0)
		return r;
	image_fd = nameless_file(dir, image.data, image.len);
	device_fd = nameless_file(dir, half, sizeof(half));
	r = image_fd < 0 ? image_fd : device_fd < 0 ? device_fd : probe_read(image_fd, device_fd);
	if (r == -EILSEQ)
		return error_set(err, -ENOTSUP,
				 "--backend kernel: this kernel reads zeros where a layer can't be "
				 "read; use --backend fuse");
	if (r < 0)
		return error_set(err, -ENOTSUP,
				 "--backend kernel: the kernel does not mount EROFS from files in "
				 "%s: %s; use --backend fuse",
				 dir, strerror(-r));
	return 0;
}
