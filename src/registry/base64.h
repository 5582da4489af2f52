/* SPDX-License-Identifier: MIT */
/*
 * Base64 in the standard alphabet of RFC 4648. Pure; nothing here wipes what it leaves behind.
 */
#ifndef MORSEL_REGISTRY_BASE64_H
#define MORSEL_REGISTRY_BASE64_H

#include "base/buf.h"

/* Appends to ret, whose max bounds it. CR and LF are skipped, padding may be missing; anything
 * else that is not in the alphabet, also set bits behind the last byte, is -EBADMSG. -E2BIG,
 * -ENOMEM. */
int base64_decode(const char *text, size_t len, struct buf *ret);
/* Appends with padding. -E2BIG, -ENOMEM. */
int base64_encode(const void *data, size_t len, struct buf *ret);

#endif
