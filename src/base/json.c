/* SPDX-License-Identifier: MIT */
#include "base/json.h"

#include <errno.h>

/* jansson recurses to a depth of 2048 and gives an empty object 78 times its size; so nesting and
 * size are judged on the text first. */
static int depth_check(const char *text, size_t len, const char *what, struct error *err)
{
	unsigned depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		if (in_string) {
			if (text[i] == '\\')
				i++;
			else if (text[i] == '"')
				in_string = false;
			continue;
		}
		if (text[i] == '"')
			in_string = true;
		else if (text[i] == '{' || text[i] == '[') {
			if (++depth > JSON_DEPTH_MAX)
				return error_set(err, -E2BIG, "%s: JSON nested deeper than %d",
						 what, JSON_DEPTH_MAX);
		} else if ((text[i] == '}' || text[i] == ']') && depth)
			depth--;
	}
	return 0;
}

int json_parse(const void *data, size_t len, size_t max_bytes, const char *what, json_t **ret,
	       struct error *err)
{
	json_error_t jerr;
	json_t *root;
	int r;

	if (len > max_bytes)
		return error_set(err, -E2BIG, "%s: %zu bytes, the limit is %zu", what, len,
				 max_bytes);
	r = depth_check(data, len, what, err);
	if (r < 0)
		return r;
	root = json_loadb(data, len, JSON_REJECT_DUPLICATES, &jerr);
	if (!root)
		return error_set(err, -EBADMSG, "%s: not valid JSON at byte %d: %s", what,
				 jerr.position, jerr.text);
	*ret = root;
	return 0;
}

static int member_get(const json_t *obj, const char *key, const char *what, json_type type,
		      const char *type_name, json_t **ret, struct error *err)
{
	json_t *v = json_object_get(obj, key);

	if (!v || json_is_null(v))
		return JSON_ABSENT;
	if (json_typeof(v) != type)
		return error_set(err, -EBADMSG, "%s: member \"%s\" is not %s", what, key,
				 type_name);
	*ret = v;
	return 0;
}

int json_get_string(const json_t *obj, const char *key, const char *what, const char **ret,
		    struct error *err)
{
	json_t *v = NULL;
	int r = member_get(obj, key, what, JSON_STRING, "a string", &v, err);

	if (!r)
		*ret = json_string_value(v);
	return r;
}

int json_get_int(const json_t *obj, const char *key, const char *what, int64_t *ret,
		 struct error *err)
{
	json_t *v = NULL;
	int r = member_get(obj, key, what, JSON_INTEGER, "an integer", &v, err);

	if (!r)
		*ret = json_integer_value(v);
	return r;
}

int json_get_object(const json_t *obj, const char *key, const char *what, json_t **ret,
		    struct error *err)
{
	return member_get(obj, key, what, JSON_OBJECT, "an object", ret, err);
}

int json_get_array(const json_t *obj, const char *key, const char *what, json_t **ret,
		   struct error *err)
{
	return member_get(obj, key, what, JSON_ARRAY, "an array", ret, err);
}
