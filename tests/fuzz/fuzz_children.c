/* SPDX-License-Identifier: MIT */
/* Every descriptor that comes out can be copied: it has a type, a digest and a size. */
#include "image/children.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct children c;

	if (children_parse(data, size, NULL, &c, NULL) < 0)
		return 0;
	for (size_t i = 0; i < c.n; i++)
		if (!c.list[i].media_type || !c.list[i].digest.algo || c.list[i].size < 0)
			abort();
	children_fini(&c);
	return 0;
}
