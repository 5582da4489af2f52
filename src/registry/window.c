/* SPDX-License-Identifier: MIT */
/* The byte at offset o is at data[o % cap]. */
#include "registry/window.h"

#include <errno.h>

int window_init(struct window *w, size_t cap)
{
	*w = (struct window){.data = malloc(cap), .cap = cap};
	return w->data ? 0 : -ENOMEM;
}

void window_fini(struct window *w)
{
	free(w->data);
	*w = (struct window){0};
}

int window_grow(struct window *w, size_t cap)
{
	struct window bigger;
	int r;

	if (cap <= w->cap)
		return 0;
	r = window_init(&bigger, cap);
	if (r < 0)
		return r;
	window_reset(&bigger, w->start);
	while (bigger.end < w->end) {
		size_t at = bigger.end % w->cap;
		size_t n = min_u64(w->cap - at, w->end - bigger.end);

		window_append(&bigger, w->data + at, n);
	}
	free(w->data);
	*w = bigger;
	return 0;
}

void window_reset(struct window *w, uint64_t off)
{
	w->start = w->end = off;
}

void window_append(struct window *w, const void *data, size_t n)
{
	const uint8_t *p = data;

	assert(n <= w->cap);
	while (n) {
		size_t at = w->end % w->cap, k = min_u64(n, w->cap - at);

		memcpy(w->data + at, p, k);
		p += k;
		n -= k;
		w->end += k;
	}
	if (w->end - w->start > w->cap)
		w->start = w->end - w->cap;
}

void window_copy(const struct window *w, uint64_t off, void *buf, size_t n)
{
	uint8_t *p = buf;

	assert(off >= w->start && n <= w->end - off);
	while (n) {
		size_t at = off % w->cap, k = min_u64(n, w->cap - at);

		memcpy(p, w->data + at, k);
		p += k;
		off += k;
		n -= k;
	}
}
