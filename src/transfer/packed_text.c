/* SPDX-License-Identifier: MIT */
#include "transfer/packed_text.h"

#include <errno.h>
#include <zlib.h>
#include <zstd.h>

#define STAGE_BYTES (64u << 10) /* text that is compressed at once */
#define DEFLATE_LEVEL 6
#define ZSTD_LEVEL 1 /* levels 2 to 5 make tables of digests larger, not smaller */

struct packed_impl {
	z_stream deflate;
	ZSTD_CCtx *zstd;
	struct hasher *hash;
	size_t staged, hashed; /* bytes of stage; the first of them that are in the hash */
	bool sealed;
	uint8_t stage[STAGE_BYTES];
};

int packed_text_init(struct packed_text *t, enum packing packing)
{
	struct packed_impl *p = calloc(1, sizeof(*p));

	*t = (struct packed_text){.impl = p};
	if (!p || hasher_new(DIGEST_SHA256, &p->hash) < 0)
		goto no_memory;
	if (packing == PACK_ZSTD) {
		p->zstd = ZSTD_createCCtx();
		if (!p->zstd || ZSTD_isError(ZSTD_CCtx_setParameter(
					p->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL)))
			goto no_memory;
	} else if (deflateInit2(&p->deflate, DEFLATE_LEVEL, Z_DEFLATED, -15, 8,
				Z_DEFAULT_STRATEGY) != Z_OK)
		goto no_memory;
	return 0;
no_memory:
	packed_text_fini(t);
	return -ENOMEM;
}

static int deflate_stage(struct packed_text *t, bool end)
{
	z_stream *z = &t->impl->deflate;
	int r = 0, z_r = Z_OK;

	z->next_in = t->impl->stage;
	z->avail_in = (uInt)t->impl->staged;
	while (r >= 0 && (z->avail_in || (end && z_r != Z_STREAM_END))) {
		r = buf_reserve(&t->bytes, STAGE_BYTES);
		if (r < 0)
			break;
		z->next_out = t->bytes.data + t->bytes.len;
		z->avail_out = STAGE_BYTES;
		z_r = deflate(z, end ? Z_FINISH : Z_NO_FLUSH);
		t->bytes.len += STAGE_BYTES - z->avail_out;
	}
	return r;
}

static int zstd_stage(struct packed_text *t, bool end)
{
	ZSTD_inBuffer in = {.src = t->impl->stage, .size = t->impl->staged};
	size_t left = 1;

	while (in.pos < in.size || (end && left)) {
		ZSTD_outBuffer out;
		int r = buf_reserve(&t->bytes, STAGE_BYTES);

		if (r < 0)
			return r;
		out = (ZSTD_outBuffer){.dst = t->bytes.data + t->bytes.len, .size = STAGE_BYTES};
		left = ZSTD_compressStream2(t->impl->zstd, &out, &in,
					    end ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(left))
			return -ENOMEM;
		t->bytes.len += out.pos;
	}
	return 0;
}

static void stage_hash(struct packed_impl *p)
{
	if (!p->sealed)
		hasher_update(p->hash, p->stage + p->hashed, p->staged - p->hashed);
	p->hashed = p->staged;
}

static int stage_pack(struct packed_text *t, bool end)
{
	int r;

	stage_hash(t->impl);
	r = t->impl->zstd ? zstd_stage(t, end) : deflate_stage(t, end);
	t->impl->staged = t->impl->hashed = 0;
	return r;
}

int packed_text_append(struct packed_text *t, const void *data, size_t n)
{
	struct packed_impl *p = t->impl;
	int r = 0;

	t->raw_len += n;
	while (n && r >= 0) {
		size_t k = min_u64(n, STAGE_BYTES - p->staged);

		memcpy(p->stage + p->staged, data, k);
		p->staged += k;
		data = (const uint8_t *)data + k;
		n -= k;
		if (p->staged == STAGE_BYTES)
			r = stage_pack(t, false);
	}
	return r;
}

void packed_text_seal(struct packed_text *t)
{
	stage_hash(t->impl);
	hasher_final(t->impl->hash, &t->digest);
	t->impl->sealed = true;
}

int packed_text_finish(struct packed_text *t)
{
	if (!t->impl->sealed)
		packed_text_seal(t);
	return stage_pack(t, true);
}

int packed_text_read(const struct packed_text *t,
		     void (*fn)(void *userdata, const void *data, size_t n), void *userdata)
{
	uint8_t out[16384];
	z_stream z = {.next_in = t->bytes.data, .avail_in = 0};
	size_t left = t->bytes.len;
	int r = Z_OK;

	if (inflateInit2(&z, -15) != Z_OK)
		return -ENOMEM;
	while (r == Z_OK) {
		if (!z.avail_in) { /* more than 4 GiB would not fit its counter */
			z.avail_in = (uInt)min_u64(left, 1u << 30);
			left -= z.avail_in;
		}
		z.next_out = out;
		z.avail_out = sizeof(out);
		r = inflate(&z, Z_NO_FLUSH);
		fn(userdata, out, sizeof(out) - z.avail_out);
	}
	inflateEnd(&z);
	return r == Z_STREAM_END ? 0 : -ENOMEM;
}

void packed_text_fini(struct packed_text *t)
{
	if (t->impl) {
		deflateEnd(&t->impl->deflate);
		ZSTD_freeCCtx(t->impl->zstd);
		hasher_free(t->impl->hash);
		free(t->impl);
	}
	buf_fini(&t->bytes);
	*t = (struct packed_text){0};
}
