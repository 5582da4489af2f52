/* SPDX-License-Identifier: MIT */
/*
 * Two houses write this file and name the same registry differently:
 *
 *   docker    "registry.example:5000", for Hub "https://index.docker.io/v1/", long ago any URL
 *   podman    "registry.example:5000/team/app", "registry.example:5000", "docker.io"
 *
 * So a key is normalised first: a URL stands for its host; a plain key loses an API path. A lookup
 * walks from the whole repository up to the host, and at each step takes the key that is written
 * exactly so before one that only means it.
 */
#include "registry/creds.h"

#include <errno.h>
#include <stdio.h>
#include "base/base64.h"
#include "base/json.h"

#define AUTH_MAX 65536 /* bytes of an "auth" member */
#define KEY_MAX 1024   /* longer keys match nothing */

struct creds {
	char *what;
	json_t *root;
	json_t *auths, *helpers; /* borrowed from root; NULL = absent */
	const char *store;	 /* borrowed from root; NULL = absent */
};

void credential_fini(struct credential *c)
{
	if (c->secret)
		explicit_bzero(c->secret, strlen(c->secret));
	free(c->secret);
	free(c->username);
	*c = (struct credential){0};
}

void creds_free(struct creds *c)
{
	if (!c)
		return;
	json_decref(c->root);
	free(c->what);
	free(c);
}

int creds_parse(const void *json, size_t len, const char *what, struct creds **ret,
		struct error *err)
{
	_cleanup_(creds_freep) struct creds *c = calloc(1, sizeof(*c));
	int r;

