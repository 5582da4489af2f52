/* SPDX-License-Identifier: MIT */
#include "cli/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int directory_make(const char *dir)
{
	char path[PATH_MAX];
	struct stat st;

	if (strlen(dir) >= sizeof(path))
		return -ENAMETOOLONG;
	strcpy(path, dir);
	for (char *p = path; *p && (p = strchr(p + 1, '/'));) {
		*p = 0;
		if (mkdir(path, 0777) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	if (mkdir(path, 0777) < 0 && errno != EEXIST)
		return -errno;
	if (stat(path, &st) < 0 || access(path, W_OK | X_OK) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int path_of(const struct outputs *o, const char *kind, const char *suffix,
		   const char *before, char **ret)
{
	return asprintf(ret, "%s/%s%s_%s%s%s_%s%s", o->dir, before, kind, o->mode,
			o->label ? "_" : "", o->label ? o->label : "", o->stamp, suffix) < 0
		       ? -ENOMEM
		       : 0;
}

/* Every run writes a heap profile: where there is none of this second, there was no run. */
static bool is_taken(const struct outputs *o)
{
	char *path;
	bool taken;

	if (path_of(o, "heap", ".pprof", "", &path) < 0)
		return false;
	taken = !access(path, F_OK);
	free(path);
	return taken;
}

int outputs_init(struct cli *c, struct outputs *o)
{
	int r = directory_make(o->dir);

	if (r < 0) {
		snprintf(c->err.text, sizeof(c->err.text), "%s: can't write profiles there: %s",
			 o->dir, strerror(-r));
		return fail(c, r);
	}
	do {
		time_t now = time(NULL);
		struct tm tm;

		if (o->stamp[0])
			usleep(100000);
		gmtime_r(&now, &tm);
		o->began = now;
		strftime(o->stamp, sizeof(o->stamp), "%Y%m%dT%H%M%SZ", &tm);
	} while (is_taken(o) && !interrupted_by);
	return 0;
}

static int whole_write(const char *path, const void *data, size_t n)
{
	const char *p = data;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666), r = 0;

	if (fd < 0)
		return -errno;
	while (n && r >= 0) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno != EINTR)
			r = -errno;
		if (w > 0) {
			p += w;
			n -= (size_t)w;
		}
	}
	if (close(fd) < 0 && r >= 0)
		r = -errno;
	return r;
}

static int name_note(struct outputs *o, char *path)
{
	char **names = reallocarray(o->names, o->n + 1, sizeof(*names));

	if (!names)
		return -ENOMEM;
	o->names = names;
	o->names[o->n++] = path;
	return 0;
}

int outputs_file(void *userdata, const char *kind, const char *suffix, const void *data, size_t n)
{
	struct outputs *o = userdata;
	char *path = NULL, *temporary = NULL;
	int r = path_of(o, kind, suffix, "", &path);

	if (r >= 0)
		r = path_of(o, kind, suffix, ".", &temporary);
	if (r >= 0)
		r = whole_write(temporary, data, n);
	if (r >= 0 && rename(temporary, path) < 0)
		r = -errno;
	if (r < 0 && r != -EEXIST && temporary)
		unlink(temporary);
	if (r < 0 && !o->error[0])
		snprintf(o->error, sizeof(o->error), "%s: can't write the profile: %s",
			 path ? path : kind, strerror(-r));
	free(temporary);
	if (r >= 0)
		r = name_note(o, path);
	if (r < 0)
		free(path);
	return r;
}

/* "morsel.cpu{mode=pull,label=cold}": what would end a value is not in one. */
static void name_make(const struct outputs *o, const char *file, char *ret, size_t n)
{
	const char *kind = file + strlen(o->dir) + 1;
	size_t at = (size_t)snprintf(ret, n, "morsel.%.*s{mode=%s", (int)strcspn(kind, "_"), kind,
				     o->mode);

	if (o->label)
		snprintf(ret + at, n - at, ",label=%s", o->label);
	for (char *p = ret + at + (o->label ? 7 : 0); *p; p++)
		if (strchr("{},=\"", *p))
			*p = '_';
	at = strlen(ret);
	snprintf(ret + at, n - at, "}");
}

int outputs_send(struct cli *c, const struct outputs *o, const char *url)
{
	char name[256];

	for (size_t i = 0; url && i < o->n; i++) {
		size_t len = strlen(o->names[i]);
		int r;

		if (len < 6 || strcmp(o->names[i] + len - 6, ".pprof"))
			continue;
		name_make(o, o->names[i], name, sizeof(name));
		r = morsel_profile_send(url, name, o->names[i], o->began, time(NULL), &c->err);
		if (r < 0)
			return fail(c, r);
	}
	return 0;
}

void outputs_fini(struct outputs *o)
{
	for (size_t i = 0; i < o->n; i++)
		free(o->names[i]);
	free(o->names);
}
