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
#define HUB_KEY "https://index.docker.io/v1/"

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

int creds_parse(const void *json, size_t len, enum creds_house house, const char *what,
		struct creds **ret, struct error *err)
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
	if (house == CREDS_DOCKERCFG)
		c->auths = c->root;
	else {
		r = json_get_object(c->root, "auths", what, &c->auths, err);
		if (r >= 0)
			r = json_get_object(c->root, "credHelpers", what, &c->helpers, err);
		if (r >= 0 && house == CREDS_DOCKER)
			r = json_get_string(c->root, "credsStore", what, &c->store, err);
		if (r < 0)
			return r;
	}
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

int credential_make(enum credential_kind kind, const char *username, const char *secret,
		    const char *what, struct credential *ret, struct error *err)
{
	const char *why = !is_clean(secret) || !is_clean(username) ? "control characters in it"
			  : kind == CREDENTIAL_BASIC && strchr(username, ':')
				  ? "a user name can't hold a ':'"
				  : NULL;
	struct credential out = {.kind = kind};

	if (why)
		return error_set(err, -EBADMSG, "%s: the credential is broken: %s; log in again",
				 what, why);
	out.username = strdup(username);
	out.secret = strdup(secret);
	if (!out.secret || !out.username) {
		credential_fini(&out);
		return error_set_errno(err, -ENOMEM, "%s", what);
	}
	*ret = out;
	return 0;
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
	_cleanup_(credential_fini) struct credential plain = {0}; /* of "auth" */
	char what[512];
	struct entry e;
	int r;

	if (json_is_null(obj))
		return CREDS_NONE;
	if (!json_is_object(obj))
		return broken(c, key, "it is not an object", err);
	r = entry_get(c, obj, &e, err);
	if (r < 0)
		return r;
	r = auth_read(c, key, e.auth, &plain.username, &plain.secret, err);
	if (r < 0)
		return r;
	if (plain.username)
		e.username = plain.username;
	if (plain.secret)
		e.password = plain.secret;
	snprintf(what, sizeof(what), "%s, key \"%s\"", c->what, key);
	if (*e.token)
		return credential_make(CREDENTIAL_BEARER, e.username, e.token, what, ret, err);
	if (*e.identity)
		return credential_make(CREDENTIAL_IDENTITY, e.username, e.identity, what, ret, err);
	if (r == JSON_ABSENT && !*e.username && !*e.password)
		return CREDS_NONE;
	return credential_make(CREDENTIAL_BASIC, e.username, e.password, what, ret, err);
}

/* The entries that mean wanted (a normalised key): exact first. */
static int level_lookup(const struct creds *c, const char *wanted, struct credential *ret,
			const char **ret_key, struct error *err)
{
	char normal[KEY_MAX];
	const char *key;
	json_t *value;

	for (int exact = 1; exact >= 0; exact--) {
		json_object_foreach (c->auths, key, value) {
			int r;

			if (exact != !strcmp(key, wanted) || !key_normalise(key, normal) ||
			    (!exact && strcmp(normal, wanted) != 0))
				continue;
			r = entry_read(c, key, value, ret, err);
			if (r == 0)
				*ret_key = key;
			if (r != CREDS_NONE)
				return r;
		}
	}
	return CREDS_NONE;
}

int creds_helper(const struct creds *c, const char *host, struct creds_helper *ret,
		 struct error *err)
{
	const char *canonical = host_canonical(host), *key, *name;
	char normal[KEY_MAX];
	json_t *value;

	*ret = (struct creds_helper){
		.name = c->store && *c->store ? c->store : NULL,
		.server = strcmp(canonical, "docker.io") ? host : HUB_KEY,
	};
	json_object_foreach (c->helpers, key, value) {
		if (!key_normalise(key, normal) || strcmp(normal, canonical) != 0)
			continue;
		name = json_string_value(value);
		if (!name)
			return error_set(err, -EBADMSG,
					 "%s: \"credHelpers\": the entry for \"%s\" is not a "
					 "helper's name",
					 c->what, key);
		if (!*name)
			continue;
		ret->name = name;
		ret->key = key;
		break;
	}
	return ret->name ? 0 : CREDS_NONE;
}

int creds_lookup(const struct creds *c, const char *host, const char *path, struct credential *ret,
		 const char **ret_key, struct error *err)
{
	_cleanup_(freep) char *wanted = NULL;
	const char *canonical = host_canonical(host);
	int r;

	if (asprintf(&wanted, "%s%s%s", canonical, path ? "/" : "", path ? path : "") < 0) {
		wanted = NULL;
		return error_set_errno(err, -ENOMEM, "%s", c->what);
	}
	for (char *slash;; *slash = 0) {
		r = c->auths ? level_lookup(c, wanted, ret, ret_key, err) : CREDS_NONE;
		if (r != CREDS_NONE)
			return r;
		slash = strrchr(wanted, '/');
		if (!slash)
			return CREDS_NONE;
	}
}
