/* SPDX-License-Identifier: MIT */
/*
 * Asking a server. Which one it is comes from the mount's device number, which the kernel tells
 * without asking the server, so this also works, and fails in time, when the filesystem hangs.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "fs/control.h"
#include "fs/mountinfo.h"

#define REPLY_MAX ((size_t)16 << 20)
#define REPLY_WAIT_MS 5000
#define DEATHS_ENDURED 3 /* of servers, each before it answered: the next may */

static int socket_connect(const char *path, uid_t owner)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	strcpy(a.sun_path, path);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.uid != owner)
		return -EACCES;
	return steal_fd(&fd);
}

int control_connect(dev_t dev, uid_t owner)
{
	char dir[PATH_MAX], path[PATH_MAX];
	int r = -ENOENT;

	if (geteuid() && geteuid() != owner)
		return -EACCES;
	for (unsigned k = 0; r < 0 && control_dir_candidate(owner, k, dir, sizeof(dir)); k++) {
		if (!control_dir_is_safe(dir, owner) ||
		    (size_t)snprintf(path, sizeof(path), "%s/%u-%u.sock", dir, major(dev),
				     minor(dev)) >= sizeof(path))
			continue;
		r = socket_connect(path, owner);
	}
	return r;
}

static int request_send(int fd, const char *request)
{
	_cleanup_(buf_fini) struct buf line = BUF_INIT;
	int r = buf_printf(&line, "%s\n", request);

	/* In one piece: the server answers what it gets first. */
	if (r >= 0 && send(fd, line.data, line.len, MSG_NOSIGNAL) < 0)
		r = -errno;
	return r;
}

static int reply_read(int fd, struct buf *reply)
{
	char piece[4096];

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int r = poll(&p, 1, REPLY_WAIT_MS);
		ssize_t n;

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -ETIMEDOUT;
		n = recv(fd, piece, sizeof(piece), 0);
		if (n <= 0)
			return n < 0 ? -errno : reply->len ? 0 : -ECONNRESET;
		r = buf_append(reply, piece, (size_t)n);
		if (r < 0)
			return r;
	}
}

static bool is_death(int r)
{
	return r == -ECONNRESET || r == -EPIPE;
}

static int server_connect(const struct mount_info *m, const char *dir, struct error *err)
{
	int fd = control_connect(m->dev, m->owner);

	if (fd == -EACCES)
		return error_set(err, fd, "%s: only who mounted it, or root, may ask its server",
				 dir);
	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return error_set(err, -ENOTCONN,
				 "%s: its server is gone; morsel umount takes the mount away", dir);
	if (fd < 0)
		return error_set_errno(err, fd, "%s: can't reach its server", dir);
	return fd;
}

static int server_ask(const struct mount_info *m, const char *dir, const char *request,
		      struct buf *reply, struct error *err)
{
	_cleanup_(closep) int fd = server_connect(m, dir, err);
	int r;

	if (fd < 0)
		return fd;
	r = request_send(fd, request);
	if (r >= 0)
		r = reply_read(fd, reply);
	if (r < 0 && !is_death(r))
		return error_set_errno(err, r, "%s: its server did not answer", dir);
	return r;
}

int fs_control(const char *dir, const char *request, char **ret, struct error *err)
{
	_cleanup_(buf_fini) struct buf reply = BUF_INIT_MAX(REPLY_MAX);
	char path[PATH_MAX];
	struct mount_info m;
	int r = mountinfo_find_ours(dir, path, &m, err);

	if (r < 0)
		return r;
	r = server_ask(&m, dir, request, &reply, err);
	for (int i = 0; is_death(r) && i < DEATHS_ENDURED; i++) {
		buf_fini(&reply);
		reply = BUF_INIT_MAX(REPLY_MAX);
		r = server_ask(&m, dir, request, &reply, err);
	}
	if (is_death(r))
		return error_set(err, -ENOTCONN, "%s: its server ended instead of answering", dir);
	if (r < 0)
		return r;
	if (!buf_str(&reply))
		return -ENOMEM;
	*ret = (char *)steal_ptr(reply.data);
	reply.len = reply.cap = 0;
	return 0;
}

int fs_control_open(const char *dir, const char *request, struct error *err)
{
	_cleanup_(closep) int fd = -1;
	char path[PATH_MAX];
	struct mount_info m;
	int r = mountinfo_find_ours(dir, path, &m, err);

	if (r < 0)
		return r;
	fd = server_connect(&m, dir, err);
	if (fd < 0)
		return fd;
	r = request_send(fd, request);
	if (r < 0)
		return error_set_errno(err, r, "%s: its server does not listen", dir);
	return steal_fd(&fd);
}
