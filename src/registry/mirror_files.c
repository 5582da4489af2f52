/* SPDX-License-Identifier: MIT */
#include "registry/mirror_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>

#include "registry/conf.h"
#include "registry/hosts_toml.h"
#include "registry/toml.h"

#define DROP_INS_MAX 1000

/* ---- registries.conf ---- */

/* true with 0: it is there. */
static int conf_add(const struct seam *seam, struct registries_conf *c, const char *path,
		    bool *ret_there, struct error *err)
{
	_cleanup_(freep) char *text = NULL;
	struct error why = ERROR_INIT;
	size_t len = 0;
	int r = conf_read(seam, "registry configuration", path, TOML_DOC_MAX, &text, &len, &why);

	*ret_there = r != -ENOENT && r != -ENOTDIR;
	if (!*ret_there)
		return 0;
	if (r < 0)
		return error_set(err, r, "%s", why.text);
	return registries_conf_add(c, text, len, path, err);
}

static int is_conf(const struct dirent *e)
{
	size_t n = strlen(e->d_name);

	return n > 5 && !strcmp(e->d_name + n - 5, ".conf");
}

static int drop_ins_add(const struct seam *seam, struct registries_conf *c, const char *dir,
			struct error *err)
{
	struct dirent **names = NULL;
	int n = scandir(dir, &names, is_conf, alphasort), r = 0;

	for (int i = 0; i < n; i++) {
		char path[4096];
		bool there;

		snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
		if (r >= 0 && i < DROP_INS_MAX)
			r = conf_add(seam, c, path, &there, err);
		free(names[i]);
	}
	free(names);
	return r;
}

int registries_conf_load(const struct seam *seam, struct registries_conf *ret, struct error *err)
{
	const char *named = conf_env("CONTAINERS_REGISTRIES_CONF");
	_cleanup_(freep) char *user = conf_user_path("/containers/registries.conf");
	_cleanup_(freep) char *user_dir = conf_user_path("/containers/registries.conf.d");
	bool there = false;
	int r;

	if (named) {
		r = conf_add(seam, ret, named, &there, err);
		return r >= 0 && !there
			       ? error_set(err, -ENOENT,
					   "$CONTAINERS_REGISTRIES_CONF: there is no %s", named)
			       : r;
	}
	r = user ? conf_add(seam, ret, user, &there, err) : 0;
	if (r >= 0 && !there)
		r = conf_add(seam, ret, "/etc/containers/registries.conf", &there, err);
	if (r >= 0)
		r = drop_ins_add(seam, ret, "/etc/containers/registries.conf.d", err);
	if (r >= 0 && user_dir)
		r = drop_ins_add(seam, ret, user_dir, err);
	return r;
}

/* ---- certificates ---- */

static int by_name(const struct dirent *e)
{
	return *e->d_name != '.';
}

static bool ends_with(const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	return n > m && !strcmp(name + n - m, suffix);
}

/* X.cert wants X.key beside it, and the other way round. */
static int client_add(struct site *s, const char *dir, const char *name, struct error *err)
{
	bool is_cert = ends_with(name, ".cert");
	_cleanup_(freep) char *stem = NULL, *cert = NULL, *key = NULL;
	const char *other;

	stem = strndup(name, strrchr(name, '.') - name);
	if (!stem || asprintf(&cert, "%s/%s.cert", dir, stem) < 0 ||
	    asprintf(&key, "%s/%s.key", dir, stem) < 0)
		return -ENOMEM;
	other = is_cert ? key : cert;
	if (access(other, F_OK) < 0)
		return error_set(err, -EBADMSG, "%s/%s: there is no %s beside it", dir, name,
				 other);
	return is_cert ? site_client_add(s, cert, key) : 0;
}

/* 0: the directory is there. */
static int certs_dir_add(struct site *s, const char *dir, struct error *err)
{
	struct dirent **names = NULL;
	int n = scandir(dir, &names, by_name, alphasort), r = 0;

	if (n < 0)
		return errno == ENOENT || errno == ENOTDIR
			       ? -ENOENT
			       : error_set_errno(err, -errno, "certificates of %s: %s", s->host,
						 dir);
	for (int i = 0; i < n; i++) {
		const char *name = names[i]->d_name;

		if (r >= 0 && ends_with(name, ".crt")) {
			char *path;

			r = asprintf(&path, "%s/%s", dir, name) < 0 ? -ENOMEM
								    : strings_add(&s->ca, path);
			free(r < 0 ? NULL : path);
		} else if (r >= 0 && (ends_with(name, ".cert") || ends_with(name, ".key")))
			r = client_add(s, dir, name, err);
		free(names[i]);
	}
	free(names);
	return r;
}