	if (!c || !(c->what = strdup(what)))
		return error_set_errno(err, -ENOMEM, "%s", what);
	r = json_parse(json, len, JSON_DOC_MAX, what, &c->root, err);
	if (r < 0)
		return r;
	if (!json_is_object(c->root))
		return error_set(err, -EBADMSG, "%s: not a JSON object", what);
	r = json_get_object(c->root, "auths", what, &c->auths, err);
	if (r >= 0)
		r = json_get_object(c->root, "credHelpers", what, &c->helpers, err);
	if (r >= 0)
		r = json_get_string(c->root, "credsStore", what, &c->store, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(c);
	return 0;
}

static const char *host_canonical(const char *host)
{
	if (!strcmp(host, "index.docker.io") || !strcmp(host, "registry-1.docker.io"))
		return "docker.io";
	return host;
}

/* "https://index.docker.io/v1/" -> "docker.io", "quay.io/team" as it is, "reg:5000/v2/" ->
 * "reg:5000". false: too long. */
static bool key_normalise(const char *key, char out[static KEY_MAX])
{
	static const char *const api_paths[] = {"/v1/", "/v2/", "/v1", "/v2", "/"};
	const char *sep = strstr(key, "://");
	const char *host = sep ? sep + 3 : key;
	size_t n = sep ? strcspn(host, "/") : strlen(host);
	const char *canonical;

	for (size_t i = 0; i < ARRAY_SIZE(api_paths) && !sep; i++) {
		size_t m = strlen(api_paths[i]);

		if (n > m && !strcmp(host + n - m, api_paths[i])) {
			n -= m;
			break;
		}
	}
	if (n >= KEY_MAX)
		return false;
	memcpy(out, host, n);
	out[n] = 0;
	canonical = host_canonical(out);
	if (canonical != out)
		strcpy(out, canonical);
	return true;
}

static int broken(const struct creds *c, const char *key, const char *why, struct error *err)
{
	return error_set(err, -EBADMSG, "%s: the credential for \"%s\" is broken: %s; log in again",
			 c->what, key, why);
}

static bool is_clean(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

/* As Go's decoder, by which the files' writers judge them: line breaks do not count. */
static int auth_decode(const char *auth, struct buf *ret)
{
	size_t n = strlen(auth), m = 0;
	_cleanup_(freep) char *text = n <= AUTH_MAX ? malloc(n + 1) : NULL;
	int r;

	if (!text)
		return n <= AUTH_MAX ? -ENOMEM : -E2BIG;
	for (size_t i = 0; i < n; i++)
		if (auth[i] != '\r' && auth[i] != '\n')
			text[m++] = auth[i];
	r = base64_decode(text, m, ret);
	explicit_bzero(text, m);
	return r;
}

/* "user:password" in bytes of b, which has no NUL at its end yet. */
static int user_split(const struct creds *c, const char *key, const struct buf *b, char **ret_user,
		      char **ret_password, struct error *err)
{
	const char *text = (const char *)b->data, *colon;
	size_t n = b->len;

	while (n && !text[n - 1])
		n--; /* old writers padded the password with NULs */
	colon = n ? memchr(text, ':', n) : NULL;
	if (!colon || memchr(text, 0, n))
		return broken(c, key, "\"auth\" is not user:password", err);
	*ret_user = strndup(text, (size_t)(colon - text));
	*ret_password = strndup(colon + 1, (size_t)(text + n - colon - 1));
	if (!*ret_user || !*ret_password)
		return error_set_errno(err, -ENOMEM, "%s", c->what);
	return 0;
}

/* 0, JSON_ABSENT for an empty one, < 0. */
static int auth_read(const struct creds *c, const char *key, const char *auth, char **ret_user,
		     char **ret_password, struct error *err)
{
	struct buf b = BUF_INIT_MAX(AUTH_MAX);
	int r;

	if (!*auth)
		return JSON_ABSENT;
	r = auth_decode(auth, &b);
	if (r == -ENOMEM)
		error_set_errno(err, r, "%s", c->what);
	else if (r < 0)
		r = broken(c, key, "\"auth\" is not base64", err);
	else
		r = user_split(c, key, &b, ret_user, ret_password, err);
	if (b.data)
		explicit_bzero(b.data, b.cap);
	buf_fini(&b);
	return r;
}

struct entry {
	const char *auth, *username, *password, *identity, *token; /* borrowed, "" = absent */
};

static int entry_get(const struct creds *c, const json_t *obj, struct entry *e, struct error *err)
{
	struct {
		const char *key;
		const char **slot;
	} members[] = {{"auth", &e->auth},
		       {"username", &e->username},
		       {"password", &e->password},
		       {"identitytoken", &e->identity},
		       {"registrytoken", &e->token}};

	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		int r;

		*members[i].slot = "";
		r = json_get_string(obj, members[i].key, c->what, members[i].slot, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* 0; CREDS_NONE: the entry is a mere marker; < 0. */
static int entry_read(const struct creds *c, const char *key, const json_t *obj,
		      struct credential *ret, struct error *err)
{
	_cleanup_(credential_fini) struct credential out = {0};
	_cleanup_(freep) char *user = NULL;
	struct entry e;
	int r;

	if (json_is_null(obj))
		return CREDS_NONE;
	if (!json_is_object(obj))
		return broken(c, key, "it is not an object", err);
	r = entry_get(c, obj, &e, err);
	if (r < 0)
		return r;
	r = auth_read(c, key, e.auth, &user, &out.secret, err);
	if (r < 0)
		return r;
	if (*e.token || *e.identity) {
		free(out.secret);
		out.secret = strdup(*e.token ? e.token : e.identity);
		out.kind = *e.token ? CREDENTIAL_BEARER : CREDENTIAL_IDENTITY;
	} else if (r == JSON_ABSENT) {
		if (!*e.username && !*e.password)
			return CREDS_NONE;
		out.secret = strdup(e.password);
	}
	out.kind = out.kind ? out.kind : CREDENTIAL_BASIC;
	out.username = user ? steal_ptr(user) : strdup(e.username);
	if (!out.secret || !out.username)
		return error_set_errno(err, -ENOMEM, "%s", c->what);
	if (!is_clean(out.secret) || !is_clean(out.username))
		return broken(c, key, "control characters in it", err);
	if (out.kind == CREDENTIAL_BASIC && strchr(out.username, ':'))
		return broken(c, key, "a user name can't hold a ':'", err);
	*ret = out;
	out = (struct credential){0};
	return 0;
}

/* The entries that mean wanted (a normalised key): exact first. */
static int level_lookup(const struct creds *c, const char *wanted, struct credential *ret,
			struct error *err)
{
	char normal[KEY_MAX];
	const json_t *exact = json_object_get(c->auths, wanted);
	const char *key;
	json_t *value;
	int r = CREDS_NONE;

	if (exact)
		r = entry_read(c, wanted, exact, ret, err);
	if (r != CREDS_NONE)
		return r;
	json_object_foreach (c->auths, key, value) {
		if (!key_normalise(key, normal) || strcmp(normal, wanted) != 0)
			continue;
		r = entry_read(c, key, value, ret, err);
		if (r != CREDS_NONE)
			return r;
	}
	return CREDS_NONE;
}

/* The helper that knows host, or NULL. */
static const char *helper_get(const struct creds *c, const char *host)
{
	char normal[KEY_MAX];
	const char *key, *name;
	json_t *value;

	json_object_foreach (c->helpers, key, value) {
		name = json_string_value(value);
		if (name && *name && key_normalise(key, normal) && !strcmp(normal, host))
			return name;
	}
	return c->store && *c->store ? c->store : NULL;
}

int creds_lookup(const struct creds *c, const char *host, const char *path, struct credential *ret,
		 const char **ret_helper, struct error *err)
{
	_cleanup_(freep) char *wanted = NULL;
	const char *helper, *canonical = host_canonical(host);
	int r;

	if (asprintf(&wanted, "%s%s%s", canonical, path ? "/" : "", path ? path : "") < 0) {
		wanted = NULL;
		return error_set_errno(err, -ENOMEM, "%s", c->what);
	}
	for (char *slash;; *slash = 0) {
		r = c->auths ? level_lookup(c, wanted, ret, err) : CREDS_NONE;
		if (r != CREDS_NONE)
			return r;
		slash = strrchr(wanted, '/');
		if (!slash)
			break;
	}
	helper = helper_get(c, canonical);
	if (!helper)
		return CREDS_NONE;
	*ret_helper = helper;
	return CREDS_HELPER;
}
