/* SPDX-License-Identifier: MIT */
/* A blob that is a piece of a local file. As with every blob, its bytes are not verified here. */
#ifndef MORSEL_REGISTRY_BLOB_FILE_H
#define MORSEL_REGISTRY_BLOB_FILE_H

#include "registry/blob.h"
#include "registry/files.h"

/* The blob's size is the place's. Takes over the place's descriptor, also on error (-ENOMEM). */
int blob_file_new(const struct seam *seam, const struct file_place *p, const struct digest *d,
		  struct blob **ret);

#endif
