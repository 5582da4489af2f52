/* SPDX-License-Identifier: MIT */
/*
 * What a mount by the kernel needs of an image: see backend.c. Mounts nothing: fs/kernel_mount.h
 * does.
 */
#ifndef MORSEL_LIB_BACKEND_H
#define MORSEL_LIB_BACKEND_H

#include "fs/fs.h"
#include "lib/image.h"

struct backend {
	struct fs_kernel kernel; /* for fs_params */
	int *device_fds;
	char name[DIGEST_TEXT_MAX];
};

/* Looks whether the kernel can mount the image as these options want it, and verifies every layer
 * that is whole; blocks, tells the progress callback. h: with a mount of the kernel's that is taken
 * over nothing is verified again. -ENOTSUP with the reason; -ECANCELED. fini also after an error.
 */
int backend_prepare(struct morsel_image *img, const struct morsel_mount_options *o,
		    struct backend *ret, struct error *err);
void backend_fini(struct backend *b);

#endif
