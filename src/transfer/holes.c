/* SPDX-License-Identifier: MIT */
#include "transfer/holes.h"

#include <unistd.h>

#define LEAST_BYTES ((uint64_t)64 << 10)

void holes_begin(struct holes *h, int fd, uint64_t size)
{
	*h = (struct holes){.fd = fd, .end = size < LEAST_BYTES ? UINT64_MAX : 0};
}

/* The data at or behind off. Behind the last there is a hole up to the file's end, and behind that
 * nothing: it is left to the reader to notice. */
static void data_find(struct holes *h, uint64_t off)
{
	off_t data = lseek(h->fd, (off_t)off, SEEK_DATA), end;

	if (data < 0)
		data = lseek(h->fd, 0, SEEK_END);
	h->data = max_u64(off, (uint64_t)data);
	end = lseek(h->fd, (off_t)h->data, SEEK_HOLE);
	h->end = end > (off_t)h->data ? (uint64_t)end : UINT64_MAX;
}

uint64_t holes_next(struct holes *h, uint64_t off, uint64_t n, bool *ret_hole)
{
	if (off >= h->end)
		data_find(h, off);
	*ret_hole = off < h->data;
	return min_u64(n, (*ret_hole ? h->data : h->end) - off);
}
