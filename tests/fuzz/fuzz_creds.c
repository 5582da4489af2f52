/* SPDX-License-Identifier: MIT */
/* The first line is "host/path", the rest a configuration file. */
#include "registry/creds.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void lookup(const struct creds *c, const char *host, const char *path)
{
	struct error err = ERROR_INIT;
	struct credential cred = {0};
	struct creds_helper helper;
	const char *key = NULL;
	int r = creds_lookup(c, host, path, &cred, &key, &err);

	if ((r == 0) != (cred.secret != NULL) || (r == 0) != (key != NULL))
		abort();
	if (creds_helper(c, host, &helper, NULL) == 0 && (!*helper.name || !helper.server))
		abort();
	if (r == 0 && (!cred.kind || !cred.username || strpbrk(cred.secret, "\r\n") ||
		       (cred.kind == CREDENTIAL_BASIC && strchr(cred.username, ':'))))
		abort();
	credential_fini(&cred);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *line_end = size ? memchr(data, '\n', size) : NULL;
	size_t host_len = line_end ? (size_t)(line_end - data) : 0;
	_cleanup_(freep) char *host = strndup((const char *)data, host_len);
	size_t at = line_end ? host_len + 1 : 0;
	struct error err = ERROR_INIT;
	struct creds *c = NULL;
	char *slash;

	if (creds_parse(data + at, size - at, (enum creds_house)(size % 3), "file", &c, &err) < 0)
		return 0;
	slash = strchr(host, '/');
	if (slash)
		*slash++ = 0;
	lookup(c, host, slash);
	lookup(c, "docker.io", "library/alpine");
	creds_free(c);
	return 0;
}
