/* SPDX-License-Identifier: MIT */
#include "registry/url.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <strings.h>

static void curl_free_charp(char **p)
{
	curl_free(*p);
}

static void curl_url_cleanupp(CURLU **p)
{
	curl_url_cleanup(*p);
}

bool origin_equal(const struct origin *a, const struct origin *b)
{
	return a->https == b->https && a->port == b->port && !strcmp(a->host, b->host);
}

void origin_format(const struct origin *o, char out[static ORIGIN_TEXT_MAX])
{
	const char *scheme = o->https ? "https" : "http";

	if (o->port == (o->https ? 443 : 80))
		snprintf(out, ORIGIN_TEXT_MAX, "%s://%s", scheme, o->host);
	else
		snprintf(out, ORIGIN_TEXT_MAX, "%s://%s:%u", scheme, o->host, o->port);
}

static int url_error(struct error *err, CURLUcode rc, const char *text)
{
	char shown[256];

	if (rc == CURLUE_OUT_OF_MEMORY)
		return error_set_errno(err, -ENOMEM, "URL");
	url_redact(text, shown, sizeof(shown));
	if (rc == CURLUE_USER_NOT_ALLOWED)
		return error_set(err, -EPERM, "URL \"%s\" refused: it carries a user name", shown);
	if (rc == CURLUE_UNSUPPORTED_SCHEME)
		return error_set(err, -EPERM, "URL \"%s\" refused: only http and https are allowed",
				 shown);
	return error_set(err, -EPROTO, "not a usable URL: \"%s\": %s", shown,
			 curl_url_strerror(rc));
}

/* Length of the scheme, 0 = there is none. */
static size_t scheme_len(const char *text)
{
	size_t n =
		strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

	return text[n] == ':' ? n : 0;
}

/* libcurl decodes %XX in a host name, but only after it has looked whether it is an address. */
static bool host_is_encoded(const char *text)
{
	size_t n = scheme_len(text);
	const char *host = text + n + (n > 0);

	if (strncmp(host, "//", 2) != 0)
		return false;
	return memchr(host + 2, '%', strcspn(host + 2, "/?#")) != NULL;
}

/* libcurl forgives blanks, control bytes and missing slashes in some places and versions; what it
 * would have to forgive is refused before it looks. */
static int text_check(const char *text, struct error *err)
{
	char shown[256];
	size_t n = strlen(text);

	if (n > URL_MAX)
		return error_set(err, -EPROTO, "URL of %zu bytes refused: the limit is %d", n,
				 URL_MAX);
	url_redact(text, shown, sizeof(shown));
	for (size_t i = 0; i < n; i++)
		if (text[i] <= 0x20 || text[i] >= 0x7f || text[i] == '\\')
			return error_set(err, -EPROTO,
					 "not a usable URL: \"%s\": byte %zu is not allowed", shown,
					 i);
	if (host_is_encoded(text))
		return error_set(err, -EPROTO, "not a usable URL: \"%s\": '%%' in a host name",
				 shown);
	return 0;
}

/* libcurl would take the next component of "http:///host/" for the host. */
static bool is_absolute(const char *text)
{
	size_t n = !strncasecmp(text, "http://", 7) ? 7 : !strncasecmp(text, "https://", 8) ? 8 : 0;

	return n && text[n] != '/';
}

static CURLUcode host_read(CURLU *u, struct origin *ret)
{
	_cleanup_(curl_free_charp) char *host = NULL;
	CURLUcode rc = curl_url_get(u, CURLUPART_HOST, &host, 0);
	size_t n;

	if (rc)
		return rc;
	n = strlen(host);
	/* a final dot names the same host by another text */
	if (!n || n >= sizeof(ret->host) || host[n - 1] == '.')
		return CURLUE_BAD_HOSTNAME;
	for (size_t i = 0; i < n; i++)
		host[i] = (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] + 32 : host[i]);
	if (strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.:[]") != n)
		return CURLUE_BAD_HOSTNAME;
	memcpy(ret->host, host, n + 1);
	return CURLUE_OK;
}

static CURLUcode origin_read(CURLU *u, struct origin *ret)
{
	_cleanup_(curl_free_charp) char *scheme = NULL, *port = NULL, *zone = NULL;
	CURLUcode rc;
	long n;

	rc = curl_url_get(u, CURLUPART_SCHEME, &scheme, 0);
	if (rc)
		return rc;
	if (strcasecmp(scheme, "http") && strcasecmp(scheme, "https"))
		return CURLUE_UNSUPPORTED_SCHEME;
	if (!curl_url_get(u, CURLUPART_ZONEID, &zone, 0))
		return CURLUE_BAD_HOSTNAME;
	ret->https = !strcasecmp(scheme, "https");
	rc = curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT);
	if (rc)
		return rc;
	n = strtol(port, NULL, 10);
	if (n < 1 || n > 65535)
		return CURLUE_BAD_PORT_NUMBER;
	ret->port = (uint16_t)n;
	return host_read(u, ret);
}

