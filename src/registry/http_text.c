/* SPDX-License-Identifier: MIT */
#include "registry/http_text.h"

#include <errno.h>
#include <strings.h>

const char *http_skip_blank(const char *s)
{
	return s + strspn(s, " \t");
}

size_t http_token_len(const char *s)
{
	return strspn(s, "!#$%&'*+-.^_`|~0123456789"
			 "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
}

bool http_token_is(const char *s, size_t len, const char *name)
{
	return strlen(name) == len && !strncasecmp(s, name, len);
}

static bool is_text(char c)
{
	return c == '\t' || ((unsigned char)c >= 0x20 && c != 0x7f);
}

static int quoted_parse(const char **s, char **ret)
{
	_cleanup_(freep) char *value = malloc(strlen(*s) + 1);
	const char *p = *s + 1;
	size_t n = 0;

	if (!value)
		return -ENOMEM;
	for (; *p != '"'; p++) {
		if (*p == '\\')
			p++;
		if (!is_text(*p)) /* also the end of the text */
			return -EPROTO;
		value[n++] = *p;
	}
	value[n] = 0;
	*s = p + 1;
	*ret = steal_ptr(value);
	return 0;
}

int http_value_parse(const char **s, char **ret)
{
	size_t n = 0;

	if (**s == '"')
		return quoted_parse(s, ret);
	while ((*s)[n] > 0x20 && (*s)[n] < 0x7f && !strchr(",;\"", (*s)[n]))
		n++;
	if (!n)
		return -EPROTO;
	*ret = strndup(*s, n);
	if (!*ret)
		return -ENOMEM;
	*s += n;
	return 0;
}
