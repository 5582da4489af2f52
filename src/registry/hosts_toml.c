/* SPDX-License-Identifier: MIT */
#include "registry/hosts_toml.h"

#include <errno.h>
#include <stdio.h>

#include "base/seam.h"
#include "registry/toml.h"
#include "registry/url.h"

struct reading {
	const char *what;
	const struct hosts_subject *subject;
	struct error *err;
};

static int bad(const struct reading *x, const char *url, const char *key, const char *why)
{
	return error_set(x->err, -EBADMSG, "%s: \"%s\": %s %s", x->what, url, key, why);
}

int duration_parse(const char *text, uint64_t *ret_ns)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = {{"ms", 1e6}, {"us", 1e3}, {"ns", 1}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
	double sum = 0;

	if (!*text)
		return -EINVAL;
	while (*text) {
		size_t digits = strspn(text, "0123456789"), i;
		double value = 0, place = 1;

		for (i = 0; i < digits; i++)
			value = value * 10 + (text[i] - '0');
		text += digits;
		if (*text == '.') {
			for (text++; *text >= '0' && *text <= '9'; text++, digits++)
				value += (*text - '0') * (place /= 10);
		}
		for (i = 0; i < ARRAY_SIZE(units) &&
			    strncmp(text, units[i].name, strlen(units[i].name)) != 0;
		     i++)
			;
		if (!digits || i == ARRAY_SIZE(units))
			return -EINVAL;
		sum += value * units[i].ns;
		text += strlen(units[i].name);
	}
	if (sum > 24 * 3600e9)
		return -EINVAL;
	*ret_ns = (uint64_t)sum;
	return 0;
}

/* ---- one host ---- */

/* As containerd: the API is at "/v2" below the path, unless the path ends so already. */
static bool ends_at_api(const char *path, size_t n)
{
	return n >= 3 && !memcmp(path + n - 3, "/v2", 3);
}

/* "https://mirror[:port][/path]", or without the scheme; with override_path the path is the API's.
 */
static int url_take(const struct reading *x, const char *text, bool override, struct site *s)
{
	const char *rest = strstr(text, "://"), *path;
	size_t host_len, path_len;
	struct origin o;

	if (!rest)
		rest = text;
	else if (!strncmp(text, "https://", 8) || !strncmp(text, "http://", 7)) {
		s->scheme = text[4] == 's' ? SITE_HTTPS : SITE_HTTP;
		rest += 3;
	} else
		return bad(x, text, "the scheme", "is neither http nor https");
	host_len = strcspn(rest, "/");
	path = rest + host_len;
	path_len = strlen(path);
	while (path_len && path[path_len - 1] == '/')
		path_len--;
	if (strpbrk(rest, "?#@ \\%") || strstr(path, "..") || strlen(rest) > 1024)
		return bad(x, text, "the URL", "is not host[:port][/path]");
	free(s->host);
	free(s->api);
	s->host = strndup(rest, host_len);
	s->api = NULL;
	if (!s->host || asprintf(&s->api, "%.*s%s", (int)path_len, path,
				 override || ends_at_api(path, path_len) ? "" : "/v2") < 0) {
		s->api = NULL;
		return -ENOMEM;
	}
	if (origin_of_host(s->host, true, &o, NULL) < 0)
		return bad(x, text, "the URL", "is not host[:port][/path]");
	return 0;
}

static int capabilities_take(const struct reading *x, const char *url, const json_t *list,
			     struct site *s)
{
	json_t *v;
	size_t i;

	if (!list || !json_array_size(list))
		return list && !json_is_array(list) ? bad(x, url, "capabilities", "is not a list")
						    : 0;
	s->tags = s->digests = false;
	json_array_foreach (list, i, v) {
		const char *name = json_string_value(v);

		if (name && !strcasecmp(name, "pull"))
			s->digests = true;
		else if (name && !strcasecmp(name, "resolve"))
			s->tags = true;
		else if (!name || strcasecmp(name, "push") != 0)
			return bad(x, url, "capabilities",
				   "has something else than pull, resolve, push");
	}
	return 0;
}

static char *path_of(const struct reading *x, const char *name)
{
	char *path;

	if (*name == '/')
		return strdup(name);
	return asprintf(&path, "%s/%s", x->subject->dir, name) < 0 ? NULL : path;
}

static int ca_add(const struct reading *x, const char *url, const json_t *v, struct site *s)
{
	_cleanup_(freep) char *path = NULL;

	if (!json_is_string(v))
		return bad(x, url, "ca", "is neither a file name nor a list of them");
	path = path_of(x, json_string_value(v));
	return path ? strings_add(&s->ca, path) : -ENOMEM;
}

static int ca_take(const struct reading *x, const char *url, const json_t *ca, struct site *s)
{
	json_t *v;
	size_t i;
	int r = 0;

	if (!ca)
		return 0;
	if (!json_is_array(ca))
		return ca_add(x, url, ca, s);
	json_array_foreach (ca, i, v)
		if (r >= 0)
			r = ca_add(x, url, v, s);
	return r;
}

/* A file with both, or [certificate, key]. */
static int client_add(const struct reading *x, const char *url, const json_t *pair, struct site *s)
{
	bool two = json_is_array(pair);
	const char *cert = json_string_value(two ? json_array_get(pair, 0) : pair);
	const char *key = two ? json_string_value(json_array_get(pair, 1)) : NULL;
	_cleanup_(freep) char *cert_path = NULL, *key_path = NULL;

	if (!cert)
		return bad(x, url, "client", "is not a file, a list of files or of [cert, key]");
	cert_path = path_of(x, cert);
	key_path = path_of(x, key && *key ? key : cert);
	return cert_path && key_path ? site_client_add(s, cert_path, key_path) : -ENOMEM;
}

