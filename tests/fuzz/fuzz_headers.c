/* SPDX-License-Identifier: MIT */
/* Every header parser sees every text; what one accepts keeps what its header file promises. */
#include "registry/headers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void range_check(const char *text)
{
	struct content_range r;

	if (content_range_parse(text, &r) < 0)
		return;
	if (!r.unsatisfied && (r.last < r.first || r.last > INT64_MAX))
		abort();
	if (r.has_total && (r.total > INT64_MAX || (!r.unsatisfied && r.last >= r.total)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = strndup((const char *)data, size);
	char *type = NULL, *target = NULL;
	uint64_t v;

	range_check(text);
	if (content_length_parse(text, &v) == 0 && v > INT64_MAX)
		abort();
	if (upload_range_parse(text, &v) == 0 && v > INT64_MAX)
		abort();
	if (retry_after_parse(text, 784111777, &v) == 0 && v > INT32_MAX)
		abort();
	if (content_type_parse(text, &type) == 0 &&
	    (!strchr(type, '/') || strpbrk(type, "; \tABC")))
		abort();
	if (link_next_parse(text, &target) == 0 && (!*target || strchr(target, '>')))
		abort();
	free(type);
	free(target);
	return 0;
}
