/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/userns.h"
#include "fs/control.h"

bool control_dir_candidate(uid_t owner, unsigned k, char *ret, size_t n)
{
	const char *own = secure_getenv("MORSEL_RUNTIME_DIR");
	const char *xdg = secure_getenv("XDG_RUNTIME_DIR");
	uid_t name;

	if (own && *own == '/')
		return !k && (size_t)snprintf(ret, n, "%s", own) < n;
	if (!owner && userns_is_initial())
		return !k && (size_t)snprintf(ret, n, "/run/morsel") < n;
	if (k == 0 && owner == geteuid() && xdg && *xdg == '/')
		return (size_t)snprintf(ret, n, "%s/morsel", xdg) < n;
	name = userns_outer_uid(owner); /* root in a user namespace is somebody outside */
	if (k <= 1)			/* nobody set it, but this is where it usually is */
		return (size_t)snprintf(ret, n, "/run/user/%u/morsel", name) < n;
	return k == 2 && (size_t)snprintf(ret, n, "/tmp/morsel-%u", name) < n;
}

bool control_dir_is_safe(const char *dir, uid_t owner)
{
	_cleanup_(closep) int fd = open(dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) >= 0 && st.st_uid == owner && !(st.st_mode & 077);
}

int control_dir_make(char *ret, size_t n, struct error *err)
{
	char dir[PATH_MAX] = "";

	for (unsigned k = 0; control_dir_candidate(geteuid(), k, dir, sizeof(dir)); k++) {
		mkdir(dir, 0700);
		if (!control_dir_is_safe(dir, geteuid()))
			continue;
		return (size_t)snprintf(ret, n, "%s", dir) < n ? 0 : -ENAMETOOLONG;
	}
	return error_set(err, -EACCES,
			 "%s, for control sockets, must be a directory of yours with mode 0700; "
			 "MORSEL_RUNTIME_DIR may name another",
			 dir);
}
