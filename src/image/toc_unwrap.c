/* SPDX-License-Identifier: MIT */
#include "image/toc_unwrap.h"

#include <errno.h>
#include <zlib.h>

#include "image/tar.h"

#define OUT_BYTES (64u << 10)

struct toc_unwrap {
	int (*json)(void *userdata, const void *data, size_t n);
	void *userdata;
	z_stream z;
	struct tar_walk *walk;
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
		return -E2BIG;
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

int toc_unwrap_feed(struct toc_unwrap *u, const void *data, size_t n, struct error *err)
{
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
	free(u);
}
