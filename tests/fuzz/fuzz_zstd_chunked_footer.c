/* SPDX-License-Identifier: MIT */
#include "image/zstd_chunked_footer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct zstd_chunked_position p;
	uint64_t blob;

	if (size < 8)
		return 0;
	blob = le64_get(data) % (UINT64_C(1) << 40) + size;
	if (!zstd_chunked_footer_parse(data + 8, size - 8, blob, &p) &&
	    (p.off <= ZSTD_SKIPPABLE_HEADER || !p.len || !p.raw_len || p.off >= blob ||
	     p.len > blob - p.off - 48))
		__builtin_trap();
	return 0;
}
