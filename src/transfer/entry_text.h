/* SPDX-License-Identifier: MIT */
/*
 * What a table of contents says of an entry before its contents are known, as the members of a JSON
 * object. The two formats with tables share these members. Says nothing of where contents are, nor
 * what they hash to: that is toc_write.h's. Pure.
 */
#ifndef MORSEL_TRANSFER_ENTRY_TEXT_H
#define MORSEL_TRANSFER_ENTRY_TEXT_H

#include "transfer/tar_encode.h"

/* A string with its quotes. Bytes that are not UTF-8 become U+FFFD, as in every JSON writer, and
 * set *lossy. */
int json_text_string(struct buf *out, const void *s, size_t n, bool *lossy);
/* "name":...,"type":..., and so on, without braces. name: as it stands in the archive. */
int entry_text(struct buf *out, const struct tar_header *h, const void *name, size_t name_len,
	       bool *lossy);

#endif
