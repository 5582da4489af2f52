/* SPDX-License-Identifier: MIT */
/*
 * Sets of bytes with a text each: which paths were written, and under which name an inode was.
 * Nothing is ever taken out of one.
 */
#ifndef MORSEL_TRANSFER_NAMES_H
#define MORSEL_TRANSFER_NAMES_H

#include "base/util.h"

struct name;
struct names {
	struct name **slots;
	size_t n, cap;
};
#define NAMES_INIT ((struct names){0})

/* Copies both. The key must not be there yet. -ENOMEM. */
int names_add(struct names *s, const void *key, size_t n, const char *text);
/* The text; NULL: no such key. Valid until the next change. */
const char *names_get(const struct names *s, const void *key, size_t n);
void names_fini(struct names *s);

#endif
