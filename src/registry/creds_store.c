/* SPDX-License-Identifier: MIT */
#include "registry/creds_store.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include "base/json.h"

#define FILES_MAX 3

struct creds_file {
	char *path;
	struct creds *creds;
};

struct creds_store {
	struct creds_file files[FILES_MAX];
	unsigned n;
};

void creds_store_free(struct creds_store *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->n; i++) {
		free(s->files[i].path);
		creds_free(s->files[i].creds);
	}
	free(s);
}

static const char *env_get(const char *name)
{
	const char *v = secure_getenv(name);

	return v && *v ? v : NULL;
}

/* A file tells root where credentials go and, by helpers, what to run: it must be root's own, or
 * of the user whom sudo made root. */
static bool owner_ok(uid_t owner)
{
	const char *sudo = env_get("SUDO_UID");
	char *end;
	unsigned long uid;

	if (geteuid() != 0 || owner == 0 || owner == getuid())
		return true;
	if (!sudo || *sudo < '0' || *sudo > '9')
		return false;
	uid = strtoul(sudo, &end, 10);
	return !*end && uid == owner;
}

/* Follows symlinks: secrets of orchestrators and dot files are often linked. *ret is the caller's,
 * to be wiped. */
static int file_read(const struct seam *seam, const char *path, char **ret, size_t *ret_len,
		     struct error *err)
{
	_cleanup_(closep) int fd = -1;
	_cleanup_(freep) char *text = NULL;
	struct stat st;
	int r;

	fd = seam->openat(seam, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return error_set_errno(err, fd, "credential file %s", path);
	if (fstat(fd, &st) < 0)
		return error_set_errno(err, -errno, "credential file %s", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EPERM, "credential file %s: not a regular file", path);
	if (!owner_ok(st.st_uid))
		return error_set(err, -EPERM,
				 "credential file %s: belongs to user %u; root reads only its own",
				 path, st.st_uid);
	if (st.st_size > (off_t)JSON_DOC_MAX)
		return error_set(err, -E2BIG, "credential file %s: %lld bytes, the limit is %zu",
				 path, (long long)st.st_size, JSON_DOC_MAX);
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return error_set_errno(err, -ENOMEM, "credential file %s", path);
	r = seam_pread_full(seam, fd, text, (size_t)st.st_size, 0);
	if (r < 0)
		return error_set_errno(err, r, "credential file %s", path);
	*ret_len = (size_t)st.st_size;
	*ret = steal_ptr(text);
	return 0;
}

static int file_load(struct creds_store *s, const struct seam *seam, const char *path,
		     struct error *err)
{
	_cleanup_(freep) char *text = NULL, *copy = NULL;
	struct creds *creds;
	size_t len = 0;
	int r;

	r = file_read(seam, path, &text, &len, err);
	if (r < 0)
		return r;
	r = creds_parse(text, len, path, &creds, err);
	explicit_bzero(text, len);
	if (r < 0)
		return r;
	copy = strdup(path);
	if (!copy) {
		creds_free(creds);
		return error_set_errno(err, -ENOMEM, "credential file %s", path);
	}
	assert(s->n < FILES_MAX);
	s->files[s->n++] = (struct creds_file){steal_ptr(copy), creds};
	return 0;
}

static char *path_join(const char *dir, const char *rest)
{
	char *p;

	return asprintf(&p, "%s%s", dir, rest) < 0 ? NULL : p;
}

/* $HOME, else the password database's; NULL: there is none. */
static char *home_get(void)
{
	const char *env = env_get("HOME");
	struct passwd pw, *found = NULL;
	char buf[4096];

	if (env)
		return strdup(env);
	if (getpwuid_r(geteuid(), &pw, buf, sizeof(buf), &found) || !found || !*pw.pw_dir)
		return NULL;
	return strdup(pw.pw_dir);
}

/* The default places, in order; a NULL is a place that does not exist for this process. */
static void default_paths(char *ret[static FILES_MAX])
{
	_cleanup_(freep) char *home = home_get();
	const char *runtime = env_get("XDG_RUNTIME_DIR"), *config = env_get("XDG_CONFIG_HOME");
	const char *docker = env_get("DOCKER_CONFIG");

	if (runtime)
		ret[0] = path_join(runtime, "/containers/auth.json");
	else if (asprintf(&ret[0], "/run/containers/%u/auth.json", geteuid()) < 0)
		ret[0] = NULL;
	if (config)
		ret[1] = path_join(config, "/containers/auth.json");
	else if (home)
		ret[1] = path_join(home, "/.config/containers/auth.json");
	if (docker)
		ret[2] = path_join(docker, "/config.json");
	else if (home)
		ret[2] = path_join(home, "/.docker/config.json");
}

static void defaults_load(struct creds_store *s, const struct seam *seam, const struct log *log)
{
	char *paths[FILES_MAX] = {NULL};

	default_paths(paths);
	for (unsigned i = 0; i < FILES_MAX; i++) {
		struct error why = ERROR_INIT;

		if (paths[i] && file_load(s, seam, paths[i], &why) < 0 && why.code != -ENOENT &&
		    why.code != -ENOTDIR)
			log_write(log, LOG_WARN, "left out: %s", why.text);
		free(paths[i]);
	}
}

int creds_store_open(const struct seam *seam, const struct log *log, const char *authfile,
		     struct creds_store **ret, struct error *err)
{
	_cleanup_(creds_store_freep) struct creds_store *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return error_set_errno(err, -ENOMEM, "credentials");
	if (!authfile)
		authfile = env_get("REGISTRY_AUTH_FILE");
	if (authfile)
		r = file_load(s, seam, authfile, err);
	else
		defaults_load(s, seam, log);
	if (r < 0)
		return r;
	*ret = steal_ptr(s);
	return 0;
}

int creds_store_lookup(const struct creds_store *s, const char *host, const char *path,
		       struct credential *ret, const char **ret_helper, const char **ret_file,
		       struct error *err)
{
	int outcome = CREDS_NONE;

	for (unsigned i = 0; i < s->n; i++) {
		const char *helper = NULL;
		int r = creds_lookup(s->files[i].creds, host, path, ret, &helper, err);

		if (r < 0)
			return r;
		if (r == CREDS_NONE || (r == CREDS_HELPER && outcome == CREDS_HELPER))
			continue;
		*ret_file = s->files[i].path;
		if (r == 0)
			return 0;
		outcome = r; /* a later file may have the credential itself */
		*ret_helper = helper;
	}
	return outcome;
}
