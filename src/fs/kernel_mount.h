/* SPDX-License-Identifier: MIT */
/*
 * The kernel mounts tree.erofs itself, with the layers' data as its devices. The kernel trusts all
 * of it blindly, so: only an image that we wrote, devices by descriptor, in the order of its table,
 * and each of them either whole and verified, or a file that we serve ourselves (devices_mount()).
 * Root of the first user namespace only. Does not verify, does not serve.
 */
#ifndef MORSEL_FS_KERNEL_MOUNT_H
#define MORSEL_FS_KERNEL_MOUNT_H

#include "fs/fs.h"

/* 0; -ENOTSUP with the reason: not this kernel, or not this user. dir: a directory on the disk that
 * the image is on; a damaged image is mounted out of sight there and read, since there were kernels
 * that made zeros of what they could not read. */
int kernel_check(const char *dir, struct error *err);

/* The filesystem of the devices that we serve: one file each, "0", "1" and so on. It is attached to
 * no directory, so that nobody else finds it. Returns its /dev/fuse descriptor; *ret_dir: its root,
 * needed until kernel_mount() is through. */
int devices_mount(int *ret_dir, struct error *err);

/* Mounts an image where nobody sees it; a descriptor of its root. -errno. */
int kernel_mount_unseen(const struct fs_kernel *k);

/* Mounts p->kernel on path. Opens the devices, so they must be served by now, by other threads.
 * devices_dir: of devices_mount(), or -1. -ENOTSUP: the kernel does not want to. */
int kernel_mount(const struct fs_params *p, int devices_dir, const char *path, struct error *err);

#endif
