/* SPDX-License-Identifier: MIT */
#include "registry/headers.h"

#include <curl/curl.h>
#include <errno.h>
#include <strings.h>
#include "registry/http_text.h"

/* Digits at *s, at most max. false: none, or more than max. */
static bool number_parse(const char **s, uint64_t max, uint64_t *ret)
{
	const char *p = *s;
	uint64_t v = 0;

	for (; *p >= '0' && *p <= '9'; p++)
		if (mul_overflows(v, (uint64_t)10, &v) ||
		    add_overflows(v, (uint64_t)(*p - '0'), &v) || v > max)
			return false;
	if (p == *s)
		return false;
	*s = p;
	*ret = v;
	return true;
}

static bool at_end(const char *s)
{
	return !*http_skip_blank(s);
}

int content_range_parse(const char *value, struct content_range *ret)
{
	struct content_range r = {0};
	const char *s = http_skip_blank(value);

	if (!strncasecmp(s, "bytes", 5) && (s[5] == ' ' || s[5] == '\t'))
		s = http_skip_blank(s + 5);
	if (*s == '*') {
		r.unsatisfied = true;
		s++;
	} else {
		if (!number_parse(&s, INT64_MAX, &r.first) || *s++ != '-' ||
		    !number_parse(&s, INT64_MAX, &r.last) || r.last < r.first)
			return -EPROTO;
	}
	if (*s++ != '/')
		return -EPROTO;
	if (*s == '*' && !r.unsatisfied) {
		s++;
	} else {
		r.has_total = true;
		if (!number_parse(&s, INT64_MAX, &r.total) || (!r.unsatisfied && r.last >= r.total))
			return -EPROTO;
	}
	if (!at_end(s))
		return -EPROTO;
	*ret = r;
	return 0;
}

int upload_range_parse(const char *value, uint64_t *ret_next)
{
	const char *s = http_skip_blank(value);
	uint64_t first, last;

	if (!strncasecmp(s, "bytes", 5) && (s[5] == '=' || s[5] == ' '))
		s += 6;
	if (!number_parse(&s, 0, &first) || *s++ != '-' ||
	    !number_parse(&s, INT64_MAX - 1, &last) || !at_end(s))
		return -EPROTO;
	*ret_next = last ? last + 1 : 0;
	return 0;
}

int content_length_parse(const char *value, uint64_t *ret)
{
	const char *s = http_skip_blank(value);
	uint64_t v;

	if (!number_parse(&s, INT64_MAX, &v) || !at_end(s))
		return -EPROTO;
	*ret = v;
	return 0;
}

int retry_after_parse(const char *value, int64_t now_s, uint64_t *ret_s)
{
	const char *s = http_skip_blank(value);
	int64_t wait;
	uint64_t v;
	time_t date;

	if (*s >= '0' && *s <= '9') {
		if (number_parse(&s, UINT64_MAX, &v) && at_end(s)) {
			*ret_s = min_u64(v, INT32_MAX);
			return 0;
		}
		if (strspn(s, "0123456789") == strlen(s)) {
			*ret_s = INT32_MAX; /* more than 2^64 s is a long wait, not nonsense */
			return 0;
		}
		return -EPROTO;
	}
	/* independent of the locale, unlike strptime() */
	date = strlen(s) < 64 ? curl_getdate(s, NULL) : -1;
	if (date < 0)
		return -EPROTO;
	if (__builtin_sub_overflow((int64_t)date, now_s, &wait) || wait < 0)
		wait = 0;
	*ret_s = min_u64((uint64_t)wait, INT32_MAX);
	return 0;
}

int content_type_parse(const char *value, char **ret)
{
	const char *s = http_skip_blank(value);
	size_t type = http_token_len(s), n = type, sub;
	const char *end;
	char *out;

	if (!type || s[n++] != '/')
		return -EPROTO;
	sub = http_token_len(s + n);
	n += sub;
	end = http_skip_blank(s + n);
	if (!sub || n > 255 || (*end && *end != ';'))
		return -EPROTO;
	out = strndup(s, n);
	if (!out)
		return -ENOMEM;
	for (char *p = out; *p; p++)
		*p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
	*ret = out;
	return 0;
}

/* rel may hold several relations, separated by blanks. */
static bool rel_has_next(const char *rel)
{
	for (const char *s = rel; *(s = http_skip_blank(s)); s += strcspn(s, " \t"))
		if (http_token_is(s, strcspn(s, " \t"), "next"))
			return true;
	return false;
}

/* The parameters behind one <target>; *s moves to the ',' or the end behind them. */
static int link_params_parse(const char **s, bool *ret_next)
{
	bool next = false, rel_seen = false;

	for (*s = http_skip_blank(*s); **s == ';'; *s = http_skip_blank(*s)) {
		_cleanup_(freep) char *param = NULL;
		const char *name = http_skip_blank(*s + 1);
		size_t len = http_token_len(name);
		int r;

		*s = http_skip_blank(name + len);
		if (!len || **s != '=')
			continue;
		*s = http_skip_blank(*s + 1);
		r = http_value_parse(s, &param);
		if (r < 0)
			return r;
		if (!http_token_is(name, len, "rel") || rel_seen)
			continue; /* of several rel the first counts (RFC 8288 3.3) */
		rel_seen = true;
		next = rel_has_next(param);
	}
	*ret_next = next;
	return **s && **s != ',' ? -EPROTO : 0;
}

int link_next_parse(const char *value, char **ret)
{
	const char *s = value;

	for (;;) {
		const char *target, *end;
		bool next;
		int r;

		while (*(s = http_skip_blank(s)) == ',')
			s++;
		if (!*s)
			return HEADER_ABSENT;
		target = s + 1;
		end = *s == '<' ? strchr(target, '>') : NULL;
		if (!end || end == target)
			return -EPROTO;
		s = end + 1;
		r = link_params_parse(&s, &next);
		if (r < 0)
			return r;
		if (!next)
			continue;
		*ret = strndup(target, (size_t)(end - target));
		return *ret ? 0 : -ENOMEM;
	}
}
