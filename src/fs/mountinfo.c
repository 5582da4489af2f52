/* SPDX-License-Identifier: MIT */
#include "fs/mountinfo.h"

#include <errno.h>
#include <stdio.h>
#include <sys/sysmacros.h>

/* "\040" and friends */
static void octal_unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (*s == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else
			*out++ = *s;
	}
	*out = 0;
}

static uid_t owner_parse(const char *options)
{
	const char *o = strstr(options, "user_id=");

	return o ? (uid_t)strtoul(o + strlen("user_id="), NULL, 10) : 0;
}

static bool ends_with(const char *text, size_t n, const char *end)
{
	return n >= strlen(end) && !memcmp(text + n - strlen(end), end, strlen(end));
}

/* "36 35 98:0 /root /mount/point opts tags... - type source superopts" */
bool mountinfo_parse(char *line, char **ret_point, struct mount_info *ret)
{
	char *sep = strstr(line, " - "), *point, *end, *options, *source;
	unsigned major, minor;
	int n = 0;

	*ret = (struct mount_info){0};
	if (!sep || sscanf(line, "%u %u %u:%u %n", &ret->id, &ret->parent, &major, &minor, &n) != 4)
		return false;
	point = n ? strchr(line + n, ' ') : NULL;
	end = point ? strchr(point + 1, ' ') : NULL;
	if (!end || end > sep || sscanf(sep + 3, "%63s", ret->type) != 1)
		return false;
	/* The source has its spaces escaped, but it may say "user_id=" itself. */
	options = strrchr(sep, ' ');
	if (options && !strncmp(ret->type, "fuse", 4))
		ret->owner = owner_parse(options);
	source = strchr(sep + 3, ' ');
	ret->kernel = !strcmp(ret->type, "erofs") && source &&
		      ends_with(source + 1, strcspn(source + 1, " "), KERNEL_SOURCE_SUFFIX);
	ret->dev = makedev(major, minor);
	*end = 0;
	octal_unescape(point + 1);
	*ret_point = point + 1;
	return true;
}

int mountinfo_lookup(const char *dir, struct mount_info *ret)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	_cleanup_(freep) char *line = NULL;
	struct mount_info m;
	bool found = false;
	size_t cap = 0;
	char *point;

	if (!f)
		return -errno;
	while (getline(&line, &cap, f) > 0)
		/* What lies on top has what is below for a parent; lines may come in any order. */
		if (mountinfo_parse(line, &point, &m) && !strcmp(point, dir) &&
		    !(found && ret->parent == m.id)) {
			*ret = m;
			found = true;
		}
	fclose(f);
	return found ? 0 : -ENOENT;
}

bool mountinfo_is_ours(const struct mount_info *m)
{
	return m->kernel || !strcmp(m->type, "fuse.morsel");
}

bool mountinfo_is_mounted(const struct mount_info *m)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	_cleanup_(freep) char *line = NULL;
	struct mount_info other;
	bool found = false;
	size_t cap = 0;
	char *point;

	while (f && !found && getline(&line, &cap, f) > 0)
		found = mountinfo_parse(line, &point, &other) && other.id == m->id &&
			other.dev == m->dev;
	if (f)
		fclose(f);
	return found || !f;
}

int path_resolve(const char *dir, char ret[static PATH_MAX], struct error *err)
{
	_cleanup_(freep) char *own = strdup(dir);
	char parent[PATH_MAX], *slash, *name;
	size_t n = own ? strlen(own) : 0;

	if (!own)
		return -ENOMEM;
	while (n > 1 && own[n - 1] == '/')
		own[--n] = 0;
	slash = strrchr(own, '/');
	name = slash ? slash + 1 : own;
	if (!*name || !strcmp(name, ".") || !strcmp(name, "..")) {
		if (!realpath(own, ret))
			return error_set_errno(err, -errno, "%s", dir);
		return 0;
	}
	if (slash)
		*slash = 0;
	if (!realpath(slash ? (*own ? own : "/") : ".", parent))
		return error_set_errno(err, -errno, "%s", dir);
	if ((size_t)snprintf(ret, PATH_MAX, "%s/%s", strcmp(parent, "/") ? parent : "", name) >=
	    PATH_MAX)
		return error_set_errno(err, -ENAMETOOLONG, "%s", dir);
	return 0;
}

int mountinfo_find_ours(const char *dir, char ret_path[static PATH_MAX], struct mount_info *ret,
			struct error *err)
{
	int r = path_resolve(dir, ret_path, err);

	if (r >= 0)
		r = mountinfo_lookup(ret_path, ret);
	if (r == -ENOENT && realpath(dir, ret_path)) /* a symlink to it */
		r = mountinfo_lookup(ret_path, ret);
	if (r >= 0 && mountinfo_is_ours(ret))
		return 0;
	if (r < 0 && r != -ENOENT)
		return error_set_errno(err, r, "%s", dir);
	return error_set(err, -ENOENT, "%s: no image is mounted there by morsel", dir);
}
