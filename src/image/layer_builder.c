/* SPDX-License-Identifier: MIT */
/* The growing side of the layer tables: arrays and heaps that double, written out at the end. */
#include "image/layer_index.h"

#include <errno.h>
#include <zstd.h>

#define HEAP_MAX ((size_t)UINT32_MAX)
#define WINDOW_MAX 32768
#define WINDOW_LEVEL 1

struct layer_builder {
	struct layer_index_header header;
	uint64_t max_entries;
	struct buf entries, heap, chunks, spans, windows;
	ZSTD_CCtx *zstd;
};

int layer_builder_new(enum layer_format_id format, uint64_t max_entries, struct layer_builder **ret)
{
	struct layer_builder *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->header.magic = LAYER_INDEX_MAGIC;
	b->header.format = format;
	b->max_entries = max_entries;
	b->heap.max = HEAP_MAX;
	*ret = b;
	return 0;
}

static int heap_add(struct layer_builder *b, const void *data, size_t n, uint32_t *ret_off)
{
	size_t off = b->heap.len;
	int r = buf_append(&b->heap, data, n);

	*ret_off = n ? (uint32_t)off : 0;
	return r;
}

int layer_builder_add_entry(struct layer_builder *b, const struct layer_entry *e, const void *path,
			    size_t path_len, const void *link, size_t link_len, const void *xattrs,
			    size_t xattr_len)
{
	struct layer_entry own = *e;
	int r;

	if (b->header.n_entries >= b->max_entries || path_len > PATH_LEN_MAX ||
	    link_len > LINK_LEN_MAX)
		return -E2BIG;
	own.path_len = (uint16_t)path_len;
	own.link_len = (uint16_t)link_len;
	own.xattr_len = (uint32_t)xattr_len;
	r = heap_add(b, path, path_len, &own.path_off);
	if (r >= 0)
		r = heap_add(b, link, link_len, &own.link_off);
	if (r >= 0)
		r = heap_add(b, xattrs, xattr_len, &own.xattr_off);
	if (r >= 0)
		r = buf_append(&b->entries, &own, sizeof(own));
	b->header.n_entries += r >= 0;
	return r;
}

int layer_builder_add_chunk(struct layer_builder *b, const struct layer_chunk *c)
{
	int r = buf_append(&b->chunks, c, sizeof(*c));

	b->header.n_chunks += r >= 0;
	return r;
}

static int window_add(struct layer_builder *b, const void *window, size_t n, struct layer_span *s)
{
	size_t bound = ZSTD_compressBound(n), z;
	int r;

	s->window_off = b->windows.len;
	s->window_len = 0;
	if (!n)
		return 0;
	assert(n <= WINDOW_MAX);
	if (!b->zstd && !(b->zstd = ZSTD_createCCtx()))
		return -ENOMEM;
	r = buf_reserve(&b->windows, bound);
	if (r < 0)
		return r;
	z = ZSTD_compressCCtx(b->zstd, b->windows.data + b->windows.len, bound, window, n,
			      WINDOW_LEVEL);
	if (ZSTD_isError(z))
		return -ENOMEM;
	b->windows.len += z;
	s->window_len = (uint32_t)z;
	return 0;
}

int layer_builder_add_span(struct layer_builder *b, const struct layer_span *s, const void *window,
			   size_t window_len)
{
	struct layer_span own = *s;
	int r = window_add(b, window, window ? window_len : 0, &own);

	if (r >= 0)
		r = buf_append(&b->spans, &own, sizeof(own));
	b->header.n_spans += r >= 0;
	return r;
}

struct layer_span *layer_builder_span(struct layer_builder *b, uint64_t i)
{
	return (struct layer_span *)b->spans.data + i;
}

struct layer_span *layer_builder_last_span(struct layer_builder *b)
{
	return b->header.n_spans ? layer_builder_span(b, b->header.n_spans - 1) : NULL;
}

struct layer_chunk *layer_builder_chunk(struct layer_builder *b, uint64_t i)
{
	return (struct layer_chunk *)b->chunks.data + i;
}

struct layer_entry *layer_builder_entry(struct layer_builder *b, uint64_t i)
{
	return (struct layer_entry *)b->entries.data + i;
}

struct layer_index_header *layer_builder_header(struct layer_builder *b)
{
	return &b->header;
}

/* Record arrays follow the heap, so it is padded to their alignment. */
static int header_complete(struct layer_builder *b)
{
	static const uint8_t zeros[8];
	int r = buf_append(&b->heap, zeros, -b->heap.len & 7);

	b->header.heap_bytes = b->heap.len;
	b->header.window_bytes = b->windows.len;
	return r;
}

static int write_all(int fd, const void *data, size_t n)
{
	for (const uint8_t *p = data; n;) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -errno;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

int layer_builder_write(struct layer_builder *b, int fd)
{
	const struct buf *const sections[] = {&b->entries, &b->heap, &b->chunks, &b->spans,
					      &b->windows};
	int r = header_complete(b);

	if (r >= 0)
		r = write_all(fd, &b->header, sizeof(b->header));
	for (size_t i = 0; i < ARRAY_SIZE(sections) && r >= 0; i++)
		r = write_all(fd, sections[i]->data, sections[i]->len);
	return r;
}

int layer_builder_write_buf(struct layer_builder *b, struct buf *ret)
{
	const struct buf *const sections[] = {&b->entries, &b->heap, &b->chunks, &b->spans,
					      &b->windows};
	int r = header_complete(b);

	if (r >= 0)
		r = buf_append(ret, &b->header, sizeof(b->header));
	for (size_t i = 0; i < ARRAY_SIZE(sections) && r >= 0; i++)
		r = buf_append(ret, sections[i]->data, sections[i]->len);
	return r;
}

void layer_builder_free(struct layer_builder *b)
{
	if (!b)
		return;
	buf_fini(&b->entries);
	buf_fini(&b->heap);
	buf_fini(&b->chunks);
	buf_fini(&b->spans);
	buf_fini(&b->windows);
	ZSTD_freeCCtx(b->zstd);
	free(b);
}
