/* SPDX-License-Identifier: MIT */
#include "image/toc_unwrap.h"

static int on_json(void *userdata, const void *data, size_t n)
{
	*(uint64_t *)userdata += n;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In pieces, and all there is must come out of zstd's wrapping or it is refused. */
static void unwrap(struct toc_unwrap *u, const uint8_t *data, size_t size, uint64_t *bytes,
		   uint64_t want)
{
	struct error err = ERROR_INIT;
	size_t piece = 1 + data[0];
	int r = 0;

	for (size_t at = 1; at < size && r >= 0; at += piece)
		r = toc_unwrap_feed(u, data + at, min_u64(piece, size - at), &err);
	if (r >= 0)
		r = toc_unwrap_finish(u, &err);
	if (r >= 0 && want && *bytes != want)
		__builtin_trap();
	toc_unwrap_free(u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t bytes = 0, raw_len;
	struct toc_unwrap *u;

	if (!size)
		return 0;
	if (!toc_unwrap_new(on_json, &bytes, &u))
		unwrap(u, data, size, &bytes, 0);
	bytes = 0;
	raw_len = size > 2 ? 1 + le16_get(data + size - 2) : 1;
	if (!toc_unwrap_new_zstd(raw_len, on_json, &bytes, &u))
		unwrap(u, data, size > 2 ? size - 2 : size, &bytes, raw_len);
	return 0;
}
