/* SPDX-License-Identifier: MIT */
/*
 * Whoever reads through a mount must not be the one who serves it: each would wait for the other.
 * So a process of one thread is forked first, before there is anything to inherit. It gets the name
 * of a directory, has a child of its own do the reading, in a process group of its own, and answers
 * with how that ended. Anything more that it gets, and the end of the connection, mean that the
 * group is to be killed. At the end of the connection it unmounts what it read last, for whoever
 * was killed before doing that.
 */
#include "cli/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the child ---- */

static char *walk_buffer;
static char walk_error[512];
#define WALK_BYTES ((size_t)1 << 20)

static int file_read(const char *path, const struct stat *st, int type, struct FTW *at)
{
	ssize_t n = 0;
	int fd;

	if (type == FTW_DNR || type == FTW_NS)
		errno = EACCES;
	else if (type != FTW_F || !S_ISREG(st->st_mode))
		return 0;
	fd = type == FTW_F ? open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
	while (fd >= 0 && (n = read(fd, walk_buffer, WALK_BYTES)) > 0)
		;
	if ((fd < 0 || n < 0) && !walk_error[0]) /* the others are read all the same */
		snprintf(walk_error, sizeof(walk_error), "%.400s: can't read it: %s", path,
			 strerror(errno));
	if (fd >= 0)
		close(fd);
	return 0;
}

static void all_read(const char *dir)
{
	walk_buffer = malloc(WALK_BYTES);
	if (!walk_buffer || (nftw(dir, file_read, 64, FTW_PHYS | FTW_MOUNT) < 0 && !walk_error[0]))
		snprintf(walk_error, sizeof(walk_error), "%.400s: can't list it: %s", dir,
			 strerror(errno));
}

static void child_say(int fd, const char *text)
{
	if (write(fd, text, strlen(text)) < 0)
		_exit(126);
}

static void command_run(const struct load *l, const char *dir, int fd)
{
	char text[512];
	int code;

	if (setenv("MORSEL_MOUNT", dir, 1) >= 0)
		execvp(l->command[0], l->command);
	code = errno == ENOENT ? 127 : 126; /* as shells do */
	snprintf(text, sizeof(text), "%.400s: can't run it: %s", l->command[0], strerror(errno));
	child_say(fd, text);
	_exit(code);
}

static _Noreturn void child_main(const struct load *l, const char *dir, int fd)
{
	int null_fd = open("/dev/null", O_RDONLY);
	struct morsel_error err = {0};

	setpgid(0, 0);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (null_fd >= 0)
		dup2(null_fd, 0);
	if (l->quiet_stdout)
		dup2(2, 1);
	if (l->kind == LOAD_COMMAND)
		command_run(l, dir, fd);
	if (l->kind == LOAD_READ_ALL)
		all_read(dir);
	else if (morsel_replay(l->replay, dir, &err) < 0)
		snprintf(walk_error, sizeof(walk_error), "%.500s", err.text);
	child_say(fd, walk_error);
	_exit(walk_error[0] ? 1 : 0);
}

/* ---- its parent ---- */

/* Until it has ended, or somebody wants it to. */
static void child_wait(int sock, pid_t pid, int *ret_status)
{
	int pidfd = pidfd_open(pid, 0);
	struct pollfd fds[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = sock, .events = POLLIN}};

	while (poll(fds, 2, -1) < 0 && errno == EINTR)
		;
	kill(-pid, SIGKILL); /* what it left behind, too */
	while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
		;
	if (pidfd >= 0)
		close(pidfd);
}

static void request_serve(const struct load *l, int sock, const char *dir)
{
	struct load_result res = {0};
	int fds[2] = {-1, -1};
	pid_t pid = pipe2(fds, O_CLOEXEC) < 0 ? -1 : fork();

	if (!pid)
		child_main(l, dir, fds[1]);
	close(fds[1]);
	if (pid > 0) {
		setpgid(pid, pid); /* both do: whoever comes first */
		child_wait(sock, pid, &res.status);
		if (read(fds[0], res.text, sizeof(res.text) - 1) < 0)
			res.text[0] = 0;
	} else
		snprintf(res.text, sizeof(res.text), "can't start a process: %s", strerror(errno));
	close(fds[0]);
	send(sock, &res, sizeof(res), MSG_NOSIGNAL); /* nobody there: recv() will say so, too */
}

/* Who asked is gone. When it was killed it left its mount there, and what is beside that. */
static void left_clean(char *dir)
{
	struct morsel_error err;

	if (!dir[0])
		return;
	morsel_umount(dir, true, &err);
	*strrchr(dir, '/') = 0;
	temporary_remove(dir, false);
}

static _Noreturn void process_main(const struct load *l, int sock)
{
	char dir[PATH_MAX], last[PATH_MAX] = "";
	ssize_t n;

	signal(SIGINT, SIG_IGN); /* those are for who asks us */
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (sock > 3)
		close_range(3, (unsigned)sock - 1, 0);
	close_range((unsigned)sock + 1, ~0u, 0);
	while ((n = recv(sock, dir, sizeof(dir) - 1, 0)) > 0) {
		dir[n] = 0;
		if (!dir[0])
			continue; /* it should end, and has */
		strcpy(last, dir);
		request_serve(l, sock, dir);
	}
	left_clean(last);
	_exit(0);
}

/* ---- who asks ---- */

int load_start(struct load *l)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	l->pid = fork();
	if (!l->pid) {
		close(fds[0]);
		process_main(l, fds[1]);
	}
	close(fds[1]);
	l->fd = fds[0];
	if (l->pid > 0)
		return 0;
	close(fds[0]);
	l->fd = -1;
	return -EAGAIN;
}

int load_run(struct load *l, const char *dir, int end_fd, struct load_result *ret)
{
	struct pollfd fds[2] = {{.fd = l->fd, .events = POLLIN}, {.fd = end_fd, .events = POLLIN}};
	bool ending = false;
	ssize_t n;

	*ret = (struct load_result){0};
	if (send(l->fd, dir, strlen(dir), MSG_NOSIGNAL) < 0)
		return -errno;
	while (!fds[0].revents) {
		if (poll(fds, ending ? 1 : 2, -1) < 0) {
			if (errno != EINTR)
				return -errno;
			fds[0].revents = 0;
		} else if (!ending && fds[1].revents) {
			ending = true;
			if (send(l->fd, "", 1, MSG_NOSIGNAL) < 0)
				return -errno;
		}
	}
	do
		n = recv(l->fd, ret, sizeof(*ret), 0);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(*ret))
		return -EPIPE;
	ret->text[sizeof(ret->text) - 1] = 0;
	return ending ? -ECANCELED : 0;
}

void load_end(struct load *l)
{
	if (l->pid <= 0)
		return;
	close(l->fd);
	while (waitpid(l->pid, NULL, 0) < 0 && errno == EINTR)
		;
	l->pid = 0;
}
