/* SPDX-License-Identifier: MIT */
#include "image/toc_unwrap.h"

#include <errno.h>
#include <zlib.h>
#include <zstd.h>

#include "image/tar.h"

#define OUT_BYTES (64u << 10)
#define WINDOW_LOG_MAX 27

struct toc_unwrap {
	int (*json)(void *userdata, const void *data, size_t n);
	void *userdata;
	struct error *err; /* while it is fed */
	z_stream z;
	struct tar_walk *walk; /* NULL: zstd */
	ZSTD_DCtx *zstd;
	uint64_t raw_len; /* zstd: to be */
	bool in_toc, complete, z_end;
	uint64_t raw;
	uint8_t out[OUT_BYTES];
};

static int on_entry(void *userdata, const struct tar_entry *e)
{
	struct toc_unwrap *u = userdata;

	if (u->complete)
		return 0;
	if (e->path_len != 17 || memcmp(e->path, "stargz.index.json", 17))
		return -EBADMSG;
	if (e->meta.size > TOC_RAW_MAX)
		return error_set(u->err, -E2BIG,
				 "the table of contents has %llu bytes unpacked, the limit is %llu",
				 (unsigned long long)e->meta.size, (unsigned long long)TOC_RAW_MAX);
	u->in_toc = true;
	return 0;
}

static int on_data(void *userdata, uint64_t file_off, const void *data, size_t n,
		   uint64_t stream_off)
{
	struct toc_unwrap *u = userdata;

	return u->in_toc ? u->json(u->userdata, data, n) : 0;
}

static int on_end(void *userdata)
{
	struct toc_unwrap *u = userdata;

	u->complete = u->complete || u->in_toc;
	u->in_toc = false;
	return 0;
}

int toc_unwrap_new(int (*json)(void *userdata, const void *data, size_t n), void *userdata,
		   struct toc_unwrap **ret)
{
	struct toc_unwrap *u = calloc(1, sizeof(*u));
	struct tar_callbacks cb = {
		.entry = on_entry, .data = on_data, .end_entry = on_end, .userdata = u};
	int r;

	if (!u)
		return -ENOMEM;
	u->json = json;
	u->userdata = userdata;
	r = tar_walk_new(&cb, &u->walk);
	if (r >= 0 && inflateInit2(&u->z, 31) != Z_OK)
		r = -ENOMEM;
	if (r < 0) {
		toc_unwrap_free(u);
		return r;
	}
	*ret = u;
	return 0;
}

int toc_unwrap_new_zstd(uint64_t raw_len, int (*json)(void *userdata, const void *data, size_t n),
			void *userdata, struct toc_unwrap **ret)
{
	struct toc_unwrap *u;

	if (raw_len > TOC_RAW_MAX)
		return -E2BIG;
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->json = json;
	u->userdata = userdata;
	u->raw_len = raw_len;
	u->zstd = ZSTD_createDCtx();
	if (!u->zstd ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX))) {
		toc_unwrap_free(u);
		return -ENOMEM;
	}
	*ret = u;
	return 0;
}

static int zstd_feed(struct toc_unwrap *u, const void *data, size_t n, struct error *err)
{
	ZSTD_inBuffer in = {.src = data, .size = n};
	bool full = false;

	while (in.pos < in.size || full) {
		ZSTD_outBuffer out = {.dst = u->out, .size = OUT_BYTES};
		size_t left = ZSTD_decompressStream(u->zstd, &out, &in);
		int r;

		if (ZSTD_isError(left))
			return error_set(err, -EBADMSG,
					 "the table of contents is not valid zstd data");
		full = left && out.pos == out.size;
		u->raw += out.pos;
		if (u->raw > u->raw_len)
			return error_set(
				err, -EBADMSG,
				"the table of contents has more than the %llu bytes it should have",
				(unsigned long long)u->raw_len);
		r = out.pos ? u->json(u->userdata, u->out, out.pos) : 0;
		if (r < 0)
			return r;
		u->complete = !left && u->raw == u->raw_len;
	}
	return 0;
}

int toc_unwrap_feed(struct toc_unwrap *u, const void *data, size_t n, struct error *err)
{
	if (u->zstd)
		return zstd_feed(u, data, n, err);
	u->err = err;
	u->z.next_in = (uint8_t *)data;
	u->z.avail_in = (uInt)n;
	while (u->z.avail_in && !u->complete && !u->z_end) {
		int z, r;
		size_t got;

		u->z.next_out = u->out;
		u->z.avail_out = OUT_BYTES;
		z = inflate(&u->z, Z_NO_FLUSH);
		got = OUT_BYTES - u->z.avail_out;
		if (z != Z_OK && z != Z_STREAM_END && z != Z_BUF_ERROR)
			return error_set(err, -EBADMSG,
					 "the table of contents is not valid gzip data");
		u->raw += got;
		if (u->raw > TOC_RAW_MAX + (1 << 20))
			return error_set(err, -E2BIG,
					 "the table of contents has more than %llu bytes",
					 (unsigned long long)TOC_RAW_MAX);
		r = tar_walk_feed(u->walk, u->out, got, err);
		if (r < 0)
			return r;
		u->z_end = z == Z_STREAM_END;
	}
	return 0;
}

int toc_unwrap_finish(struct toc_unwrap *u, struct error *err)
{
	if (u->complete)
		return 0;
	return error_set(err, -EBADMSG, "the table of contents is cut off");
}

void toc_unwrap_free(struct toc_unwrap *u)
{
	if (!u)
		return;
	inflateEnd(&u->z);
	tar_walk_free(u->walk);
	ZSTD_freeDCtx(u->zstd);
	free(u);
}
