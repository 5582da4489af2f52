/* SPDX-License-Identifier: MIT */
/* An ignore file, a NUL, a path. What a last line takes back is not ignored. */
#include "transfer/ignore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(ignore_freep) struct ignore_list *l = NULL;
	_cleanup_(freep) char *text = NULL;
	const char *path;
	size_t n;

	if (size > 4096)
		return 0;
	text = malloc(size + 2);
	must(text != NULL);
	memcpy(text, data, size);
	memset(text + size, 0, 2);
	n = strlen(text);
	path = n < size ? text + n + 1 : "x";
	must(ignore_new(&l) == 0);
	if (ignore_add_text(l, text, n, "file", NULL) < 0)
		return 0;
	if (ignore_matches(l, path)) {
		must(ignore_add_pattern(l, "!**", 3, "", NULL) == 0);
		must(!ignore_matches(l, path));
		must(ignore_may_take_back(l, path));
	}
	return 0;
}
