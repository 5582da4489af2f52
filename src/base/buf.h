/* SPDX-License-Identifier: MIT */
/*
 * A byte buffer that grows up to a cap given at the start, because whoever fills it is a stranger.
 * It does not share, wrap around or zero-terminate by itself.
 */
#ifndef MORSEL_BASE_BUF_H
#define MORSEL_BASE_BUF_H

#include "base/error.h"

struct buf {
	uint8_t *data; /* owned, NULL while empty */
	size_t len;    /* bytes in use */
	size_t cap;    /* bytes allocated */
	size_t max;    /* never more than this; 0 = no cap */
};

#define BUF_INIT ((struct buf){0})
#define BUF_INIT_MAX(n) ((struct buf){.max = (n)})

/* Makes room for n more bytes. -E2BIG over the cap, -ENOMEM. */
int buf_reserve(struct buf *b, size_t n);
/* Appends. -E2BIG over the cap (nothing is appended then), -ENOMEM. */
int buf_append(struct buf *b, const void *data, size_t n);
int buf_append_str(struct buf *b, const char *s);
int buf_printf(struct buf *b, const char *fmt, ...) _printf_(2, 3);
/* Appends a NUL that is not counted in len, and returns the bytes as a string; NULL = no memory. */
const char *buf_str(struct buf *b);
void buf_fini(struct buf *b);

#endif
