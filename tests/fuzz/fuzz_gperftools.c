/* SPDX-License-Identifier: MIT */
/* What libprofiler leaves: counts and addresses, as words. */
#include "prof/gperftools.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = ERROR_INIT;
	struct stacks t = {0};
	uint64_t period_ns = 0;
	void *copy = malloc(size + 1); /* aligned, as a mapped file is */
	int r;

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	r = gperftools_parse(copy, size, &t, &period_ns, &err);
	assert(r < 0 ? r == -EBADMSG : period_ns > 0);
	for (size_t i = 0; i < t.keys.n; i++) {
		const struct stack *s = intern_get(&t.keys, i, NULL);

		assert(s->n <= PROF_DEPTH);
	}
	stacks_fini(&t);
	free(copy);
	return 0;
}
