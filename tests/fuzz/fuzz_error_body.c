/* SPDX-License-Identifier: MIT */
/* Whatever a server says about an error becomes a text that fits. */
#include "registry/error_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char out[64];

	memset(out, 'x', sizeof(out));
	if (error_body_text(data, size, out, sizeof(out)) != out ||
	    strnlen(out, sizeof(out)) == sizeof(out))
		abort();
	return 0;
}
