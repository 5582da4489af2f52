/* SPDX-License-Identifier: MIT */
#include "image/estargz_footer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct estargz_footer f;
	uint64_t blob;

	if (size < 8)
		return 0;
	blob = le64_get(data) % (UINT64_C(1) << 40) + size;
	if (!estargz_footer_parse(data + 8, size - 8, blob, &f) && f.kind != ESTARGZ_EXTERNAL_TOC &&
	    (f.toc_off == 0 || f.toc_off >= blob - f.footer_bytes))
		__builtin_trap();
	return 0;
}
