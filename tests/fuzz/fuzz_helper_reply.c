/* SPDX-License-Identifier: MIT */
/* The first byte says how the helper ended; the rest is what it wrote. */
#include "registry/helper_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = ERROR_INIT;
	struct credential cred = {0};
	int r;

	if (!size)
		return 0;
	r = helper_reply_parse(data + 1, size - 1, data[0] & 1, "helper", &cred, &err);
	if ((r == 0) != (cred.secret != NULL) || (r < 0) != (err.code != 0))
		abort();
	if (r == 0 && (!*cred.secret || strpbrk(cred.secret, "\r\n")))
		abort();
	credential_fini(&cred);
	return 0;
}
