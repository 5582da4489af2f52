/* SPDX-License-Identifier: MIT */
/* Times as JSON documents have them. Does not write them. Pure. */
#ifndef MORSEL_IMAGE_RFC3339_H
#define MORSEL_IMAGE_RFC3339_H

#include "base/util.h"

/* With a fraction, of which nine digits count, and any zone. -EBADMSG. */
int rfc3339_parse(const char *s, size_t n, int64_t *ret_s, uint32_t *ret_ns);

#endif
