/* SPDX-License-Identifier: MIT */
#include "cache/layer_meta.h"

#include <errno.h>
#include <isa-l/crc64.h>

#define META_MAGIC UINT64_C(0x3154454d4c53524d) /* "MRSLMET1" */
#define COUNT_MAX (UINT64_C(1) << 36)		/* records, bytes: far above every limit */

/* 0 magic, 8 key, 72 algorithm, 80 blob digest, 144 index header, 336 sums, 368 zeros, 504 crc */
enum { AT_KEY = 8, AT_ALGO = 72, AT_BLOB = 80, AT_HEADER = 144, AT_SUMS = 336, AT_CRC = 504 };
static_assert(AT_HEADER + sizeof(struct layer_index_header) == AT_SUMS, "meta layout");

void layer_meta_encode(const struct layer_meta *m, uint8_t out[static LAYER_META_BYTES])
{
	memset(out, 0, LAYER_META_BYTES);
	le64_put(out, META_MAGIC);
	memcpy(out + AT_KEY, m->key.hex, 64);
	le64_put(out + AT_ALGO, m->blob.algo);
	memcpy(out + AT_BLOB, m->blob.bytes, sizeof(m->blob.bytes));
	memcpy(out + AT_HEADER, &m->header, sizeof(m->header));
	for (size_t t = 0; t < TABLE_COUNT; t++)
		le64_put(out + AT_SUMS + 8 * t, m->sums[t]);
	le64_put(out + AT_CRC, crc64_ecma_refl(0, out, AT_CRC));
}

int layer_meta_decode(const void *bytes, size_t len, const struct layer_key *key,
		      struct layer_meta *ret)
{
	const uint8_t *p = bytes;
	struct layer_meta m = {0};
	uint64_t algo;

	if (len != LAYER_META_BYTES || le64_get(p) != META_MAGIC ||
	    le64_get(p + AT_CRC) != crc64_ecma_refl(0, p, AT_CRC) ||
	    memcmp(p + AT_KEY, key->hex, 64))
		return -EBADMSG;
	algo = le64_get(p + AT_ALGO);
	if (algo != DIGEST_SHA256 && algo != DIGEST_SHA512)
		return -EBADMSG;
	m.key = *key;
	m.blob.algo = (enum digest_algo)algo;
	memcpy(m.blob.bytes, p + AT_BLOB, sizeof(m.blob.bytes));
	memcpy(&m.header, p + AT_HEADER, sizeof(m.header));
	if (m.header.n_entries > COUNT_MAX || m.header.heap_bytes > COUNT_MAX ||
	    m.header.n_chunks > COUNT_MAX || m.header.n_spans > COUNT_MAX ||
	    m.header.window_bytes > COUNT_MAX || m.header.device_bytes > DEVICE_MAX)
		return -EBADMSG;
	for (size_t t = 0; t < TABLE_COUNT; t++)
		m.sums[t] = le64_get(p + AT_SUMS + 8 * t);
	*ret = m;
	return 0;
}

uint64_t layer_table_bytes(const struct layer_index_header *h, enum layer_table t)
{
	switch (t) {
	case TABLE_ENTRIES:
		return h->n_entries * sizeof(struct layer_entry) + h->heap_bytes;
	case TABLE_CHUNKS:
		return h->n_chunks * sizeof(struct layer_chunk);
	case TABLE_SPANS:
		return h->n_spans * sizeof(struct layer_span);
	default:
		return h->window_bytes;
	}
}
