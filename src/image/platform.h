/* SPDX-License-Identifier: MIT */
/*
 * Platforms as documents write them. Private to the manifest parsers; the public half is in
 * manifest.h. Does not choose among them: platform_rank() is for that.
 */
#ifndef MORSEL_IMAGE_PLATFORM_H
#define MORSEL_IMAGE_PLATFORM_H

#include "image/manifest.h"

/* Normalises what a document says ("" = absent). false: a name is too long to be one. */
bool platform_set(const char *os, const char *arch, const char *variant, struct platform *ret);

#endif
