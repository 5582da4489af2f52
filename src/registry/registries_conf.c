/* SPDX-License-Identifier: MIT */
#include "registry/registries_conf.h"

#include <errno.h>
#include <stdio.h>

#include "registry/toml.h"
#include "registry/url.h"

static int get_truth(const json_t *t, const char *key, const char *what, bool *ret,
		     struct error *err)
{
	const json_t *v = json_object_get(t, key);

	if (v && !json_is_boolean(v))
		return error_set(err, -EBADMSG, "%s: \"%s\" is neither true nor false", what, key);
	*ret = v && json_is_true(v);
	return 0;
}

/* "host[:port][/path]", no scheme, no tag. */
static bool location_ok(const char *l)
{
	size_t n = strcspn(l, "/");
	char host[HOST_MAX];
	struct origin o;

	if (n >= sizeof(host) || strlen(l) > 512 || strpbrk(l, "@?#% \\") || strstr(l, "..") ||
	    strstr(l, "//") || l[strlen(l) - 1] == '/')
		return false;
	memcpy(host, l, n);
	host[n] = 0;
	return origin_of_host(host, true, &o, NULL) >= 0;
}

static int mirror_check(const json_t *m, const char *what, const char *prefix, bool only,
			struct error *err)
{
	const char *location = "", *pull = "";
	bool ignored;
	int r = json_is_object(m) ? 0 : -EBADMSG;

	if (r >= 0)
		r = json_get_string(m, "location", what, &location, err);
	if (r >= 0)
		r = json_get_string(m, "pull-from-mirror", what, &pull, err);
	if (r >= 0)
		r = get_truth(m, "insecure", what, &ignored, err);
	if (r < 0)
		return error_set(err, r, "%s: a mirror of \"%s\" is not a table", what, prefix);
	if (!*location || !location_ok(location))
		return error_set(err, -EBADMSG,
				 "%s: a mirror of \"%s\" has the location \"%s\", which is no "
				 "host[:port][/path]",
				 what, prefix, location);
	if (*pull && (only || (strcmp(pull, "all") && strcmp(pull, "digest-only") &&
			       strcmp(pull, "tag-only"))))
		return error_set(err, -EBADMSG,
				 "%s: mirror \"%s\": \"pull-from-mirror\" is all, digest-only or "
				 "tag-only, and not beside mirror-by-digest-only",
				 what, location);
	return 0;
}

