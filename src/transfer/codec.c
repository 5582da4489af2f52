/* SPDX-License-Identifier: MIT */
#include "transfer/codec.h"

#include <errno.h>
#include <libdeflate.h>
#include <stdio.h>
#include <zstd.h>

struct codec {
	enum codec_kind kind;
	struct libdeflate_compressor *deflate;
	ZSTD_CCtx *zstd;
};

int codec_new(enum codec_kind kind, int level, struct codec **ret)
{
	_cleanup_(codec_freep) struct codec *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->kind = kind;
	if (kind == CODEC_GZIP && !(c->deflate = libdeflate_alloc_compressor(level)))
		return -ENOMEM;
	if (kind == CODEC_ZSTD &&
	    (!(c->zstd = ZSTD_createCCtx()) ||
	     ZSTD_isError(ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_compressionLevel, level))))
		return -ENOMEM;
	*ret = steal_ptr(c);
	return 0;
}

static int gzip_compress(struct codec *c, const void *in, size_t n, struct buf *out)
{
	size_t room = libdeflate_gzip_compress_bound(c->deflate, n);
	int r = buf_reserve(out, room);

	if (r < 0)
		return r;
	n = libdeflate_gzip_compress(c->deflate, in, n, out->data + out->len, room);
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
	ZSTD_freeCCtx(c->zstd);
	free(c);
}

/* The version that runs, not the one of the headers, where the library can be asked. */
void codec_describe(enum codec_kind kind, int level, char out[static CODEC_TEXT_MAX])
{
	if (kind == CODEC_GZIP)
		snprintf(out, CODEC_TEXT_MAX, "gzip %d libdeflate %s", level,
			 LIBDEFLATE_VERSION_STRING);
	else
		snprintf(out, CODEC_TEXT_MAX, "zstd %d libzstd %u", level, ZSTD_versionNumber());
}

int codec_level_max(enum codec_kind kind)
{
	return kind == CODEC_GZIP ? 12 : kind == CODEC_ZSTD ? 19 : 0;
}

/* By measurement, on a tree of programs, libraries, sources and documents (bench/push). */
int codec_level_default(enum codec_kind kind)
{
	return kind == CODEC_GZIP ? 2 : kind == CODEC_ZSTD ? 3 : 0;
}