int site_certificates(const struct seam *seam, struct site *s, struct error *err)
{
	const char *host = strcmp(s->host, "registry-1.docker.io") ? s->host : "docker.io";
	_cleanup_(freep) char *user = conf_user_path("/containers/certs.d/");
	const char *roots[] = {user, "/etc/containers/certs.d/", "/etc/docker/certs.d/"};

	if (s->ca || s->clients)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(roots); i++) {
		_cleanup_(freep) char *dir = roots[i] ? conf_join(roots[i], host) : NULL;
		int r = dir ? certs_dir_add(s, dir, err) : -ENOENT;

		if (r != -ENOENT)
			return r;
	}
	return 0;
}

/* ---- hosts.toml ---- */

/* 0: the directory is there, and its hosts were added. */
static int hosts_dir_add(const struct seam *seam, const struct hosts_subject *subject,
			 struct site_list *ret, struct error *err)
{
	_cleanup_(freep) char *path = conf_join(subject->dir, "/hosts.toml"), *text = NULL;
	struct error why = ERROR_INIT;
	struct site *s;
	size_t len = 0;
	int r;

	if (!path)
		return -ENOMEM;
	if (access(subject->dir, F_OK) < 0)
		return -ENOENT;
	r = conf_read(seam, "registry configuration", path, TOML_DOC_MAX, &text, &len, &why);
	if (r >= 0)
		return hosts_toml_parse(text, len, path, subject, ret, err);
	if (r != -ENOENT)
		return error_set(err, r, "%s", why.text);
	s = site_add(ret, subject->host, subject->repo);
	return s ? certs_dir_add(s, subject->dir, err) : -ENOMEM;
}

/* "host:5000" -> "host_5000_" */
static int names_of_host(const char *ns, char *ret[static 4])
{
	const char *colon = strrchr(ns, ':');

	ret[0] = ret[1] = ret[2] = ret[3] = NULL;
	if (colon && !strchr(colon, ']') &&
	    asprintf(&ret[0], "/%.*s_%s_", (int)(colon - ns), ns, colon + 1) < 0)
		return -ENOMEM;
	ret[1] = conf_join("/", ns);
	ret[2] = strdup("/_default");
	return ret[1] && ret[2] ? 0 : -ENOMEM;
}

static int hosts_toml_find(const struct seam *seam, struct hosts_subject *subject,
			   struct site_list *ret, struct error *err)
{
	const char *named = conf_env("MORSEL_HOSTS_DIR");
	_cleanup_(freep) char *user = named ? NULL : conf_user_path("/containerd/certs.d");
	const char *roots[] = {named ? named : user, named ? NULL : "/etc/containerd/certs.d"};
	char *names[4];
	int r = names_of_host(subject->ns, names);

	for (size_t k = 0; r >= 0 && k < ARRAY_SIZE(roots); k++) {
		for (size_t i = 0; i < ARRAY_SIZE(names) && r >= 0; i++) {
			_cleanup_(freep) char *dir =
				roots[k] && names[i] ? conf_join(roots[k], names[i]) : NULL;

			subject->dir = dir;
			r = dir ? hosts_dir_add(seam, subject, ret, err) : -ENOENT;
			if (r != -ENOENT)
				k = ARRAY_SIZE(roots); /* it is this one */
			if (r != -ENOENT)
				break;
			r = 0;
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		free(names[i]);
	subject->dir = NULL;
	return r;
}

/* ---- both ---- */

int sites_of_ref(const struct seam *seam, const struct registries_conf *c, const struct ref *ref,
		 struct site_list *ret, struct error *err)
{
	struct hosts_subject subject = {.ns = ref->host, .host = ref->api_host, .repo = ref->path};
	struct site_list podman = {0}, containerd = {0};
	int r = registries_conf_route(c, ref->host, ref->path, ref->has_digest, &podman, err);

	if (r >= 0)
		r = hosts_toml_find(seam, &subject, &containerd, err);
	if (r >= 0 && podman.n && containerd.n) { /* one registry, last of all */
		const struct site *self = &podman.sites[podman.n - 1];
		bool moved = strcmp(self->host, ref->api_host) || strcmp(self->repo, ref->path);

		containerd.sites[containerd.n - 1].noverify |= self->noverify;
		containerd.sites[containerd.n - 1].plain_ok |= self->plain_ok;
		site_fini(moved ? &containerd.sites[containerd.n - 1]
				: &podman.sites[podman.n - 1]);
		if (moved) { /* its mirrors are of the other registry */
			containerd.n--;
			site_list_fini(&containerd);
		} else
			podman.n--;
	}
	if (r >= 0) {
		site_list_take(ret, &podman);
		site_list_take(ret, &containerd);
		if (!ret->n && !site_add(ret, ref->api_host, ref->path))
			r = -ENOMEM;
	}
	for (size_t i = 0; r >= 0 && i < ret->n; i++)
		r = site_certificates(seam, &ret->sites[i], err);
	site_list_fini(&podman);
	site_list_fini(&containerd);
	return r < 0 ? r : 0;
}