static int entry_check(json_t *entry, const char *what, const char **ret_prefix, struct error *err)
{
	const char *location = "", *prefix = "";
	bool only = false, ignored;
	json_t *mirrors, *m;
	size_t i;
	int r = json_is_object(entry) ? 0 : -EBADMSG;

	if (r >= 0)
		r = json_get_string(entry, "location", what, &location, err);
	if (r >= 0)
		r = json_get_string(entry, "prefix", what, &prefix, err);
	if (r >= 0)
		r = get_truth(entry, "mirror-by-digest-only", what, &only, err);
	if (r >= 0)
		r = get_truth(entry, "insecure", what, &ignored, err);
	if (r >= 0)
		r = get_truth(entry, "blocked", what, &ignored, err);
	if (r < 0)
		return error_set(err, r, "%s: an entry of \"registry\" is not a table", what);
	if (!*prefix)
		prefix = location;
	if (!*prefix || (*location && !location_ok(location)) ||
	    !location_ok(!strncmp(prefix, "*.", 2) ? prefix + 2 : prefix))
		return error_set(err, -EBADMSG,
				 "%s: [[registry]] with prefix \"%s\" and location \"%s\": one of "
				 "them is missing, or no host[:port][/path]",
				 what, prefix, location);
	*ret_prefix = prefix;
	r = json_get_array(entry, "mirror", what, &mirrors, err);
	if (r)
		return r < 0 ? r : 0;
	json_array_foreach (mirrors, i, m) {
		r = mirror_check(m, what, prefix, only, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int registries_conf_add(struct registries_conf *c, const char *text, size_t len, const char *what,
			struct error *err)
{
	_cleanup_(json_decrefp) json_t *doc = NULL;
	json_t *list, *entry;
	const char *prefix = "";
	size_t i;
	int r = toml_parse(text, len, what, &doc, err);

	if (r < 0)
		return r;
	if (json_object_get(doc, "registries"))
		return error_set(err, -EBADMSG,
				 "%s: written for version 1 ([registries.search] and so on); only "
				 "version 2 is read",
				 what);
	if (!c->rules && !(c->rules = json_object()))
		return -ENOMEM;
	r = json_get_array(doc, "registry", what, &list, err);
	if (r)
		return r < 0 ? r : 0;
	json_array_foreach (list, i, entry) {
		r = entry_check(entry, what, &prefix, err);
		if (r < 0)
			return r;
		if (json_object_set_new(c->rules, prefix,
					json_pack("{s:s,s:O}", "what", what, "entry", entry)) < 0)
			return -ENOMEM;
	}
	return 0;
}

void registries_conf_fini(struct registries_conf *c)
{
	json_decref(c->rules);
	c->rules = NULL;
}

/* How much of name ("host/path") the prefix covers, of which rest is what follows; 0: nothing. */
static size_t prefix_match(const char *prefix, const char *name, const char **ret_rest)
{
	size_t n = strlen(prefix), host = strcspn(name, "/");

	if (!strncmp(prefix, "*.", 2)) {
		size_t tail = n - 1; /* with the dot */

		if (host <= tail || memcmp(name + host - tail, prefix + 1, tail) != 0)
			return 0;
		*ret_rest = name + host;
		return n;
	}
	if (strncmp(name, prefix, n) != 0 || (name[n] && name[n] != '/'))
		return 0;
	*ret_rest = name + n;
	return n;
}

static struct site *place_add(struct site_list *l, const char *location, const char *rest,
			      const json_t *table)
{
	_cleanup_(freep) char *name = NULL;
	char *slash;
	struct site *s;

	if (asprintf(&name, "%s%s", location, rest) < 0) {
		name = NULL;
		return NULL;
	}
	slash = strchr(name, '/');
	if (!slash)
		return NULL;
	*slash = 0;
	if (!strcmp(name, "docker.io"))
		s = site_add(l, "registry-1.docker.io", slash + 1);
	else
		s = site_add(l, name, slash + 1);
	if (s)
		s->noverify = s->plain_ok = json_is_true(json_object_get(table, "insecure"));
	return s;
}

static int mirror_add(struct site_list *l, const json_t *m, const char *rest, bool only_digests,
		      bool by_digest)
{
	const char *pull = json_string_value(json_object_get(m, "pull-from-mirror"));
	struct site *s;

	if (pull && !strcmp(pull, "tag-only") && by_digest)
		return 0;
	if (l->n + 1 >= SITES_MAX) /* room for the registry itself */
		return 0;
	s = place_add(l, json_string_value(json_object_get(m, "location")), rest, m);
	if (!s)
		return -ENOMEM;
	s->is_mirror = true;
	s->tags = !only_digests && (!pull || strcmp(pull, "digest-only") != 0);
	return 0;
}

int registries_conf_route(const struct registries_conf *c, const char *host, const char *repo,
			  bool by_digest, struct site_list *ret, struct error *err)
{
	_cleanup_(freep) char *name = NULL;
	const char *prefix, *best = NULL, *rest = "", *at, *location;
	json_t *rule, *entry, *mirrors, *m;
	bool only;
	size_t i;
	int r = 0;

	if (asprintf(&name, "%s/%s", host, repo) < 0) {
		name = NULL;
		return -ENOMEM;
	}
	json_object_foreach (c->rules, prefix, rule) {
		if (!prefix_match(prefix, name, &at) || (best && strlen(best) >= strlen(prefix)))
			continue;
		best = prefix;
		rest = at;
	}
	if (!best)
		return REGISTRIES_NONE;
	rule = json_object_get(c->rules, best);
	entry = json_object_get(rule, "entry");
	if (json_is_true(json_object_get(entry, "blocked")))
		return error_set(err, -EPERM, "%s: %s blocks \"%s\"", name,
				 json_string_value(json_object_get(rule, "what")), best);
	only = json_is_true(json_object_get(entry, "mirror-by-digest-only"));
	mirrors = json_object_get(entry, "mirror");
	json_array_foreach (mirrors, i, m) {
		r = mirror_add(ret, m, rest, only, by_digest);
		if (r < 0)
			return r;
	}
	location = json_string_value(json_object_get(entry, "location"));
	if (!location || !*location) { /* the registry stays what it is */
		location = host;
		rest = name + strlen(host);
	}
	return place_add(ret, location, rest, entry) ? 0 : -ENOMEM;
}
