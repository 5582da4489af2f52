/* SPDX-License-Identifier: MIT */
/*
 * One Unix socket a mount, named after its device number, in a directory that only its owner can
 * enter; the peer's user is checked all the same. One line in, one JSON document out. It answers
 * also while the filesystem itself waits for the network: it has a thread of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "fs/fs_impl.h"

#define CLIENTS_MAX 32

struct control_server {
	struct fs *f;
	pthread_t thread;
	int listen_fd, stop_fd;
	int clients[CLIENTS_MAX]; /* -1 = free; silent ones wait for our end */
	char path[PATH_MAX];
	ino_t socket_ino; /* of path, when we made it */
};

static void dir_name(char *out, size_t n)
{
	const char *own = getenv("MORSEL_RUNTIME_DIR"), *xdg = getenv("XDG_RUNTIME_DIR");

	if (own && *own == '/')
		snprintf(out, n, "%s", own);
	else if (!geteuid())
		snprintf(out, n, "/run/morsel");
	else if (xdg && *xdg == '/')
		snprintf(out, n, "%s/morsel", xdg);
	else
		snprintf(out, n, "/tmp/morsel-%u", geteuid());
}

int control_path(dev_t dev, bool create, char *out, size_t n, struct error *err)
{
	char dir[PATH_MAX];
	struct stat st;

	dir_name(dir, sizeof(dir));
	if (create)
		mkdir(dir, 0700);
	if (lstat(dir, &st) < 0)
		return error_set_errno(err, -errno, "%s (where control sockets are)", dir);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || st.st_mode & 077)
		return error_set(err, -EACCES, "%s must be a directory of yours with mode 0700",
				 dir);
	if ((size_t)snprintf(out, n, "%s/%u-%u.sock", dir, major(dev), minor(dev)) >= n)
		return -ENAMETOOLONG;
	return 0;
}

static bool peer_is_allowed(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) &&
	       (cred.uid == geteuid() || !cred.uid);
}

static void client_accept(struct control_server *c)
{
	int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	for (int i = 0; i < CLIENTS_MAX && peer_is_allowed(fd); i++)
		if (c->clients[i] < 0) {
			c->clients[i] = fd;
			return;
		}
	close(fd);
}

static void reply_send(int fd, const char *text)
{
	size_t n = strlen(text);

	while (n) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		ssize_t w = send(fd, text, n, MSG_NOSIGNAL);

		if (w < 0 && errno == EAGAIN && poll(&p, 1, 1000) > 0)
			continue;
		if (w <= 0)
			return;
		text += w;
		n -= (size_t)w;
	}
}

/* Requests are short: one that does not come in one piece is nobody's of ours. */
static void client_serve(struct control_server *c, int *fd)
{
	char line[256];
	ssize_t n = recv(*fd, line, sizeof(line) - 1, 0);
	char *reply;

	if (n > 0) {
		line[n] = 0;
		line[strcspn(line, "\n")] = 0;
		reply = c->f->p.control(c->f->p.control_userdata, line);
		if (reply)
			reply_send(*fd, reply);
		free(reply);
	}
	close(*fd);
	*fd = -1;
}

static void *control_thread(void *arg)
{
	struct control_server *c = arg;

	for (;;) {
		struct pollfd fds[2 + CLIENTS_MAX] = {{.fd = c->stop_fd, .events = POLLIN},
						      {.fd = c->listen_fd, .events = POLLIN}};

		for (int i = 0; i < CLIENTS_MAX; i++)
			fds[2 + i] = (struct pollfd){.fd = c->clients[i], .events = POLLIN};
		if (poll(fds, 2 + CLIENTS_MAX, -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents)
			break;
		for (int i = 0; i < CLIENTS_MAX; i++)
			if (fds[2 + i].revents)
				client_serve(c, &c->clients[i]);
		if (fds[1].revents)
			client_accept(c);
	}
	return NULL;
}

static int control_listen(struct control_server *c)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct stat st;

	if (strlen(c->path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	strcpy(a.sun_path, c->path);
	c->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->listen_fd < 0)
		return -errno;
	unlink(c->path); /* of a dead mount that had this number */
	if (bind(c->listen_fd, (struct sockaddr *)&a, sizeof(a)) < 0 || chmod(c->path, 0600) < 0 ||
	    listen(c->listen_fd, 16) < 0)
		return -errno;
	if (lstat(c->path, &st) < 0)
		return -errno;
	c->socket_ino = st.st_ino;
	c->stop_fd = eventfd(0, EFD_CLOEXEC);
	return c->stop_fd < 0 ? -errno : 0;
}

/* The kernel may have given our number to another mount already, whose socket this is then. */
static void socket_remove(const struct control_server *c)
{
	struct stat st;

	if (!lstat(c->path, &st) && st.st_ino == c->socket_ino)
		unlink(c->path);
}

int control_start(struct fs *f, dev_t dev, struct control_server **ret, struct error *err)
{
	struct control_server *c = calloc(1, sizeof(*c));
	sigset_t all, old;
	int r;

	if (!c)
		return -ENOMEM;
	c->f = f;
	c->listen_fd = c->stop_fd = -1;
	for (int i = 0; i < CLIENTS_MAX; i++)
		c->clients[i] = -1;
	r = control_path(dev, true, c->path, sizeof(c->path), err);
	if (r >= 0) {
		r = control_listen(c);
		if (r < 0)
			error_set_errno(err, r, "can't listen on %s", c->path);
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (r >= 0)
		r = -pthread_create(&c->thread, NULL, control_thread, c);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0) {
		closep(&c->listen_fd);
		closep(&c->stop_fd);
		free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void control_stop(struct control_server *c)
{
	uint64_t one = 1;

	if (!c)
		return;
	if (write(c->stop_fd, &one, sizeof(one)) < 0)
		abort(); /* an eventfd of ours that never overflows */
	pthread_join(c->thread, NULL);
	socket_remove(c);
	for (int i = 0; i < CLIENTS_MAX; i++)
		closep(&c->clients[i]);
	closep(&c->listen_fd);
	closep(&c->stop_fd);
	free(c);
}
