/* SPDX-License-Identifier: MIT */
/* The tar walk, fed whole and in pieces: the same entries and the same contents must come out. */
#include <errno.h>
#include <stdio.h>

#include "image/tar.h"

struct seen {
	struct hasher *hash;
	uint64_t entries;
};

static int on_entry(void *userdata, const struct tar_entry *e)
{
	struct seen *s = userdata;

	if (strlen(e->path) != e->path_len || e->path_len > PATH_LEN_MAX ||
	    e->meta.mtime_ns >= 1000000000)
		__builtin_trap();
	hasher_update(s->hash, &e->meta, sizeof(e->meta));
	hasher_update(s->hash, e->path, e->path_len);
	if (e->link_len)
		hasher_update(s->hash, e->link, e->link_len);
	if (e->xattr_len)
		hasher_update(s->hash, e->xattrs, e->xattr_len);
	for (size_t i = 0; i < e->n_extents; i++)
		if (e->extents[i].off + e->extents[i].len > e->meta.size)
			__builtin_trap();
	s->entries++;
	return 0;
}

static int on_data(void *userdata, uint64_t file_off, const void *data, size_t n,
		   uint64_t stream_off)
{
	struct seen *s = userdata;

	for (size_t i = 0; i < n; i++) { /* pieces differ in size, bytes and places do not */
		uint64_t at[2] = {file_off + i, stream_off + i};

		hasher_update(s->hash, at, sizeof(at));
		hasher_update(s->hash, (const uint8_t *)data + i, 1);
	}
	return 0;
}

static int on_end(void *userdata)
{
	return 0;
}

static int walk(const uint8_t *data, size_t n, size_t piece, struct digest *ret)
{
	struct seen s = {0};
	struct tar_callbacks cb = {
		.entry = on_entry, .data = on_data, .end_entry = on_end, .userdata = &s};
	struct error err = ERROR_INIT;
	struct tar_walk *w;
	int r = 0;

	if (hasher_new(DIGEST_SHA256, &s.hash) < 0 || tar_walk_new(&cb, &w) < 0)
		return 0;
	for (size_t at = 0; at < n && r >= 0; at += piece)
		r = tar_walk_feed(w, data + at, min_u64(piece, n - at), &err);
	if (r >= 0)
		r = tar_walk_finish(w, &err);
	if (r < 0 && !err.code && r != -ENOMEM)
		__builtin_trap(); /* refused without a word */
	tar_walk_free(w);
	hasher_final(s.hash, ret);
	hasher_free(s.hash);
	return r;
}

/* Whatever says it is a header gets the checksum of one: no mutation would find it. */
static void headers_seal(uint8_t *data, size_t n)
{
	for (uint8_t *h = data; h + 512 <= data + n; h += 512) {
		unsigned sum = 0;

		if (memcmp(h + 257, "ustar", 5))
			continue;
		memset(h + 148, ' ', 8);
		for (int i = 0; i < 512; i++)
			sum += h[i];
		snprintf((char *)h + 148, 8, "%06o", sum);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* First the size of the pieces and whether to seal. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct digest whole, pieces;
	uint8_t *tar;
	int r;

	if (size < 1 || size > 64 << 10)
		return 0;
	tar = malloc(size);
	if (!tar)
		return 0;
	memcpy(tar, data, size);
	if (data[0] & 1)
		headers_seal(tar + 1, size - 1);
	r = walk(tar + 1, size - 1, size, &whole);
	if (walk(tar + 1, size - 1, 1 + data[0] * 7u, &pieces) != r ||
	    !digest_equal(&whole, &pieces))
		__builtin_trap();
	free(tar);
	return 0;
}
