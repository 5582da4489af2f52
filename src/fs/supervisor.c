/* SPDX-License-Identifier: MIT */
/*
 * Holds the descriptors of a mount and does nothing else, so that there is nothing in it to crash:
 * no thread, no cache, no network. The server is its child. One that is killed leaves the kernel's
 * requests unanswered but not lost: as long as somebody holds the /dev/fuse descriptor, the kernel
 * keeps them, and Linux 6.9 sends them again when asked. So the next server goes on where the last
 * one was, and whoever reads notices a pause. Inode numbers are functions of the index alone, hence
 * nothing of what the dead one knew is missing.
 *
 * When there will be no next one (see restart.h, or an older kernel), what waits is failed by
 * closing the descriptor, and the mount is taken away.
 *
 * The server is in a session of its own: what a terminal sends to all comes here only, and is
 * passed on once. When the supervisor is killed the server notices, unmounts and ends.
 */
#include "fs/supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fs/mount.h"
#include "fs/restart.h"

struct supervisor {
	const struct supervise_params *p;
	struct morsel_handover h;
	struct restart restart;
	sigset_t old;
	int signal_fd;
	pid_t server; /* 0: none */
	int status;   /* of the last one that ended */
	int end_signal;
	bool ready_called;
};

static void fd_drop(int *fd)
{
	closep(fd);
	*fd = -1;
}

/* ---- one server ---- */

static void server_be(struct supervisor *sv, int socket_fd)
{
	struct morsel_handover *h = &sv->h;

	setsid();
	close(sv->signal_fd);
	sigprocmask(SIG_SETMASK, &sv->old, NULL);
	h->socket_fd = socket_fd;
	exit(sv->p->serve(sv->p->userdata, h));
}

static int server_start(struct supervisor *sv, struct error *err)
{
	int pair[2];
	pid_t pid;

	sv->h.s.serving = false;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set_errno(err, -errno, "can't start a server");
	pid = fork();
	if (pid < 0) {
		int r = -errno;

		close(pair[0]);
		close(pair[1]);
		return error_set_errno(err, r, "can't start a server");
	}
	if (!pid) {
		close(pair[0]);
		server_be(sv, pair[1]);
	}
	close(pair[1]);
	sv->h.socket_fd = pair[0];
	sv->server = pid;
	return 0;
}

static void news_take(struct supervisor *sv)
{
	int listening = sv->h.listen_fd;

	if (handover_hear(&sv->h) < 0)
		fd_drop(&sv->h.socket_fd);
	if (sv->h.listen_fd >= 0 && sv->h.listen_fd != listening)
		listen(sv->h.listen_fd, 16); /* who connects sees our number from now on */
	if (sv->h.s.serving && !sv->ready_called) {
		sv->ready_called = true;
		if (sv->p->ready)
			sv->p->ready(sv->p->userdata);
	}
}

