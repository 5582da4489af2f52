/* SPDX-License-Identifier: MIT */
#include "transfer/codec.h"

#include <errno.h>
#include <libdeflate.h>
#include <stdio.h>
#include <zstd.h>

/* By measurement, on a tree of programs, libraries, sources and documents (bench/push). */
#define GZIP_LEVEL 2
#define ZSTD_LEVEL 3

/* Noise (what is compressed or encrypted already) takes libdeflate longer than anything else, and
 * zstd hardly any time: so it is asked about some samples of each large piece beforehand. */
#define NOISE_LEAST ((size_t)512 << 10) /* samples are an eighth of it */
#define SAMPLES 4u
#define SAMPLE_BYTES ((size_t)16 << 10)
#define SAMPLES_BYTES (SAMPLES * SAMPLE_BYTES)
#define NOISE_BYTES (SAMPLES_BYTES - SAMPLES_BYTES / 64)

struct sampler {
	ZSTD_CCtx *zstd;
	uint8_t in[SAMPLES_BYTES], out[ZSTD_COMPRESSBOUND(SAMPLES_BYTES)];
};

struct codec {
	enum codec_kind kind;
	struct libdeflate_compressor *deflate, *stored;
	struct sampler *sampler; /* gzip */
	ZSTD_CCtx *zstd;
};

static void sampler_free(struct sampler *s)
{
	ZSTD_freeCCtx(s->zstd);
	free(s);
}
DEFINE_CLEANUP(struct sampler *, sampler_free)

static int sampler_new(struct sampler **ret)
{
	_cleanup_(sampler_freep) struct sampler *s = calloc(1, sizeof(*s));

	if (!s || !(s->zstd = ZSTD_createCCtx()) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_compressionLevel, 1)))
		return -ENOMEM;
	*ret = steal_ptr(s);
	return 0;
}

static bool is_noise(struct sampler *s, const uint8_t *in, size_t n)
{
	size_t step, packed;

	if (n < NOISE_LEAST)
		return false;
	step = (n - SAMPLE_BYTES) / (SAMPLES - 1);
	for (size_t i = 0; i < SAMPLES; i++)
		memcpy(s->in + i * SAMPLE_BYTES, in + i * step, SAMPLE_BYTES);
	packed = ZSTD_compress2(s->zstd, s->out, sizeof(s->out), s->in, sizeof(s->in));
	return !ZSTD_isError(packed) && packed >= NOISE_BYTES;
}

/* The default level would look for matches of five bytes; of four it finds 1 % more in 7 % more
 * time. 0: as the level has it. */
static int zstd_match(int level)
{
	return level == ZSTD_LEVEL ? 4 : 0;
}

static int zstd_new(int level, ZSTD_CCtx **ret)
{
	ZSTD_CCtx *z = *ret = ZSTD_createCCtx();
	int match = zstd_match(level);

	if (!z || ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, level)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_minMatch, match)))
		return -ENOMEM;
	return 0;
}

int codec_new(enum codec_kind kind, int level, struct codec **ret)
{
	_cleanup_(codec_freep) struct codec *c = calloc(1, sizeof(*c));
	int r = 0;

	if (!c)
		return -ENOMEM;
	c->kind = kind;
	if (kind == CODEC_GZIP) {
		c->deflate = libdeflate_alloc_compressor(level);
		c->stored = libdeflate_alloc_compressor(0);
		r = c->deflate && c->stored ? sampler_new(&c->sampler) : -ENOMEM;
	} else if (kind == CODEC_ZSTD)
		r = zstd_new(level, &c->zstd);
	if (r >= 0)
		*ret = steal_ptr(c);
	return r;
}

static int gzip_compress(struct codec *c, const void *in, size_t n, struct buf *out)
{
	struct libdeflate_compressor *d = is_noise(c->sampler, in, n) ? c->stored : c->deflate;
	size_t room = libdeflate_gzip_compress_bound(d, n);
	int r = buf_reserve(out, room);

	if (r < 0)
		return r;
	n = libdeflate_gzip_compress(d, in, n, out->data + out->len, room);
	assert(n);
	out->len += n;
	return 0;
}

static int zstd_compress(struct codec *c, const void *in, size_t n, struct buf *out)
{
	size_t room = ZSTD_compressBound(n);
	int r = buf_reserve(out, room);

	if (r < 0)
		return r;
	n = ZSTD_compress2(c->zstd, out->data + out->len, room, in, n);
	if (ZSTD_isError(n))
		return -ENOMEM; /* with room for the worst there is no other error */
	out->len += n;
	return 0;
}

int codec_compress(struct codec *c, const void *in, size_t n, struct buf *out)
{
	switch (c->kind) {
	case CODEC_GZIP:
		return gzip_compress(c, in, n, out);
	case CODEC_ZSTD:
		return zstd_compress(c, in, n, out);
	default:
		return buf_append(out, in, n);
	}
}

void codec_free(struct codec *c)
{
	if (c->deflate)
		libdeflate_free_compressor(c->deflate);
	if (c->stored)
		libdeflate_free_compressor(c->stored);
	if (c->sampler)
		sampler_free(c->sampler);
	ZSTD_freeCCtx(c->zstd);
	free(c);
}

/* The version that runs, not the one of the headers, where the library can be asked. */
void codec_describe(enum codec_kind kind, int level, char out[static CODEC_TEXT_MAX])
{
	if (kind == CODEC_GZIP)
		snprintf(out, CODEC_TEXT_MAX, "gzip %d libdeflate %s, samples by libzstd %u", level,
			 LIBDEFLATE_VERSION_STRING, ZSTD_versionNumber());
	else
		snprintf(out, CODEC_TEXT_MAX, "zstd %d match %d libzstd %u", level,
			 zstd_match(level), ZSTD_versionNumber());
}

int codec_level_max(enum codec_kind kind)
{
	return kind == CODEC_GZIP ? 12 : kind == CODEC_ZSTD ? 19 : 0;
}

int codec_level_default(enum codec_kind kind)
{
	return kind == CODEC_GZIP ? GZIP_LEVEL : kind == CODEC_ZSTD ? ZSTD_LEVEL : 0;
}
