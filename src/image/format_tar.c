/* SPDX-License-Identifier: MIT */
/*
 * A tar archive as it is. Decompressed and compressed layer are the same bytes, so that a span is
 * any range of them: a chunk of a large file, or several small files with the headers between.
 */
#include "image/layer_format.h"

#include <errno.h>

#include "image/chunk_cut.h"
#include "image/tar_index.h"

#define IN_BYTES (256u << 10)
#define SPAN_BYTES (64u << 10) /* small files share a span up to here */

/* All chunks are known, and their span_off is still their place in the archive. */
static int spans_add(struct layer_builder *b)
{
	uint64_t n = layer_builder_header(b)->n_chunks;
	int r = 0;

	for (uint64_t i = 0; i < n && r >= 0; i++) {
		const struct layer_chunk *c = layer_builder_chunk(b, i);
		struct layer_span *prev = layer_builder_last_span(b);
		uint64_t at = c->span_off, end = at + c->len;

		if (prev && end - prev->in_off <= SPAN_BYTES)
			prev->in_end = end;
		else
			r = layer_builder_add_span(
				b, &(struct layer_span){.in_off = at, .in_end = end, .out_off = at},
				NULL, 0);
	}
	return r;
}

static int archive_read(const struct index_source *in, struct hasher *hash, struct tar_index *ix,
			uint64_t *ret_bytes, struct error *err)
{
	_cleanup_(freep) uint8_t *buf = malloc(IN_BYTES);

	if (!buf)
		return -ENOMEM;
	*ret_bytes = 0;
	for (;;) {
		ssize_t n = in->read(in->userdata, buf, IN_BYTES);
		int r;

		if (n <= 0)
			return (int)n;
		hasher_update(hash, buf, (size_t)n);
		*ret_bytes += (uint64_t)n;
		r = tar_index_feed(ix, buf, (size_t)n, err);
		if (r < 0)
			return r;
	}
}

static int tar_format_index(const struct index_source *in, const struct index_sink *out,
			    struct layer_builder *b, struct error *err)
{
	_cleanup_(hasher_freep) struct hasher *hash = NULL;
	_cleanup_(tar_index_freep) struct tar_index *ix = NULL;
	struct layer_index_header *h = layer_builder_header(b);
	struct digest d;
	int r = hasher_new(DIGEST_SHA256, &hash);

	if (r >= 0)
		r = tar_index_new(b, out, &ix);
	if (r >= 0)
		r = archive_read(in, hash, ix, &h->blob_bytes, err);
	if (r >= 0)
		r = spans_add(b);
	if (r < 0)
		return r;
	hasher_final(hash, &d);
	memcpy(h->diff_id, d.bytes, sizeof(h->diff_id));
	return tar_index_finish(ix, err);
}

static int tar_format_decode(const struct layer_index *index, uint64_t first, uint64_t last,
			     const void *in, size_t in_len, uint64_t chunk_first,
			     uint64_t chunk_last, const struct chunk_sink *sink)
{
	struct chunk_cut cut = {.index = index,
				.sink = sink,
				.first_span = first,
				.next = chunk_first,
				.last = chunk_last};
	int r = chunk_cut_feed(&cut, in, in_len);

	if (r >= 0 && !chunk_cut_done(&cut))
		r = -EBADMSG;
	chunk_cut_fini(&cut);
	return r;
}

const struct layer_format format_tar = {
	.id = LAYER_TAR, .name = "tar", .index = tar_format_index, .decode = tar_format_decode};
