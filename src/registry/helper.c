/* SPDX-License-Identifier: MIT */
#include "registry/helper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "registry/conf.h"
#include "registry/helper_reply.h"

#define TIMEOUT_NS (30 * NS_PER_S)
#define LOOK_AGAIN_MS 50

struct helper_run {
	const struct seam *seam;
	const char *what;
	pid_t pid;
	int out; /* our end of the pipe it writes to */
	uint64_t deadline_ns;
	const atomic_bool *cancel;
	struct buf reply;
};

/* Only absolute directories that others can't write to, only programs that root may trust. */
static char *program_find(const char *file)
{
	const char *path = conf_env("PATH"), *at = path ? path : "/usr/bin:/bin";

	while (*at) {
		size_t n = strcspn(at, ":");
		struct stat dir, st;
		char *name;

		if (asprintf(&name, "%.*s/%s", (int)n, at, file) < 0)
			return NULL;
		name[n] = 0;
		if (*name == '/' && !stat(name, &dir) && !(dir.st_mode & S_IWOTH)) {
			name[n] = '/';
			if (!stat(name, &st) && S_ISREG(st.st_mode) && !access(name, X_OK) &&
			    conf_owner_ok(st.st_uid))
				return name;
		}
		free(name);
		at += n + (at[n] == ':');
	}
	return NULL;
}

static int spawn_with(struct helper_run *h, const char *program, int child_in, int child_out)
{
	char verb[] = "get", *argv[] = {(char *)program, verb, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_adddup2(&files, child_in, 0);
	posix_spawn_file_actions_adddup2(&files, child_out, 1);
	posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addclosefrom_np(&files, 3);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETPGROUP);
	r = posix_spawn(&h->pid, program, &files, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return -r;
}

/* Pipes above 2, so that the child's dup2() never meets its own target. */
static int pipe_high(int fds[2])
{
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		int high = fcntl(fds[i], F_DUPFD_CLOEXEC, 3), e = errno;

		close(fds[i]);
		fds[i] = high;
		if (high < 0) {
			close(fds[!i]);
			return -e;
		}
	}
	return 0;
}

/* What it is to read fits into the pipe, so that it is written before there is a reader. */
static int helper_start(struct helper_run *h, const char *program, const char *server)
{
	int to[2], from[2], r = pipe_high(to);

	if (r < 0)
		return r;
	r = dprintf(to[1], "%s\n", server) < 0 ? -errno : pipe_high(from);
	close(to[1]);
	if (r >= 0) {
		r = spawn_with(h, program, to[0], from[1]);
		close(from[1]);
		h->out = from[0];
	}
	close(to[0]);
	return r;
}

/* Until the end of its output. */
static int reply_read(struct helper_run *h, struct error *err)
{
	for (;;) {
		struct pollfd p = {.fd = h->out, .events = POLLIN};
		char piece[4096];
		ssize_t n;

		if (h->cancel && atomic_load(h->cancel))
			return error_set(err, -ECANCELED, "interrupted");
		if (h->seam->monotonic_ns(h->seam) >= h->deadline_ns)
			return error_set(err, -ETIMEDOUT, "%s gave no answer within %llu s",
					 h->what, (unsigned long long)(TIMEOUT_NS / NS_PER_S));
		if (poll(&p, 1, LOOK_AGAIN_MS) <= 0)
			continue;
		n = read(h->out, piece, sizeof(piece));
		if (n < 0 && errno != EINTR)
			return error_set_errno(err, -errno, "%s", h->what);
		if (!n)
			return 0;
		if (n > 0 && buf_append(&h->reply, piece, (size_t)n) < 0)
			return error_set(err, -E2BIG, "%s: its answer has more than %zu bytes",
					 h->what, HELPER_REPLY_MAX);
		explicit_bzero(piece, sizeof(piece));
	}
}

/* true: it exited with 0. One that closed its output and goes on is given until the deadline. */
static bool helper_end(struct helper_run *h, bool kill_it)
{
	int status = -1;

	for (;;) {
		pid_t got;

		if (kill_it || h->seam->monotonic_ns(h->seam) >= h->deadline_ns ||
		    (h->cancel && atomic_load(h->cancel)))
			kill(-h->pid, SIGKILL);
		got = waitpid(h->pid, &status, kill_it ? 0 : WNOHANG);
		if (got == h->pid || (got < 0 && errno != EINTR))
			break;
		if (!got)
			h->seam->sleep_until(h->seam, h->seam->monotonic_ns(h->seam) + NS_PER_MS);
	}
	return status == 0;
}

static int helper_run(struct helper_run *h, const char *program, const char *server,
		      struct credential *ret, struct error *err)
{
	bool good;
	int r = helper_start(h, program, server);

	if (r >= 0) {
		r = reply_read(h, err);
		good = helper_end(h, r < 0);
		if (r >= 0)
			r = helper_reply_parse(h->reply.data ? (void *)h->reply.data : "",
					       h->reply.len, !good, h->what, ret, err);
	} else
		error_set_errno(err, r, "%s can't be run", h->what);
	if (h->out >= 0)
		close(h->out);
	if (h->reply.data)
		explicit_bzero(h->reply.data, h->reply.cap);
	buf_fini(&h->reply);
	return r;
}

int helper_ask(const struct seam *seam, const char *name, const char *server,
	       const atomic_bool *cancel, struct credential *ret, struct error *err)
{
	_cleanup_(freep) char *program = NULL;
	char what[HELPER_NAME_MAX + 64];
	struct helper_run h = {.seam = seam,
			       .what = what,
			       .out = -1,
			       .cancel = cancel,
			       .deadline_ns = seam->monotonic_ns(seam) + TIMEOUT_NS,
			       .reply = BUF_INIT_MAX(HELPER_REPLY_MAX)};

	if (!helper_name_ok(name))
		return error_set(
			err, -EPERM,
			"\"%.80s\" is no name of a credential helper: only letters, digits, "
			"'.', '_' and '-' may be in it",
			name);
	snprintf(what, sizeof(what), "docker-credential-%s", name);
	program = program_find(what);
	if (!program)
		return error_set(err, -ENOENT, "credential helper %s is not in $PATH", what);
	snprintf(what, sizeof(what), "credential helper docker-credential-%s", name);
	return helper_run(&h, program, server, ret, err);
}
