/* SPDX-License-Identifier: MIT */
#include "registry/error_body.h"

#include <stdio.h>

#include "base/json.h"

#define BODY_MAX ((size_t)64 << 10)

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

const char *error_body_text(const void *body, size_t len, char *out, size_t n)
{
	json_auto_t *root = NULL;
	const json_t *first;
	const char *code, *message;

	out[0] = 0;
	if (!len || json_parse(body, len, BODY_MAX, "error", &root, NULL) < 0)
		return out;
	first = json_array_get(json_object_get(root, "errors"), 0);
	code = text_of(first, "code");
	message = text_of(first, "message");
	if (*code || *message)
		snprintf(out, n, "%.60s%s%.160s", code, *code && *message ? ": " : "", message);
	return out;
}
