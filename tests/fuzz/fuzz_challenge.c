/* SPDX-License-Identifier: MIT */
/* One header value a line. A Bearer challenge always has a realm; nothing holds a line end. */
#include "registry/challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void clean_check(const char *s)
{
	if (s && strpbrk(s, "\r\n"))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = strndup((const char *)data, size);
	struct error err = ERROR_INIT;
	struct challenge c = {0};
	const char *values[8];
	size_t n = 0;
	int r;

	for (char *s = text, *save; n < ARRAY_SIZE(values) && (s = strtok_r(s, "\n", &save));
	     s = NULL)
		values[n++] = s;
	r = challenge_parse(values, n, "host", &c, &err);
	if (r != 0 && (c.scheme || c.realm))
		abort();
	if (r == 0 && (!c.scheme || (c.scheme == CHALLENGE_BEARER && !c.realm)))
		abort();
	clean_check(c.realm);
	clean_check(c.service);
	clean_check(c.scope);
	clean_check(c.error);
	challenge_fini(&c);
	return 0;
}
