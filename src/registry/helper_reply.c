/* SPDX-License-Identifier: MIT */
#include "registry/helper_reply.h"

#include <errno.h>
#include "base/json.h"

#define NOT_FOUND "credentials not found in native keychain"
#define IDENTITY_USER "<token>"
#define QUOTED_MAX 200

bool helper_name_ok(const char *name)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";
	size_t n = strlen(name);

	return n && n <= HELPER_NAME_MAX && strspn(name, allowed) == n && strspn(name, ".") != n;
}

static int failure(const char *out, size_t len, const char *what, struct error *err)
{
	while (len && strchr(" \t\r\n", out[len - 1]))
		len--;
	while (len && strchr(" \t\r\n", *out)) {
		out++;
		len--;
	}
	if (len == strlen(NOT_FOUND) && !memcmp(out, NOT_FOUND, len))
		return CREDS_NONE;
	return error_set(err, -EACCES, "%s failed: %.*s", what,
			 (int)min_u64(len ? len : strlen("it says nothing"), QUOTED_MAX),
			 len ? out : "it says nothing");
}

int helper_reply_parse(const void *out, size_t len, bool failed, const char *what,
		       struct credential *ret, struct error *err)
{
	_cleanup_(json_decrefp) json_t *doc = NULL;
	const char *user = "", *secret = "";
	struct error why = ERROR_INIT; /* jansson quotes what it chokes on, which may be a secret */
	int r;

	if (len > HELPER_REPLY_MAX)
		return error_set(err, -E2BIG, "%s: its answer has more than %zu bytes", what,
				 HELPER_REPLY_MAX);
	if (failed)
		return failure(out, len, what, err);
	r = json_parse(out, len, HELPER_REPLY_MAX, what, &doc, &why);
	if (r >= 0 && !json_is_object(doc))
		r = -EBADMSG;
	if (r >= 0)
		r = json_get_string(doc, "Username", what, &user, &why);
	if (r >= 0)
		r = json_get_string(doc, "Secret", what, &secret, &why);
	if (r < 0)
		return error_set(err, r, "%s: its answer is no JSON of Username and Secret", what);
	if (!*secret)
		return CREDS_NONE;
	return credential_make(strcmp(user, IDENTITY_USER) ? CREDENTIAL_BASIC : CREDENTIAL_IDENTITY,
			       strcmp(user, IDENTITY_USER) ? user : "", secret, what, ret, err);
}
