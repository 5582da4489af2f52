/* SPDX-License-Identifier: MIT */
#include "image/chunk_cut.h"

#include <errno.h>

int chunk_cut_feed(struct chunk_cut *c, const void *data, size_t n)
{
	const struct layer_span *spans = c->index->spans;
	const uint8_t *p = data;

	while (!chunk_cut_done(c)) {
		const struct layer_chunk *k = &c->index->chunks[c->next];
		uint64_t start =
			spans[k->span].out_off - spans[c->first_span].out_off + k->span_off;
		uint64_t from = max_u64(start, c->pos), to = min_u64(start + k->len, c->pos + n);
		const uint8_t *whole;
		int r;

		if (from >= to)
			break;
		whole = p + (from - c->pos);
		if (to - from < k->len) {
			if (!c->buf && !(c->buf = malloc(CHUNK_MAX)))
				return -ENOMEM;
			memcpy(c->buf + (from - start), whole, to - from);
			if (to < start + k->len)
				break;
			whole = c->buf;
		}
		r = c->sink->chunk(c->sink->userdata, c->next, whole, k->len);
		if (r < 0)
			return r;
		c->next++;
	}
	c->pos += n;
	return 0;
}

void chunk_cut_fini(struct chunk_cut *c)
{
	free(c->buf);
	c->buf = NULL;
}
