/* SPDX-License-Identifier: MIT */
/*
 * Mounts as /proc/self/mountinfo shows them, and taking one away. A directory below which a server
 * hangs or is dead must not be touched, so its name is resolved up to its parent only.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "fs/fs_impl.h"

#define GONE_WAIT_NS (10 * NS_PER_S)

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

/* "36 35 98:0 /root /mount/point opts tags... - type source superopts" */
static bool line_parse(char *line, char **ret_point, struct mount_info *ret)
{
	unsigned major, minor;
	char *p = line, *sep = strstr(line, " - "), *point = NULL;
	int n = 0;

	if (!sep || sscanf(line, "%*u %*u %u:%u %n", &major, &minor, &n) != 2 || !n)
		return false;
	sscanf(sep + 3, "%63s", ret->type);
	p = line + n;
	p = strchr(p, ' ');
	if (!p)
		return false;
	point = p + 1;
	p = strchr(point, ' ');
	if (!p)
		return false;
	*p = 0;
	octal_unescape(point);
	ret->dev = makedev(major, minor);
	*ret_point = point;
	return true;
}

int mount_lookup(const char *dir, struct mount_info *ret)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	_cleanup_(freep) char *line = NULL;
	struct mount_info m;
	size_t cap = 0;
	char *point;
	int r = -ENOENT;

	if (!f)
		return -errno;
	while (getline(&line, &cap, f) > 0)
		if (line_parse(line, &point, &m) && !strcmp(point, dir)) {
			*ret = m; /* a later one lies on top */
			r = 0;
		}
	fclose(f);
	return r;
}

/* Absolute, with symlinks of the parents resolved, but not the last component's contents. */
static int dir_resolve(const char *dir, char out[PATH_MAX], struct error *err)
{
	_cleanup_(freep) char *own = strdup(dir);
	char parent[PATH_MAX], *slash;
	size_t n = own ? strlen(own) : 0;

	if (!own)
		return -ENOMEM;
	while (n > 1 && own[n - 1] == '/')
		own[--n] = 0;
	slash = strrchr(own, '/');
	if (!strcmp(own, ".") || !strcmp(own, "..") || !strcmp(own, "/") ||
	    (slash && !strncmp(slash, "/..", 3))) {
		if (!realpath(own, out))
			return error_set_errno(err, -errno, "%s", dir);
		return 0;
	}
	if (slash)
		*slash = 0;
	if (!realpath(slash ? (*own ? own : "/") : ".", parent))
		return error_set_errno(err, -errno, "%s", dir);
	if ((size_t)snprintf(out, PATH_MAX, "%s/%s", strcmp(parent, "/") ? parent : "",
			     slash ? slash + 1 : own) >= PATH_MAX)
		return -ENAMETOOLONG;
	return 0;
}

static int morsel_mount_find(const char *dir, char path[PATH_MAX], struct mount_info *ret,
			     struct error *err)
{
	int r = dir_resolve(dir, path, err);

	if (r >= 0)
		r = mount_lookup(path, ret);
	if (r >= 0 && !strcmp(ret->type, "fuse.morsel"))
		return 0;
	if (r < 0 && r != -ENOENT)
		return error_set_errno(err, r, "%s", dir);
	return error_set(err, -ENOENT, "%s: no image is mounted there by morsel", dir);
}

static int socket_connect(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	strcpy(a.sun_path, path);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	return steal_fd(&fd);
}

int fs_control(const char *dir, const char *request, char **ret, struct error *err)
{
	_cleanup_(buf_fini) struct buf reply = BUF_INIT_MAX((size_t)16 << 20), line = BUF_INIT;
	char path[PATH_MAX], sock[PATH_MAX];
	_cleanup_(closep) int fd = -1;
	struct mount_info m;
	int r = morsel_mount_find(dir, path, &m, err);

	if (r >= 0)
		r = control_path(m.dev, false, sock, sizeof(sock), err);
	if (r < 0)
		return r;
	fd = socket_connect(sock);
	if (fd < 0)
		return error_set_errno(
			err, fd, "%s: can't ask its server (%s); only the owner of the mount can",
			dir, sock);
	/* In one piece: the server answers what it gets first. */
	r = buf_printf(&line, "%s\n", request);
	if (r >= 0 && send(fd, line.data, line.len, MSG_NOSIGNAL) < 0)
		r = -errno;
	while (r >= 0) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		char piece[4096];
		ssize_t n;

		if (poll(&p, 1, 5000) <= 0)
			return error_set(err, -ETIMEDOUT, "%s: its server does not answer", dir);
		n = recv(fd, piece, sizeof(piece), 0);
		if (n <= 0)
			break;
		r = buf_append(&reply, piece, (size_t)n);
	}
	if (r < 0 || !reply.len || !buf_str(&reply))
		return error_set_errno(err, r < 0 ? r : -EACCES, "%s: its server did not answer",
				       dir);
	*ret = (char *)steal_ptr(reply.data);
	reply.len = reply.cap = 0;
	return 0;
}

static int fusermount(const char *path, bool lazy)
{
	char *const argv[] = {(char *)"fusermount3", (char *)"-u", (char *)(lazy ? "-qz" : "-q"),
			      (char *)"--",	     (char *)path, NULL};
	extern char **environ;
	pid_t pid;
	int status, r = posix_spawnp(&pid, "fusermount3", NULL, NULL, argv, environ);

	if (r)
		return -r;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EBUSY;
}

/* The server holds its socket until it has ended; its closing end says that it has. */
static void server_gone_wait(int fd)
{
	const struct seam *s = seam_real();
	uint64_t until = s->monotonic_ns(s) + GONE_WAIT_NS;
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (fd < 0)
		return;
	while (s->monotonic_ns(s) < until)
		if (poll(&p, 1, 200) > 0)
			return;
}

int fs_umount(const char *dir, bool lazy, struct error *err)
{
	char path[PATH_MAX], sock[PATH_MAX];
	_cleanup_(closep) int fd = -1;
	struct mount_info m;
	int r = morsel_mount_find(dir, path, &m, err);

	if (r < 0)
		return r;
	if (control_path(m.dev, false, sock, sizeof(sock), NULL) >= 0)
		fd = socket_connect(sock); /* silent: only listens for its end */
	if (geteuid())
		r = fusermount(path, lazy);
	else
		r = umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) < 0 ? -errno : 0;
	if (r == -EBUSY)
		return error_set(
			err, r, "%s is busy (in use): end what uses it, or detach it with -z", dir);
	if (r < 0)
		return error_set_errno(err, r, "can't unmount %s", dir);
	if (!lazy)
		server_gone_wait(fd);
	return 0;
}