static int client_take(const struct reading *x, const char *url, const json_t *client,
		       struct site *s)
{
	json_t *v;
	size_t i;
	int r = 0;

	if (!client)
		return 0;
	if (!json_is_array(client))
		return client_add(x, url, client, s);
	json_array_foreach (client, i, v)
		if (r >= 0)
			r = client_add(x, url, v, s);
	return r;
}

/* What frames a message, or is ours to say, is not for a file to set. */
static bool header_ok(const char *name, const char *value)
{
	static const char *const ours[] = {"host",
					   "range",
					   "content-length",
					   "connection",
					   "transfer-encoding",
					   "accept-encoding",
					   "expect",
					   "te"};

	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		if (!strcasecmp(name, ours[i]))
			return false;
	if (!*name || strlen(name) > 256 || strlen(value) > 8192)
		return false;
	for (const char *c = name; *c; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
		      (*c >= '0' && *c <= '9') || *c == '-' || *c == '_'))
			return false;
	for (const char *c = value; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return false;
	return true;
}

static int header_add(const struct reading *x, const char *url, const char *name, const json_t *v,
		      struct site *s)
{
	const char *value = json_string_value(v);
	char *line;
	int r;

	if (!value || !header_ok(name, value))
		return bad(x, url, "header", "has one that can't be sent");
	if (asprintf(&line, *value ? "%s: %s" : "%s;", name, value) < 0)
		return -ENOMEM;
	r = strings_add(&s->headers, line);
	explicit_bzero(line, strlen(line));
	free(line);
	return r;
}

static int headers_take(const struct reading *x, const char *url, json_t *headers, struct site *s)
{
	const char *name;
	json_t *v, *one;
	size_t i, n = 0;
	int r = 0;

	if (headers && !json_is_object(headers))
		return bad(x, url, "header", "is not a table");
	json_object_foreach (headers, name, v) {
		if (!json_is_array(v) && r >= 0 && n++ < 16)
			r = header_add(x, url, name, v, s);
		json_array_foreach (v, i, one)
			if (r >= 0 && n++ < 16)
				r = header_add(x, url, name, one, s);
	}
	return n > 16 ? bad(x, url, "header", "has more than 16 lines") : r;
}

static int truth_take(const struct reading *x, const char *url, const json_t *t, const char *key,
		      bool *ret)
{
	const json_t *v = json_object_get(t, key);

	if (v && !json_is_boolean(v))
		return bad(x, url, key, "is neither true nor false");
	*ret = v && json_is_true(v);
	return 0;
}

/* t: the table of the host, or the whole file for the server. */
static int host_take(const struct reading *x, const char *url, json_t *t, struct site *s)
{
	const json_t *dial = json_object_get(t, "dial_timeout");
	bool override = false;
	int r = truth_take(x, url, t, "override_path", &override);

	if (r >= 0)
		r = truth_take(x, url, t, "skip_verify", &s->noverify);
	if (r >= 0)
		r = url_take(x, url, override, s);
	if (r >= 0)
		r = capabilities_take(x, url, json_object_get(t, "capabilities"), s);
	if (r >= 0)
		r = ca_take(x, url, json_object_get(t, "ca"), s);
	if (r >= 0)
		r = client_take(x, url, json_object_get(t, "client"), s);
	if (r >= 0)
		r = headers_take(x, url, json_object_get(t, "header"), s);
	if (r >= 0 && dial &&
	    (!json_is_string(dial) || duration_parse(json_string_value(dial), &s->dial_ns) < 0))
		r = bad(x, url, "dial_timeout", "is not a duration such as \"3s\"");
	if (r < 0)
		return r;
	if (strcmp(s->host, x->subject->host) != 0 && !(s->ns = strdup(x->subject->ns)))
		return -ENOMEM;
	free(s->conf);
	return asprintf(&s->conf, "%s %s", x->what, url) < 0 ? (s->conf = NULL, -ENOMEM) : 0;
}

static int host_add(const struct reading *x, const char *url, json_t *t, bool is_mirror,
		    struct site_list *ret)
{
	struct site *s;

	if (!json_is_object(t))
		return bad(x, url, "the host", "is not a table");
	s = site_add(ret, x->subject->host, x->subject->repo);
	if (!s)
		return ret->n == SITES_MAX ? bad(x, url, "the file", "has too many hosts")
					   : -ENOMEM;
	s->is_mirror = is_mirror;
	return host_take(x, url, t, s);
}

int hosts_toml_parse(const char *text, size_t len, const char *what, const struct hosts_subject *s,
		     struct site_list *ret, struct error *err)
{
	const struct reading x = {.what = what, .subject = s, .err = err};
	_cleanup_(json_decrefp) json_t *doc = NULL;
	const char *server = s->host, *url;
	json_t *hosts, *t;
	int r = toml_parse(text, len, what, &doc, err);

	if (r >= 0)
		r = json_get_object(doc, "host", what, &hosts, err);
	if (r < 0)
		return r;
	if (r != JSON_ABSENT) {
		json_object_foreach (hosts, url, t) {
			r = host_add(&x, url, t, true, ret);
			if (r < 0)
				return r;
		}
	}
	r = json_get_string(doc, "server", what, &server, err);
	if (r < 0)
		return r;
	if (!*server || !strcmp(server, s->ns))
		server = s->host;
	else if (strstr(server, "://") && !strcmp(strstr(server, "://") + 3, s->ns))
		server = s->host; /* "https://docker.io" is at registry-1.docker.io */
	return host_add(&x, server, doc, false, ret);
}
