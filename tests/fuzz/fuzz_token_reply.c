/* SPDX-License-Identifier: MIT */
/* A token that was accepted can't break out of a header line, and lives within bounds. */
#include "registry/token_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = ERROR_INIT;
	struct token_reply t = {0};

	if (token_reply_parse(data, size, "host", &t, &err) < 0)
		return 0;
	if (!*t.token || t.life_s < 60 || t.life_s > 86400 || t.renew_s >= t.life_s)
		abort();
	for (const char *s = t.token; *s; s++)
		if (*s <= 0x20 || *s >= 0x7f)
			abort();
	token_reply_fini(&t);
	return 0;
}
