/* SPDX-License-Identifier: MIT */
#include "transfer/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/buf.h"
#include "base/dir.h"

/* Without openat2 (before Linux 5.6, or forbidden): component by component. */
static int walk_open(int dir_fd, const char *path, int flags)
{
	int at = openat(dir_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (const char *p = path; at >= 0;) {
		size_t n = strcspn(p, "/");
		char name[256];
		int next, e;

		if (n >= sizeof(name) || (n == 2 && !memcmp(p, "..", 2))) {
			close(at);
			return n == 2 ? -EXDEV : -ENAMETOOLONG;
		}
		memcpy(name, n ? p : ".", n + !n);
		name[n + !n] = 0;
		p += n + strspn(p + n, "/");
		next = openat(at, name,
			      (*p ? O_PATH : flags) | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		e = errno;
		close(at);
		errno = e;
		at = next;
		if (!*p)
			break;
	}
	return at < 0 ? -errno : at;
}

int beneath_open(int dir_fd, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long r;

	do
		r = syscall(SYS_openat2, dir_fd, *path ? path : ".", &how, sizeof(how));
	while (r < 0 && (errno == EINTR || errno == EAGAIN));
	if (r >= 0)
		return (int)r;
	return errno == ENOSYS || errno == EPERM ? walk_open(dir_fd, path, flags) : -errno;
}

void beneath_fini(struct beneath *b)
{
	closep(&b->fd);
	free(b->path);
	*b = BENEATH_INIT(b->root_fd);
}

int beneath_parent(struct beneath *b, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) : 0;

	*ret_name = slash ? slash + 1 : path;
	if (b->fd >= 0 && b->len == n && !memcmp(b->path, path, n))
		return 0;
	beneath_fini(b);
	b->path = strndup(path, n);
	b->len = n;
	if (!b->path)
		return -ENOMEM;
	b->fd = beneath_open(b->root_fd, b->path, O_PATH);
	return b->fd < 0 ? b->fd : 0;
}

int beneath_holds_something(int dir_fd)
{
	_cleanup_(closedirp) DIR *dir = dir_open(dir_fd, ".");

	return dir ? dir_next(dir) != NULL : -errno;
}

/* ---- clearing ---- */

/* Removes what it can from one directory. 1: `path` has been made longer by a directory that must
 * be cleared first. */
static int clear_one(int root_fd, struct buf *path, int *result)
{
	int fd = beneath_open(root_fd, buf_str(path) ? (char *)path->data : "", O_RDONLY), r = 0;
	_cleanup_(closedirp) DIR *dir = dir_take(fd);
	const struct dirent *d;

	if (!dir)
		return -errno;
	while ((d = dir_next(dir)) && r <= 0) {
		if (!unlinkat(fd, d->d_name, 0) || errno == ENOENT)
			continue;
		if (errno == EISDIR || errno == EPERM) {
			if (!unlinkat(fd, d->d_name, AT_REMOVEDIR))
				continue;
			if (errno == ENOTEMPTY || errno == EEXIST) {
				if (geteuid()) /* it may have its final mode */
					(void)!fchmodat(fd, d->d_name, 0700, AT_SYMLINK_NOFOLLOW);
				r = buf_printf(path, "%s%s", path->len ? "/" : "", d->d_name);
				r = r < 0 ? r : 1;
				continue;
			}
		}
		if (!*result)
			*result = -errno;
		r = *result;
	}
	return r;
}

int beneath_clear(int dir_fd)
{
	_cleanup_(buf_fini) struct buf path = BUF_INIT;
	int result = 0;

	for (;;) {
		size_t before = path.len;
		int r = clear_one(dir_fd, &path, &result);

		if (r == 1)
			continue;
		if (r < 0 || !before)
			return r;
		while (path.len && path.data[path.len - 1] != '/')
			path.len--;
		if (path.len)
			path.len--;
	}
}
