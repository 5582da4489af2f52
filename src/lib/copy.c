/* SPDX-License-Identifier: MIT */
/*
 * Files and trees of an image beside what is there already, named as cp(1) names them. What is here
 * says which file of the image becomes which name in which directory; all else is extraction.
 */
#include "image/path.h"
#include "lib/extract.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct copy {
	struct morsel_image *img;
	char *dest;  /* the directory that is added to */
	int dest_fd; /* O_PATH */
	char *as;    /* new name of the only path; NULL */
	struct extract_root *roots;
	char **names; /* of the roots */
	uint32_t n;
};

static void copy_fini(struct copy *cp)
{
	for (uint32_t i = 0; i < cp->n; i++)
		free(cp->names[i]);
	free(cp->names);
	free(cp->roots);
	free(cp->as);
	free(cp->dest);
	closep(&cp->dest_fd);
}

/* ---- the destination ---- */

static int dest_fail(const char *dest, int code, const char *what, struct error *err)
{
	return error_set_errno(err, code, "%s: %s", dest, what);
}

/* Something is there that is no directory: only a file is replaced, where a symlink to it leads. */
static int dest_resolve(struct copy *cp, const char *dest, struct error *err)
{
	struct stat st;
	char *path = realpath(dest, NULL);

	if (!path)
		return dest_fail(dest, -errno, "can't be replaced", err);
	free(cp->dest);
	cp->dest = path;
	if (lstat(path, &st) < 0)
		return dest_fail(dest, -errno, "can't be replaced", err);
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EINVAL,
				 "%s: neither a file nor a directory: name one of these", dest);
	return 0;
}

/* It is no directory: the last component is the name of a file, a new one or one that is replaced.
 */
static int dest_split(struct copy *cp, const char *dest, struct error *err)
{
	char *slash, *end = cp->dest + strlen(cp->dest);

	while (end > cp->dest + 1 && end[-1] == '/')
		*--end = 0;
	slash = strrchr(cp->dest, '/');
	cp->as = strdup(slash ? slash + 1 : cp->dest);
	if (!cp->as)
		return -ENOMEM;
	if (!*cp->as || !strcmp(cp->as, ".") || !strcmp(cp->as, ".."))
		return error_set(err, -EINVAL,
				 "%s: there is no such directory, and it can't be a new name",
				 dest);
	if (strlen(cp->as) > NAME_LEN_MAX)
		return dest_fail(dest, -ENAMETOOLONG, "can't be a name", err);
	if (slash)
		slash[slash == cp->dest] = 0;
	else
		strcpy(cp->dest, "."); /* in place of a name, which has a byte as well */
	cp->dest_fd = open(cp->dest, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return cp->dest_fd < 0 ? dest_fail(dest, -errno, "can't open its directory", err) : 0;
}

static int dest_open(struct copy *cp, const char *dest, size_t n_paths, struct error *err)
{
	struct stat st;
	int r = 0;

	cp->dest = strdup(dest);
	if (!cp->dest)
		return -ENOMEM;
	cp->dest_fd = open(dest, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (cp->dest_fd >= 0)
		return 0;
	if (errno != ENOENT && errno != ENOTDIR)
		return dest_fail(dest, -errno, "can't open the directory", err);
	if (n_paths > 1)
		return error_set(err, -EINVAL, "%s: not a directory, which several files need",
				 dest);
	if (lstat(dest, &st) == 0)
		r = dest_resolve(cp, dest, err);
	else if (errno != ENOENT)
		r = dest_fail(dest, -errno, "can't be made", err);
	return r < 0 ? r : dest_split(cp, dest, err);
}

/* ---- names ---- */

/* The last component, without slashes behind it; "" where that is the directory itself. */
static char *base_name(const char *path)
{
	size_t end = strlen(path), start;

	while (end && path[end - 1] == '/')
		end--;
	for (start = end; start && path[start - 1] != '/';)
		start--;
	if ((end - start == 1 && path[start] == '.') ||
	    (end - start == 2 && !memcmp(path + start, "..", 2)))
		start = end;
	return strndup(path + start, end - start);
}

static int path_add(struct copy *cp, const char *path, struct error *err)
{
	struct extract_root *root = &cp->roots[cp->n];
	struct morsel_error why = {0};
	struct morsel_stat st;
	int r = morsel_image_stat(cp->img, path, 0, &st, &why);

	if (r < 0)
		return error_set(err, r, "%s", why.text);
	root->nid = st.ino;
	root->name = cp->names[cp->n] = cp->as ? strdup(cp->as) : base_name(path);
	if (!root->name)
		return -ENOMEM;
	cp->n++;
	for (uint32_t i = 0; i + 1 < cp->n; i++)
		if (!*cp->roots[i].name || !*root->name || !strcmp(cp->roots[i].name, root->name))
			return error_set(err, -EINVAL,
					 "%s: another path is copied to %s/%s already", path,
					 cp->dest, root->name);
	if (!*root->name && !S_ISDIR(st.mode))
		return error_set(err, -EINVAL, "%s: not a name for a file", path);
	return 0;
}

/* The only path becomes a directory that is there: that alone is added to, as it may be a mount, or
 * the only one here that this user can write. */
static int only_directory(struct copy *cp, struct error *err)
{
	struct extract_root *root = &cp->roots[0];
	struct erofs_inode ino;
	char *dest;
	int fd;

	if (!*root->name || erofs_inode_get(&cp->img->fs, root->nid, &ino) < 0 ||
	    !S_ISDIR(ino.mode))
		return 0;
	fd = openat(cp->dest_fd, root->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return 0; /* it is made, or refused, like any other */
	closep(&cp->dest_fd);
	cp->dest_fd = fd;
	if (asprintf(&dest, "%s/%s", cp->dest, root->name) < 0)
		return -ENOMEM;
	free(cp->dest);
	cp->dest = dest;
	*cp->names[0] = 0;
	return 0;
}

/* ---- all of it ---- */

static int image_copy(struct copy *cp, const char *const *paths, size_t n, char **ret_json,
		      struct error *err)
{
	struct extract_options o = {.n_roots = (uint32_t)n, .root_path = ""};
	int r = 0;

	cp->roots = calloc(n, sizeof(*cp->roots));
	cp->names = calloc(n, sizeof(*cp->names));
	if (!cp->roots || !cp->names)
		return -ENOMEM;
	for (size_t i = 0; i < n && r >= 0; i++)
		r = path_add(cp, paths[i], err);
	if (r >= 0 && n == 1)
		r = only_directory(cp, err);
	if (r < 0)
		return r;
	o.roots = cp->roots;
	o.dest_fd = cp->dest_fd;
	return image_extract(cp->img, &o, cp->dest, ret_json, err);
}

int morsel_copy(struct morsel *m, const char *ref, const char *const *paths, size_t n,
		const char *dest, char **ret_json, struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;
	struct copy cp = {.dest_fd = -1};
	int r;

	if (!n || n > UINT32_MAX)
		r = error_set(&err, -EINVAL, "no paths to copy");
	else
		r = dest_open(&cp, dest, n, &err);
	if (r < 0) {
		copy_fini(&cp);
		return error_publish(r, &err, ret_err);
	}
	r = morsel_image_open(m, ref, &cp.img, ret_err);
	if (r >= 0) {
		r = image_copy(&cp, paths, n, ret_json, &err);
		morsel_image_close(cp.img);
		r = error_publish(r, &err, ret_err);
	}
	copy_fini(&cp);
	return r;
}
