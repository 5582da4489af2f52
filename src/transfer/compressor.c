/* SPDX-License-Identifier: MIT */
/* A sparse file is one piece many times: the last one of nothing but holes is remembered. */
#include "transfer/compressor.h"

#include <errno.h>

#include "base/seam.h"
#include "cache/members.h"

struct compressor {
	struct codec *codec;
	struct members *store; /* borrowed; NULL */
	struct fingerprint *finger;
	char codec_text[CODEC_TEXT_MAX];
	struct piece hole; /* what the last one became; raw_len 0: there was none */
	struct buf hole_out;
};

static uint64_t now_ns(void)
{
	return seam_real()->monotonic_ns(seam_real());
}

int compressor_new(enum codec_kind kind, int level, struct members *store, struct compressor **ret)
{
	_cleanup_(compressor_freep) struct compressor *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	r = codec_new(kind, level, &c->codec);
	if (r >= 0 && store) {
		c->store = store;
		codec_describe(kind, level, c->codec_text);
		r = members_fingerprint(store, &c->finger);
	}
	if (r >= 0)
		*ret = steal_ptr(c);
	return r;
}

/* Everything that the compressed bytes and the digest depend on. */
static void key_of(struct compressor *c, const struct batch *b, struct piece *p)
{
	uint64_t lens[2] = {p->raw_len, p->data_len};

	fingerprint_add(c->finger, c->codec_text, sizeof(c->codec_text));
	fingerprint_add(c->finger, lens, sizeof(lens));
	fingerprint_add(c->finger, b->raw.data + p->raw_off, p->raw_len);
	fingerprint_end(c->finger, p->key);
}

static bool piece_find(struct compressor *c, struct batch *b, struct piece *p)
{
	if (!c->store)
		return false;
	key_of(c, b, p);
	p->digest = (struct digest){.algo = DIGEST_SHA256};
	return !members_get(c->store, p->key, p->digest.bytes, &b->out);
}

static int piece_make(struct compressor *c, struct batch *b, struct piece *p, uint64_t *hash_ns)
{
	const uint8_t *data = b->raw.data + p->raw_off;
	uint64_t start = now_ns();

	if (p->data_len)
		digest_of(DIGEST_SHA256, data, p->data_len, &p->digest);
	*hash_ns += now_ns() - start;
	p->fresh = c->store;
	return codec_compress(c->codec, data, p->raw_len, &b->out);
}

/* ---- holes ---- */

static bool is_hole(const struct piece *p)
{
	return p->raw_len && p->hole_len == p->raw_len;
}

static int hole_keep(struct compressor *c, const struct batch *b, const struct piece *p)
{
	c->hole.raw_len = 0;
	c->hole_out.len = 0;
	if (buf_append(&c->hole_out, b->out.data + p->out_off, p->out_len) < 0)
		return -ENOMEM;
	c->hole = *p;
	c->hole.fresh = false;
	return 0;
}

static int hole_again(const struct compressor *c, struct batch *b, struct piece *p)
{
	memcpy(p->key, c->hole.key, sizeof(p->key));
	p->digest = c->hole.digest;
	p->cached = c->hole.cached;
	p->out_len = c->hole.out_len;
	return buf_append(&b->out, c->hole_out.data, c->hole_out.len);
}

int compressor_piece(struct compressor *c, struct batch *b, struct piece *p, uint64_t *hash_ns)
{
	int r = 0;

	p->out_off = b->out.len;
	if (is_hole(p) && p->raw_len == c->hole.raw_len && p->data_len == c->hole.data_len)
		return hole_again(c, b, p);
	p->cached = piece_find(c, b, p);
	if (!p->cached)
		r = piece_make(c, b, p, hash_ns);
	p->out_len = b->out.len - p->out_off;
	return r < 0 || !is_hole(p) ? r : hole_keep(c, b, p);
}

void compressor_identify(struct compressor *c, struct batch *b)
{
	size_t n;
	const struct piece *pieces = batch_pieces(b, &n);

	if (!c->store)
		return;
	for (size_t i = 0; i < n; i++)
		fingerprint_add(c->finger, pieces[i].key, sizeof(pieces[i].key));
	fingerprint_end(c->finger, b->id);
}

void compressor_free(struct compressor *c)
{
	if (!c)
		return;
	if (c->codec)
		codec_free(c->codec);
	fingerprint_free(c->finger);
	buf_fini(&c->hole_out);
	free(c);
}
