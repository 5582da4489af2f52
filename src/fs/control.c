/* SPDX-License-Identifier: MIT */
/*
 * The socket listens under a passing name before it gets its own by rename: whoever finds it can
 * connect, so one that refuses is a dead server's and may be swept away. The kernel gives a dead
 * mount's number to the next one at once; therefore names are replaced, never trusted, and at the
 * end only the inode that we made is removed.
 */
#include "fs/control.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "base/thread.h"

#define CLIENTS_MAX 32
#define REQUEST_MAX 256
#define ACCEPT_PAUSE_MS 1000 /* after accept() failed: the cause does not go away at once */

struct control_server {
	const struct fs_params *p;
	pthread_t thread;
	struct control_socket socket;
	int stop_fd;
	int clients[CLIENTS_MAX]; /* -1 = free; silent ones wait for our end */
	/* The one client that is answered at length. */
	pthread_t profiler;
	bool profiler_runs; /* must be joined */
	atomic_bool profiler_done;
	int profiler_fd;
	char profiler_request[REQUEST_MAX];
};

/* ---- one client ---- */

static bool peer_is_allowed(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) &&
	       (cred.uid == geteuid() || !cred.uid);
}

/* False: it could not be taken now. */
static bool client_accept(struct control_server *c)
{
	int fd = accept4(c->socket.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return errno == EAGAIN || errno == ECONNABORTED || errno == EINTR;
	for (int i = 0; i < CLIENTS_MAX && peer_is_allowed(fd); i++)
		if (c->clients[i] < 0) {
			c->clients[i] = fd;
			return true;
		}
	close(fd);
	return true;
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

static void *profiler_thread(void *arg)
{
	struct control_server *c = arg;

	c->p->profile(c->p->control_userdata, c->profiler_fd, c->stop_fd, c->profiler_request);
	close(c->profiler_fd);
	atomic_store(&c->profiler_done, true);
	return NULL;
}

/* Takes *fd over. */
static void profiler_start(struct control_server *c, int *fd, const char *request)
{
	if (c->profiler_runs && atomic_load(&c->profiler_done)) {
		pthread_join(c->profiler, NULL);
		c->profiler_runs = false;
	}
	if (c->profiler_runs) {
		reply_send(*fd, "error -16 it is being profiled already\n"); /* -EBUSY */
		return;
	}
	c->profiler_fd = *fd;
	strcpy(c->profiler_request, request);
	atomic_store(&c->profiler_done, false);
	c->profiler_runs = thread_start(&c->profiler, "morsel-profile", profiler_thread, c) >= 0;
	if (c->profiler_runs)
		*fd = -1;
}

/* Requests are short: one that does not come in one piece is nobody's of ours. */
static void client_serve(struct control_server *c, int *fd)
{
	char line[REQUEST_MAX];
	ssize_t n = recv(*fd, line, sizeof(line) - 1, 0);
	char *reply;

	if (n > 0) {
		line[n] = 0;
		line[strcspn(line, "\n")] = 0;
	}
	if (n > 0 && c->p->profile && !strncmp(line, "profile ", 8))
		profiler_start(c, fd, line);
	else if (n > 0) {
		reply = c->p->control(c->p->control_userdata, line);
		if (reply)
			reply_send(*fd, reply);
		free(reply);
	}
	closep(fd);
	*fd = -1;
}

static void *control_thread(void *arg)
{
	struct control_server *c = arg;
	bool accepting = true;

	for (;;) {
		struct pollfd fds[2 + CLIENTS_MAX] = {
			{.fd = c->stop_fd, .events = POLLIN},
			{.fd = accepting ? c->socket.fd : -1, .events = POLLIN}};

		for (int i = 0; i < CLIENTS_MAX; i++)
			fds[2 + i] = (struct pollfd){.fd = c->clients[i], .events = POLLIN};
		if (poll(fds, 2 + CLIENTS_MAX, accepting ? -1 : ACCEPT_PAUSE_MS) < 0 &&
		    errno != EINTR)
			break;
		if (fds[0].revents)
			break;
		for (int i = 0; i < CLIENTS_MAX; i++)
			if (fds[2 + i].revents)
				client_serve(c, &c->clients[i]);
		accepting = !fds[1].revents || client_accept(c);
	}
	return NULL;
}

/* ---- the socket ---- */

/* A socket there that nobody listens to any more. */
static bool is_stale(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || strlen(path) >= sizeof(a.sun_path))
		return false;
	strcpy(a.sun_path, path);
	return connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 && errno == ECONNREFUSED;
}

static void stale_sweep(const char *dir)
{
	char path[PATH_MAX];
	struct dirent *e;
	DIR *d = opendir(dir);

	while (d && (e = readdir(d))) {
		unsigned ma, mi;
		int end = 0;

		if (sscanf(e->d_name, "%u-%u.sock%n", &ma, &mi, &end) != 2 || !end ||
		    e->d_name[end])
			continue;
		if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) < sizeof(path) &&
		    is_stale(path))
			unlink(path);
	}
	if (d)
		closedir(d);
}