static void signals_read(struct supervisor *sv)
{
	struct signalfd_siginfo info;

	while (read(sv->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			continue;
		sv->end_signal = (int)info.ssi_signo;
		if (sv->server)
			kill(sv->server, sv->end_signal);
	}
	if (sv->server && waitpid(sv->server, &sv->status, WNOHANG) == sv->server)
		sv->server = 0;
}

/* Until the server has ended, or, without one, for so long, or until we are told to end. */
static void watch(struct supervisor *sv, uint64_t until_ns)
{
	const struct seam *s = sv->p->seam;

	while (sv->server || (!sv->end_signal && s->monotonic_ns(s) < until_ns)) {
		struct pollfd fds[2] = {{.fd = sv->signal_fd, .events = POLLIN},
					{.fd = sv->h.socket_fd, .events = POLLIN}};
		uint64_t now = s->monotonic_ns(s);
		int ms = sv->server ? -1
				    : (int)((until_ns - min_u64(now, until_ns)) / NS_PER_MS) + 1;

		if (poll(fds, 2, ms) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			news_take(sv);
		if (fds[0].revents)
			signals_read(sv);
	}
	if (sv->h.socket_fd >= 0)
		news_take(sv); /* what it said last */
	fd_drop(&sv->h.socket_fd);
}

/* ---- the end ---- */

/* The descriptor goes first: what waits for an answer fails, instead of keeping the mount busy. */
static void mount_end(struct supervisor *sv)
{
	const struct handover_state *s = &sv->h.s;
	struct mount_info m;
	struct stat st;

	fd_drop(&sv->h.fuse_fd);
	if (s->mounting && mountinfo_lookup(s->path, &m) >= 0 && mountinfo_is_ours(&m) &&
	    (!s->mounted || (m.id == s->mount.id && m.dev == s->mount.dev)) &&
	    mount_remove(s->path, false, NULL) == -EBUSY)
		mount_remove(s->path, true, NULL);
	if (s->socket_path[0] && !lstat(s->socket_path, &st) && st.st_ino == s->socket_ino)
		unlink(s->socket_path);
	fd_drop(&sv->h.listen_fd);
}

/* Why the server that was killed gets no successor; else the time to wait before it does. */
static int64_t successor_wait(struct supervisor *sv, struct error *err)
{
	const struct handover_state *s = &sv->h.s;
	int sig = WTERMSIG(sv->status);
	int64_t ns;

	if (!s->mounted)
		return error_set(err, -ECHILD,
				 "the server was killed by signal %d before the mount answered",
				 sig);
	if (!handover_can_resend(s))
		return error_set(err, -ENOTSUP,
				 "%s: the server was killed by signal %d and this kernel can't go "
				 "on with another (Linux 6.9 can); unmounted, mount again",
				 s->path, sig);
	ns = restart_decide(&sv->restart, sv->p->seam->monotonic_ns(sv->p->seam), sig, s->serving);
	if (ns < 0)
		return error_set(err, -ECHILD,
				 "%s: the server died %d times within 10 s, last by signal %d; "
				 "unmounted; mount with --log-file to see why, and report it",
				 s->path, RESTART_FAILURES_MAX, sig);
	log_write(sv->p->log, LOG_WARN,
		  "%s: the server was killed by signal %d; another takes over", s->path, sig);
	return ns;
}

static int servers_run(struct supervisor *sv, int *ret_exit_code, struct error *err)
{
	const struct seam *s = sv->p->seam;
	int r = server_start(sv, err);

	while (r >= 0) {
		int64_t ns;

		watch(sv, 0);
		if (WIFEXITED(sv->status)) {
			*ret_exit_code = WEXITSTATUS(sv->status);
			return 0;
		}
		if (sv->end_signal) { /* killed while it was ending */
			*ret_exit_code = sv->ready_called ? 0 : 130;
			return 0;
		}
		ns = successor_wait(sv, err);
		if (ns < 0)
			return (int)ns;
		if (ns)
			watch(sv, s->monotonic_ns(s) + (uint64_t)ns);
		if (sv->end_signal)
			continue;
		sv->h.restarts++;
		r = server_start(sv, err);
	}
	return r;
}

static int signals_block(struct supervisor *sv)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, &sv->old);
	sv->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return sv->signal_fd < 0 ? -errno : 0;
}

int fs_supervise(const struct supervise_params *p, int *ret_exit_code, struct error *err)
{
	struct supervisor sv = {
		.p = p,
		.h = {.socket_fd = -1, .fuse_fd = -1, .listen_fd = -1, .supervisor = getpid()},
	};
	int r = signals_block(&sv);

	if (r < 0)
		return error_set_errno(err, r, "can't wait for signals");
	r = servers_run(&sv, ret_exit_code, err);
	mount_end(&sv);
	closep(&sv.signal_fd);
	sigprocmask(SIG_SETMASK, &sv.old, NULL);
	return r;
}
