/* SPDX-License-Identifier: MIT */
/* RFC 4648 base64 with the standard alphabet, strict: no line breaks, padding required. Pure. */
#ifndef MORSEL_BASE_BASE64_H
#define MORSEL_BASE_BASE64_H

#include "base/buf.h"

/* Appends the decoded bytes. -EBADMSG; -E2BIG over the buffer's cap; -ENOMEM. */
int base64_decode(const char *text, size_t n, struct buf *ret);
/* Appends the text, without a NUL. -E2BIG over the buffer's cap; -ENOMEM. */
int base64_encode(const void *data, size_t n, struct buf *ret);

#endif
