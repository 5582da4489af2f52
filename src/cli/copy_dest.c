/* SPDX-License-Identifier: MIT */
#include "cli/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void copy_parent_fini(struct copy_parent *p)
{
	free(p->path);
	if (p->fd >= 0)
		close(p->fd);
	*p = COPY_PARENT_INIT;
}

/* Component by component, so that no symlink that somebody puts there leads elsewhere. */
static int directory_open(int fd, const char *path, size_t n)
{
	int at = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	for (const char *p = path, *end = path + n; p < end && at >= 0;) {
		const char *slash = memchr(p, '/', (size_t)(end - p));
		size_t len = (size_t)((slash ? slash : end) - p);
		char name[256];
		int next;

		if (len >= sizeof(name)) {
			close(at);
			return -ENAMETOOLONG;
		}
		memcpy(name, p, len);
		name[len] = 0;
		next = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0) {
			int e = -errno;

			close(at);
			return e;
		}
		close(at);
		at = next;
		p += len + (slash != NULL);
	}
	return at < 0 ? -errno : at;
}

int copy_parent_open(struct copy *cp, struct copy_parent *parent, const char *path,
		     const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) : 0;

	*ret_name = slash ? slash + 1 : path;
	if (parent->fd >= 0 && parent->len == n && !memcmp(parent->path, path, n))
		return 0;
	copy_parent_fini(parent);
	parent->path = strndup(path, n);
	parent->len = n;
	if (!parent->path)
		return -ENOMEM;
	parent->fd = directory_open(cp->dest_fd, path, n);
	return parent->fd < 0 ? parent->fd : 0;
}

void copy_temp_name(struct copy *cp, char out[static 64])
{
	snprintf(out, 64, ".morsel-cp.%ld.%llu", (long)getpid(),
		 (unsigned long long)atomic_fetch_add(&cp->temp_names, 1));
}
