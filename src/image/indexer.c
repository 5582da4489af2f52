/* SPDX-License-Identifier: MIT */
#include "image/indexer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "image/indexer_path.h"

#define SEND_BUFFER (1 << 20)

struct indexer {
	pid_t pid;
	int in_fd;  /* our end of the helper's stdin; -1 when closed */
	int err_fd; /* its stderr */
};

struct spawn_fds {
	int in, data, table, err; /* the helper's ends */
};

/* posix_spawn, not fork: the host may have threads. Descriptors are moved far up first, so that no
 * dup2 overwrites one that is still needed. */
static int helper_spawn(const char *path, char *const argv[], const struct spawn_fds *fds,
			pid_t *ret)
{
	char *const env[] = {NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, defaults;
	int r;

	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	sigaddset(&defaults, SIGTERM);
	sigaddset(&defaults, SIGINT);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETPGROUP);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	posix_spawn_file_actions_adddup2(&actions, fds->in, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, fds->err, 2);
	posix_spawn_file_actions_adddup2(&actions, fds->table, 4);
	if (fds->data >= 0)
		posix_spawn_file_actions_adddup2(&actions, fds->data, 3);
	else /* whatever the host has there */
		posix_spawn_file_actions_addclose(&actions, 3);
	posix_spawn_file_actions_addclosefrom_np(&actions, 5);
	r = posix_spawn(ret, path, &actions, &attr, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return -r;
}

static int fd_raise(int fd, int *ret)
{
	*ret = fcntl(fd, F_DUPFD_CLOEXEC, 10);
	return *ret < 0 ? -errno : 0;
}

static void spawn_fds_fini(struct spawn_fds *f)
{
	closep(&f->in);
	closep(&f->data);
	closep(&f->table);
	closep(&f->err);
}

static int pipes_make(const struct indexer_params *p, struct indexer *ix, struct spawn_fds *f)
{
	_cleanup_(closep) int in = -1, err = -1;
	int size = SEND_BUFFER, sv[2], pv[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	ix->in_fd = sv[0];
	in = sv[1];
	setsockopt(ix->in_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (pipe2(pv, O_CLOEXEC) < 0)
		return -errno;
	ix->err_fd = pv[0];
	err = pv[1];
	r = fd_raise(in, &f->in);
	if (r >= 0)
		r = fd_raise(err, &f->err);
	if (r >= 0)
		r = fd_raise(p->table_fd, &f->table);
	if (r >= 0 && p->data_fd >= 0)
		r = fd_raise(p->data_fd, &f->data);
	return r;
}

int indexer_start(const struct indexer_params *p, struct indexer **ret, struct error *err)
{
	_cleanup_(indexer_freep) struct indexer *ix = calloc(1, sizeof(*ix));
	_cleanup_(spawn_fds_fini) struct spawn_fds fds = {-1, -1, -1, -1};
	char path[PATH_MAX], format[24], blob[24], end[24], entries[24];
	char *argv[] = {(char *)INDEXER_NAME, format, blob, end, entries, NULL};
	int r;

	if (!ix)
		return -ENOMEM;
	ix->in_fd = ix->err_fd = -1;
	if (p->helper_path)
		snprintf(path, sizeof(path), "%s", p->helper_path);
	else if ((r = indexer_path_find(path, err)) < 0)
		return r;
	snprintf(format, sizeof(format), "%d", (int)p->format);
	snprintf(blob, sizeof(blob), "%llu", (unsigned long long)p->blob_bytes);
	snprintf(end, sizeof(end), "%llu", (unsigned long long)p->data_end);
	snprintf(entries, sizeof(entries), "%llu", (unsigned long long)p->max_entries);
	r = pipes_make(p, ix, &fds);
	if (r >= 0)
		r = helper_spawn(path, argv, &fds, &ix->pid);
	if (r < 0)
		return error_set_errno(err, r, "can't start %s", path);
	*ret = steal_ptr(ix);
	return 0;
}

int indexer_feed(struct indexer *ix, const void *data, size_t n, struct error *err)
{
	const uint8_t *p = data;

	while (n) {
		ssize_t w = send(ix->in_fd, p, n, MSG_NOSIGNAL);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0) /* it ended early: its own words say why */
			return indexer_finish(ix, err) < 0
				       ? (err && err->code ? err->code : -EBADMSG)
				       : error_set(err, -EBADMSG,
						   "data goes on after the layer's end");
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

/* "ERRNO text" */
static int helper_error(const char *line, struct error *err)
{
	char *text;
	long code = strtol(line, &text, 10);

	if (code <= 0 || code > 4095 || *text != ' ')
		return error_set(err, -EBADMSG, "the indexer failed: %.200s", line);
	return error_set(err, -(int)code, "%.600s", text + 1);
}

int indexer_finish(struct indexer *ix, struct error *err)
{
	char line[1024];
	size_t n = 0;
	int status;

	if (ix->in_fd >= 0)
		close(steal_fd(&ix->in_fd));
	for (;;) {
		ssize_t got = read(ix->err_fd, line + n, sizeof(line) - 1 - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0 || n + (size_t)got == sizeof(line) - 1) {
			n += got > 0 ? (size_t)got : 0;
			break;
		}
		n += (size_t)got;
	}
	line[n] = 0;
	line[strcspn(line, "\n")] = 0;
	while (waitpid(ix->pid, &status, 0) < 0 && errno == EINTR)
		;
	ix->pid = 0;
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	if (WIFSIGNALED(status))
		return error_set(err, -EBADMSG, "the indexer died of signal %d while reading it",
				 WTERMSIG(status));
	return helper_error(line, err);
}

void indexer_free(struct indexer *ix)
{
	if (!ix)
		return;
	if (ix->pid > 0) {
		kill(ix->pid, SIGKILL);
		while (waitpid(ix->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	closep(&ix->in_fd);
	closep(&ix->err_fd);
	free(ix);
}
