/* SPDX-License-Identifier: MIT */
#include "image/indexer_path.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/stat.h>

/* The program or library that holds this function. *ret_up leads from its directory to where
 * programs like the helper are installed; "" when that is not relative. */
static int own_path(char ret[static PATH_MAX], const char **ret_up)
{
	struct link_map *map = NULL;
	Dl_info info;
	ssize_t n;

	if (dladdr1((void *)own_path, &info, (void **)&map, RTLD_DL_LINKMAP) && map &&
	    map->l_name && *map->l_name == '/') {
		*ret_up = MORSEL_LIBEXEC_FROM_LIB;
		return (size_t)snprintf(ret, PATH_MAX, "%s", map->l_name) < PATH_MAX ? 0 : -ENOENT;
	}
	if (map && map->l_name &&
	    *map->l_name) /* relative to where somebody was when he loaded us */
		return -ENOENT;
	n = readlink("/proc/self/exe", ret, PATH_MAX - 1);
	if (n <= 0)
		return -ENOENT;
	ret[n] = 0;
	*ret_up = MORSEL_LIBEXEC_FROM_BIN;
	return 0;
}

/* In a directory that others write to, like /tmp, anybody may have put one beside us. */
static bool is_trusted(const char *path, const struct stat *own)
{
	struct stat st;

	return lstat(path, &st) >= 0 && S_ISREG(st.st_mode) && !(st.st_mode & 022) &&
	       (st.st_uid == 0 || st.st_uid == own->st_uid) && !access(path, X_OK);
}

static bool is_beside(const char *dir, const char *up, const struct stat *own,
		      char ret[static PATH_MAX])
{
	return (size_t)snprintf(ret, PATH_MAX, "%s%s/" INDEXER_NAME, dir, up) < PATH_MAX &&
	       is_trusted(ret, own);
}

int indexer_path_find(char ret[static PATH_MAX], struct error *err)
{
	char self[PATH_MAX], *slash;
	const char *up;
	struct stat own;

	if (!getauxval(AT_SECURE) && own_path(self, &up) >= 0 && stat(self, &own) >= 0) {
		slash = strrchr(self, '/');
		if (slash)
			*slash = 0;
		if (slash &&
		    (is_beside(self, "", &own, ret) || (*up && is_beside(self, up, &own, ret))))
			return 0;
	}
	snprintf(ret, PATH_MAX, "%s", MORSEL_LIBEXEC_DIR "/" INDEXER_NAME);
	if (!access(ret, X_OK))
		return 0;
	return error_set(err, -ENOENT,
			 "the program " INDEXER_NAME " is neither beside morsel nor in %s; "
			 "reinstall morsel",
			 MORSEL_LIBEXEC_DIR);
}
