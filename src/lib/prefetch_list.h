/* SPDX-License-Identifier: MIT */
/* A list of paths of an image, as what has to be fetched for them. Fetches nothing. */
#ifndef MORSEL_LIB_PREFETCH_LIST_H
#define MORSEL_LIB_PREFETCH_LIST_H

#include "cache/order.h"
#include "lib/image.h"

#define PREFETCH_LIST_BYTES_MAX ((size_t)16 << 20)

/* One path a line. What is not a regular file of the image is left out; what can't be read at all
 * is an error. */
int prefetch_list_read(struct morsel_image *img, const char *file, struct order *ret,
		       struct error *err);

#endif
