/* SPDX-License-Identifier: MIT */
#include "fs/fusermount.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/buf.h"

#define HELPER "fusermount3"
#define COMMFD 3 /* in the helper: where it sends the descriptor */
#define SAID_MAX 4096

struct helper {
	pid_t pid;
	int said_fd; /* what it writes to stderr */
};

/* argv[0] is looked up in PATH. comm_fd becomes COMMFD; -1: none is needed. */
static int helper_start(char *const argv[], int comm_fd, struct helper *ret, struct error *err)
{
	extern char **environ;
	_cleanup_(freep) char **env = NULL;
	char comm_text[32];
	posix_spawn_file_actions_t actions;
	size_t n = 0, kept = 1;
	int said[2], r;

	snprintf(comm_text, sizeof(comm_text), "_FUSE_COMMFD=%d", COMMFD);
	while (environ[n])
		n++;
	env = calloc(n + 2, sizeof(*env));
	if (!env)
		return -ENOMEM;
	env[0] = comm_text;
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], "_FUSE_COMMFD=", strlen("_FUSE_COMMFD=")))
			env[kept++] = environ[i];
	if (pipe2(said, O_CLOEXEC) < 0)
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, said[1], 2);
	if (comm_fd >= 0)
		posix_spawn_file_actions_adddup2(&actions, comm_fd, COMMFD);
	r = -posix_spawnp(&ret->pid, argv[0], &actions, NULL, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	close(said[1]);
	if (r < 0) {
		close(said[0]);
		if (r == -ENOENT)
			return error_set(err, r,
					 "users need " HELPER " to mount; install the package "
					 "fuse3");
		return error_set_errno(err, r, "can't run " HELPER);
	}
	ret->said_fd = said[0];
	return 0;
}

/* The first line it said, into said; 0 when it ended well. */
static int helper_finish(struct helper *h, char said[static SAID_MAX])
{
	size_t at = 0;
	ssize_t n;
	int status;

	do {
		n = read(h->said_fd, said + at, SAID_MAX - 1 - at);
		at += n > 0 ? (size_t)n : 0;
	} while ((n > 0 && at < SAID_MAX - 1) || (n < 0 && errno == EINTR));
	close(h->said_fd);
	said[at] = 0;
	said[strcspn(said, "\n")] = 0;
	while (waitpid(h->pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EPERM;
}

static int fd_receive(int sock)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *c;
	ssize_t n;
	int fd;

	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
	    c->cmsg_len != CMSG_LEN(sizeof(int)))
		return -EPROTO;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

int fusermount_mount(const char *dir, const char *options, struct error *err)
{
	char *const argv[] = {(char *)HELPER, (char *)"-o", (char *)options,
			      (char *)"--",   (char *)dir,  NULL};
	_cleanup_(closep) int fd = -1;
	char said[SAID_MAX];
	struct helper h;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	/* dup2 onto itself would leave it close-on-exec */
	if (pair[0] == COMMFD) {
		int other = fcntl(pair[0], F_DUPFD_CLOEXEC, COMMFD + 1);

		close(pair[0]);
		pair[0] = other;
	}
	r = pair[0] < 0 ? -EMFILE : helper_start(argv, pair[0], &h, err);
	closep(&pair[0]);
	if (r >= 0) {
		fd = fd_receive(pair[1]); /* its end of file comes when the helper ends */
		r = helper_finish(&h, said);
		if (r < 0 || fd < 0)
			r = error_set(err, -EPERM, "can't mount on %s: %s", dir,
				      *said ? said : HELPER " failed without a word");
	}
	close(pair[1]);
	return r < 0 ? r : steal_fd(&fd);
}

int fusermount_umount(const char *dir, bool lazy, struct error *err)
{
	char *const argv[] = {(char *)HELPER,
			      (char *)"-u",
			      (char *)(lazy ? "-z" : "--"),
			      (char *)(lazy ? "--" : dir),
			      (char *)(lazy ? dir : NULL),
			      NULL};
	char said[SAID_MAX];
	struct helper h;
	int r = helper_start(argv, -1, &h, err);

	if (r < 0)
		return r;
	r = helper_finish(&h, said);
	if (r >= 0)
		return 0;
	if (strstr(said, "busy"))
		return -EBUSY;
	return error_set(err, -EPERM, "can't unmount %s: %s", dir,
			 *said ? said : HELPER " failed without a word");
}
