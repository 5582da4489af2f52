/* SPDX-License-Identifier: MIT */
#include "registry/creds_store.h"

#include <errno.h>
#include <stdio.h>
#include "base/json.h"
#include "registry/conf.h"
#include "registry/helper.h"

#define PLACES_MAX 5
#define ENV_JSON "DOCKER_AUTH_CONFIG"

struct creds_place {
	char *name; /* a path, or "$DOCKER_AUTH_CONFIG" */
	struct creds *creds;
	char *problem; /* why it has none; NULL: it is not there */
};

struct creds_store {
	const struct seam *seam;
	struct creds_place places[PLACES_MAX];
	unsigned n;
};

void creds_store_free(struct creds_store *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->n; i++) {
		free(s->places[i].name);
		free(s->places[i].problem);
		creds_free(s->places[i].creds);
	}
	free(s);
}

static int file_load(const struct seam *seam, const char *path, enum creds_house house,
		     struct creds **ret, struct error *err)
{
	_cleanup_(freep) char *text = NULL;
	size_t len = 0;
	int r = conf_read(seam, "credential file", path, JSON_DOC_MAX, &text, &len, err);

	if (r < 0)
		return r;
	r = creds_parse(text, len, house, path, ret, err);
	explicit_bzero(text, len);
	return r;
}

/* Takes path over; NULL: there is no such place for this process. */
static int place_add(struct creds_store *s, char *path, enum creds_house house, bool named,
		     struct error *err)
{
	struct creds_place *p = &s->places[s->n];
	struct error why = ERROR_INIT;
	int r;

	if (!path)
		return 0;
	assert(s->n < PLACES_MAX);
	s->n++;
	p->name = path;
	r = file_load(s->seam, path, house, &p->creds, &why);
	if (r >= 0)
		return 0;
	if (named)
		return error_set(err, r, "%s", why.text);
	if (r != -ENOENT && r != -ENOTDIR)
		p->problem = strdup(why.text);
	return 0;
}

static int environment_add(struct creds_store *s, struct error *err)
{
	const char *json = conf_env(ENV_JSON);
	struct creds_place *p = &s->places[s->n];

	if (!json)
		return 0;
	p->name = strdup("$" ENV_JSON);
	if (!p->name)
		return error_set_errno(err, -ENOMEM, "credentials");
	s->n++;
	return creds_parse(json, strlen(json), CREDS_DOCKER, p->name, &p->creds, err);
}

static int defaults_add(struct creds_store *s, struct error *err)
{
	_cleanup_(freep) char *home = conf_home();
	const char *runtime = conf_env("XDG_RUNTIME_DIR"), *docker = conf_env("DOCKER_CONFIG");
	char run_dir[64];
	int r = environment_add(s, err);

	if (r < 0)
		return r;
	snprintf(run_dir, sizeof(run_dir), "/run/containers/%u", geteuid());
	place_add(s,
		  runtime ? conf_join(runtime, "/containers/auth.json")
			  : conf_join(run_dir, "/auth.json"),
		  CREDS_PODMAN, false, NULL);
	place_add(s, conf_user_path("/containers/auth.json"), CREDS_PODMAN, false, NULL);
	place_add(s,
		  docker ? conf_join(docker, "/config.json")
		  : home ? conf_join(home, "/.docker/config.json")
			 : NULL,
		  CREDS_DOCKER, false, NULL);
	place_add(s, home ? conf_join(home, "/.dockercfg") : NULL, CREDS_DOCKERCFG, false, NULL);
	return 0;
}

int creds_store_open(const struct seam *seam, const char *authfile, struct creds_store **ret,
		     struct error *err)
{
	_cleanup_(creds_store_freep) struct creds_store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_set_errno(err, -ENOMEM, "credentials");
	s->seam = seam;
	if (!authfile)
		authfile = conf_env("REGISTRY_AUTH_FILE");
	if (authfile)
		r = place_add(s, strdup(authfile), CREDS_PODMAN, true, err);
	else
		r = defaults_add(s, err);
	if (r < 0)
		return conf_error(r, err);
	*ret = steal_ptr(s);
	return 0;
}

/* A credsStore that is not installed is what a removed desktop leaves behind: public images need
 * none. Who names a helper for one registry means it. */
static int helper_lookup(const struct creds_store *s, const struct creds_place *p, const char *host,
			 const atomic_bool *cancel, struct credential *ret, struct buf *where,
			 struct error *err)
{
	struct creds_helper h;
	struct error why = ERROR_INIT;
	char key[300];
	int r = creds_helper(p->creds, host, &h, err);

	if (r)
		return r;
	r = helper_ask(s->seam, h.name, h.server, cancel, ret, &why);
	snprintf(key, sizeof(key), h.key ? "credHelpers \"%s\"" : "credsStore", h.key);
	if (r == -ECANCELED)
		return error_set(err, r, "%s", why.text);
	if (r == -ENOENT && !h.key) {
		buf_printf(where, "%s: docker-credential-%s of its credsStore is not in $PATH; ",
			   p->name, h.name);
		return CREDS_NONE;
	}
	if (r < 0)
		return error_set(err, r == -ENOENT ? -EACCES : r, "%s, which %s (%s) names for %s",
				 why.text, p->name, key, h.server);
	buf_printf(where,
		   r ? "%s (%s): docker-credential-%s knows no %s; "
		     : "%s (%s): docker-credential-%s for %s",
		   p->name, key, h.name, h.server);
	return r;
}

static int place_lookup(const struct creds_store *s, const struct creds_place *p, const char *host,
			const char *path, const atomic_bool *cancel, struct credential *ret,
			struct buf *where, struct error *err)
{
	size_t before = where->len;
	const char *key;
	int r;

	if (!p->creds) {
		if (p->problem)
			buf_printf(where, "NOT USED: %s; ", p->problem);
		else
			buf_printf(where, "%s: not there; ", p->name);
		return CREDS_NONE;
	}
	r = helper_lookup(s, p, host, cancel, ret, where, err);
	if (r != CREDS_NONE)
		return r;
	r = creds_lookup(p->creds, host, path, ret, &key, err);
	if (r == 0)
		buf_printf(where, "%s, key \"%s\"", p->name, key);
	else if (r == CREDS_NONE && where->len == before)
		buf_printf(where, "%s: nothing for %s; ", p->name, host);
	return r;
}

int creds_store_lookup(const struct creds_store *s, const char *host, const char *path,
		       const atomic_bool *cancel, struct credential *ret, struct buf *where,
		       struct error *err)
{
	size_t before = where->len;

	for (unsigned i = 0; i < s->n; i++) {
		struct buf tried = BUF_INIT;
		int r = place_lookup(s, &s->places[i], host, path, cancel, ret, &tried, err);

		if (r == 0)
			where->len = before; /* what was tried in vain is of no interest then */
		if (r >= 0 && tried.len)
			buf_append(where, tried.data, tried.len);
		buf_fini(&tried);
		if (r != CREDS_NONE)
			return conf_error(r, err);
	}
	if (where->len >= before + 2)
		where->len -= 2; /* the last "; " */
	return CREDS_NONE;
}