static int socket_make(struct control_socket *s, const char *dir, dev_t dev)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct stat st;

	if ((size_t)snprintf(s->path, sizeof(s->path), "%s/%u-%u.sock", dir, major(dev),
			     minor(dev)) >= sizeof(s->path) ||
	    (size_t)snprintf(a.sun_path, sizeof(a.sun_path), "%s/new-%d", dir, (int)gettid()) >=
		    sizeof(a.sun_path))
		return -ENAMETOOLONG;
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd < 0)
		return -errno;
	unlink(a.sun_path);
	if (bind(s->fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	if (chmod(a.sun_path, 0600) < 0 || listen(s->fd, 16) < 0 || lstat(a.sun_path, &st) < 0 ||
	    rename(a.sun_path, s->path) < 0) {
		int r = -errno;

		unlink(a.sun_path);
		return r;
	}
	s->ino = st.st_ino;
	return 0;
}

/* The number may be another mount's already, whose socket this is then. */
static void socket_remove(const struct control_socket *s)
{
	struct stat st;

	if (!lstat(s->path, &st) && st.st_ino == s->ino)
		unlink(s->path);
}

/* ---- life ---- */

static void control_free(struct control_server *c)
{
	socket_remove(&c->socket);
	for (int i = 0; i < CLIENTS_MAX; i++)
		closep(&c->clients[i]);
	closep(&c->socket.fd);
	closep(&c->stop_fd);
	free(c);
}
DEFINE_CLEANUP(struct control_server *, control_free)

int control_listen(dev_t dev, struct control_socket *ret, struct error *err)
{
	struct control_socket s = {.fd = -1};
	char dir[PATH_MAX];
	int r = control_dir_make(dir, sizeof(dir), err);

	if (r < 0)
		return r;
	stale_sweep(dir);
	r = socket_make(&s, dir, dev);
	if (r < 0) {
		closep(&s.fd);
		return error_set_errno(err, r, "can't listen in %s", dir);
	}
	*ret = s;
	return 0;
}

int control_start(const struct fs_params *p, const struct control_socket *s,
		  struct control_server **ret, struct error *err)
{
	_cleanup_(control_freep) struct control_server *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		close(s->fd);
		return -ENOMEM;
	}
	c->p = p;
	c->socket = *s;
	c->stop_fd = eventfd(0, EFD_CLOEXEC);
	for (int i = 0; i < CLIENTS_MAX; i++)
		c->clients[i] = -1;
	if (c->stop_fd < 0)
		return error_set_errno(err, -errno, "can't make an event descriptor");
	r = thread_start(&c->thread, "morsel-control", control_thread, c);
	if (r < 0)
		return error_set_errno(err, r, "can't start a thread");
	*ret = steal_ptr(c);
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
	if (c->profiler_runs)
		pthread_join(c->profiler, NULL);
	control_free(c);
}
