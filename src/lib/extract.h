/* SPDX-License-Identifier: MIT */
/* What pull and cp share. Opens no image and writes no file itself: transfer/extract.h does. */
#ifndef MORSEL_LIB_EXTRACT_H
#define MORSEL_LIB_EXTRACT_H

#include "lib/image.h"
#include "transfer/extract.h"

/* Writes what is chosen of an opened image (roots, patterns, what may be there already; the rest of
 * the options is filled in). *ret_json: for free(3); NULL = not wanted. Errors as
 * extract_run(). */
int image_extract(struct morsel_image *img, const struct extract_options *chosen, const char *dest,
		  char **ret_json, struct error *err);

#endif
