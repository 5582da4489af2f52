/* SPDX-License-Identifier: MIT */
/*
 * Good tables, bad bytes: the compressed data of a layer, or its windows, with bytes changed or
 * cut off. Decoding must end and deliver what it says, whatever the bytes are.
 *
 * Input: first chunk, number of chunks, what to damage, then changes of {u24 place, u8 xor}.
 */
#include "../unit/memory_index.h"

#define FILE_BYTES (5u << 20) /* three spans */

enum { DAMAGE_BLOB, DAMAGE_WINDOWS, DAMAGE_CUT, N_DAMAGES };

struct layer {
	struct buf blob;
	struct memory_index m;
};

/* Words with a counter between them: small when compressed, yet every window matters. */
static const struct layer *layer_make(void)
{
	static struct layer l;
	_cleanup_(freep) uint8_t *data = malloc(FILE_BYTES);
	struct buf tar = BUF_INIT;

	if (l.blob.len)
		return &l;
	MEMORY_MUST(data);
	for (uint32_t i = 0; i < FILE_BYTES; i += 32) {
		memset(data + i, 'a' + (int)(i >> 15) % 26, 32);
		le32_put(data + i, (i >> 5) * 2654435761u);
	}
	tar_file_put(&tar, "file", data, FILE_BYTES);
	tar_end_put(&tar);
	gzip_put(&l.blob, tar.data, tar.len, 1, NULL);
	MEMORY_MUST(memory_index_make(&l.m, &format_gzip, l.blob.data, l.blob.len, SIZE_MAX) >= 0);
	MEMORY_MUST(l.m.ix.header.n_spans > 2);
	buf_fini(&tar);
	return &l;
}

struct check {
	const struct memory_index *m;
	uint64_t next;
	bool intact;
};

static int chunk_check(void *userdata, uint64_t i, const void *data, size_t len)
{
	struct check *c = userdata;
	const struct layer_chunk *k = &c->m->ix.chunks[i];

	if (i != c->next++ || len != k->len ||
	    (c->intact && memcmp(c->m->device.data + k->dev_off, data, len)))
		__builtin_trap();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct layer *l = layer_make();
	const struct layer_index *ix = &l->m.ix;
	uint64_t first, last, in_off;
	size_t in_len, target_len;
	uint8_t *in, *windows, *target;
	struct layer_index damaged = *ix;
	struct check c = {.m = &l->m};
	const struct chunk_sink sink = {.chunk = chunk_check, .userdata = &c};
	int r;

	if (size < 3 || size > 4096)
		return 0;
	first = c.next = data[0] % ix->header.n_chunks;
	last = min_u64(first + data[1] % 4, ix->header.n_chunks - 1);
	in_off = ix->spans[ix->chunks[first].span].in_off;
	in_len = ix->spans[ix->chunks[last].span_last].in_end - in_off;
	in = malloc(in_len);
	windows = malloc(ix->header.window_bytes);
	MEMORY_MUST(in && windows);
	memcpy(in, l->blob.data + in_off, in_len);
	memcpy(windows, ix->windows, ix->header.window_bytes);
	damaged.windows = windows;

	target = data[2] % N_DAMAGES == DAMAGE_WINDOWS ? windows : in;
	target_len = target == windows ? ix->header.window_bytes : in_len;
	c.intact = size < 7;
	for (size_t at = 3; at + 4 <= size; at += 4)
		target[(le32_get(data + at) & 0xffffff) % target_len] ^= data[at + 3];
	if (data[2] % N_DAMAGES == DAMAGE_CUT && size >= 7) {
		in_len = (le32_get(data + 3) & 0xffffff) % in_len;
		in = realloc(in, in_len ? in_len : 1); /* exact, so that ASan sees an over-read */
	}
	r = format_gzip.decode(&damaged, ix->chunks[first].span, ix->chunks[last].span_last, in,
			       in_len, first, last, &sink);
	if ((r >= 0 && c.next != last + 1) || (r < 0 && c.intact))
		__builtin_trap();
	free(in);
	free(windows);
	return 0;
}
