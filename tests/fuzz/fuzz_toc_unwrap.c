/* SPDX-License-Identifier: MIT */
#include "image/toc_unwrap.h"

static int on_json(void *userdata, const void *data, size_t n)
{
	*(uint64_t *)userdata += n;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = ERROR_INIT;
	struct toc_unwrap *u;
	uint64_t bytes = 0;
	size_t piece;
	int r = 0;

	if (!size || toc_unwrap_new(on_json, &bytes, &u) < 0)
		return 0;
	piece = 1 + data[0];
	for (size_t at = 1; at < size && r >= 0; at += piece)
		r = toc_unwrap_feed(u, data + at, min_u64(piece, size - at), &err);
	if (r >= 0)
		toc_unwrap_finish(u, &err);
	toc_unwrap_free(u);
	return 0;
}