/* base is NULL for an absolute text. */
static int url_read(const char *base, const char *text, struct url *ret, struct error *err)
{
	_cleanup_(curl_url_cleanupp) CURLU *u = curl_url();
	_cleanup_(curl_free_charp) char *whole = NULL;
	struct url url = {0};
	CURLUcode rc = CURLUE_OUT_OF_MEMORY;

	if (u && base)
		rc = curl_url_set(u, CURLUPART_URL, base, CURLU_DISALLOW_USER);
	if (u && (!base || !rc))
		rc = curl_url_set(u, CURLUPART_URL, text, CURLU_DISALLOW_USER);
	if (!rc)
		rc = origin_read(u, &url.origin);
	if (!rc)
		rc = curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
	if (!rc)
		rc = curl_url_get(u, CURLUPART_URL, &whole, 0);
	if (!rc && strlen(whole) > URL_MAX)
		rc = CURLUE_MALFORMED_INPUT;
	if (rc)
		return url_error(err, rc, text);
	url.text = strdup(whole); /* not libcurl's allocator: callers free() */
	if (!url.text)
		return error_set_errno(err, -ENOMEM, "URL");
	*ret = url;
	return 0;
}

int url_parse(const char *text, struct url *ret, struct error *err)
{
	size_t n = scheme_len(text);
	int r = text_check(text, err);

	if (r < 0)
		return r;
	if (n && !(n == 4 && !strncasecmp(text, "http", 4)) &&
	    !(n == 5 && !strncasecmp(text, "https", 5)))
		return url_error(err, CURLUE_UNSUPPORTED_SCHEME, text);
	if (!is_absolute(text))
		return url_error(err, CURLUE_MALFORMED_INPUT, text);
	return url_read(NULL, text, ret, err);
}

int url_resolve(const struct url *base, const char *location, struct url *ret, struct error *err)
{
	int r = text_check(location, err);

	if (r < 0)
		return r;
	if (!*location || !strncmp(location, "///", 3))
		return url_error(err, CURLUE_MALFORMED_INPUT, location);
	if (scheme_len(location))
		return url_parse(location, ret, err);
	return url_read(base->text, location, ret, err);
}

int origin_of_host(const char *host_port, bool https, struct origin *ret, struct error *err)
{
	_cleanup_(url_fini) struct url url = {0};
	_cleanup_(freep) char *text = NULL;

	if (strpbrk(host_port, "/?#@"))
		return error_set(err, -EINVAL, "not a host: \"%s\"", host_port);
	if (asprintf(&text, "%s://%s/", https ? "https" : "http", host_port) < 0) {
		text = NULL;
		return error_set_errno(err, -ENOMEM, "URL");
	}
	if (url_parse(text, &url, NULL) < 0)
		return error_set(err, -EINVAL, "not a host: \"%s\"", host_port);
	*ret = url.origin;
	return 0;
}

int url_add_query(struct url *url, const char *key, const char *value)
{
	_cleanup_(curl_url_cleanupp) CURLU *u = curl_url();
	_cleanup_(curl_free_charp) char *whole = NULL;
	_cleanup_(freep) char *pair = NULL;
	char *copy;
	CURLUcode rc;

	if (!u || asprintf(&pair, "%s=%s", key, value) < 0) {
		pair = NULL;
		return -ENOMEM;
	}
	rc = curl_url_set(u, CURLUPART_URL, url->text, 0);
	/* the first '=' stays, everything else that is not plain is encoded */
	if (!rc)
		rc = curl_url_set(u, CURLUPART_QUERY, pair, CURLU_APPENDQUERY | CURLU_URLENCODE);
	if (!rc)
		rc = curl_url_get(u, CURLUPART_URL, &whole, 0);
	if (rc)
		return rc == CURLUE_OUT_OF_MEMORY ? -ENOMEM : -E2BIG;
	if (strlen(whole) > URL_MAX)
		return -E2BIG;
	copy = strdup(whole);
	if (!copy)
		return -ENOMEM;
	free(url->text);
	url->text = copy;
	return 0;
}

void url_fini(struct url *u)
{
	free(u->text);
	u->text = NULL;
}

const char *url_redact(const char *text, char *out, size_t n)
{
	size_t end = strcspn(text, "?#");
	const char *start = strstr(text, "//"), *at;
	size_t scheme;

	assert(n > 0);
	start = start && start < text + end ? start + 2 : text;
	scheme = (size_t)(start - text);
	/* up to the last '@': where the user name ends is what parsers differ about */
	at = memrchr(start, '@', end - scheme);
	if (at)
		snprintf(out, n, "%.*s%.*s", (int)min_u64(scheme, n), text,
			 (int)min_u64((size_t)(text + end - at - 1), n), at + 1);
	else
		snprintf(out, n, "%.*s", (int)min_u64(end, n), text);
	for (char *p = out; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return out;
}
