/* SPDX-License-Identifier: MIT */
#include "registry/conf.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/userns.h"

const char *conf_env(const char *name)
{
	const char *v = secure_getenv(name);

	return v && *v ? v : NULL;
}

char *conf_home(void)
{
	const char *env = conf_env("HOME");
	struct passwd pw, *found = NULL;
	char buf[4096];

	if (env)
		return strdup(env);
	if (getpwuid_r(geteuid(), &pw, buf, sizeof(buf), &found) || !found || !*pw.pw_dir)
		return NULL;
	return strdup(pw.pw_dir);
}

char *conf_join(const char *dir, const char *rest)
{
	char *p;

	return asprintf(&p, "%s%s", dir, rest) < 0 ? NULL : p;
}

char *conf_user_path(const char *rest)
{
	const char *config = conf_env("XDG_CONFIG_HOME");
	_cleanup_(freep) char *home = config ? NULL : conf_home();
	_cleanup_(freep) char *dir = home ? conf_join(home, "/.config") : NULL;

	if (!config && !dir)
		return NULL;
	return conf_join(config ? config : dir, rest);
}

bool conf_owner_ok(uid_t owner)
{
	const char *sudo = conf_env("SUDO_UID");
	char *end;
	unsigned long uid;

	if (geteuid() != 0 || owner == 0 || owner == getuid())
		return true;
	if (owner == userns_overflow_uid() && !userns_is_initial())
		return true; /* the machine's root, or anybody whose files our user reads anyway */
	if (!sudo || *sudo < '0' || *sudo > '9')
		return false;
	uid = strtoul(sudo, &end, 10);
	return !*end && uid == owner;
}

int conf_error(int r, struct error *err)
{
	if (r != -EBADMSG)
		return r;
	if (err && err->code == r)
		err->code = -EUCLEAN;
	return -EUCLEAN;
}

int conf_read(const struct seam *seam, const char *what, const char *path, size_t max_bytes,
	      char **ret, size_t *ret_len, struct error *err)
{
	_cleanup_(closep) int fd = -1;
	_cleanup_(freep) char *text = NULL;
	struct stat st;
	int r;

	fd = seam->openat(seam, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return error_set_errno(err, fd, "%s %s", what, path);
	if (fstat(fd, &st) < 0)
		return error_set_errno(err, -errno, "%s %s", what, path);
	if (S_ISDIR(st.st_mode))
		return error_set_errno(err, -EISDIR, "%s %s", what, path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EPERM, "%s %s: not a regular file", what, path);
	if (!conf_owner_ok(st.st_uid))
		return error_set(err, -EPERM, "%s %s: belongs to user %u; root reads only its own",
				 what, path, st.st_uid);
	if (st.st_size > (off_t)max_bytes)
		return error_set(err, -E2BIG, "%s %s: %lld bytes, the limit is %zu", what, path,
				 (long long)st.st_size, max_bytes);
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return error_set_errno(err, -ENOMEM, "%s %s", what, path);
	r = seam_pread_full(seam, fd, text, (size_t)st.st_size, 0);
	if (r < 0)
		return error_set_errno(err, r, "%s %s", what, path);
	text[st.st_size] = 0;
	*ret_len = (size_t)st.st_size;
	*ret = steal_ptr(text);
	return 0;
}
