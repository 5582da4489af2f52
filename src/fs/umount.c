/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "fs/control.h"
#include "fs/mount.h"

#define GONE_WAIT_NS (10 * NS_PER_S)
#define EXIT_WAIT_NS (5 * NS_PER_S) /* a program that mounts through the library may live on */

/* Until fd is readable, or now + ns. */
static bool wait_for(int fd, uint64_t ns)
{
	const struct seam *s = seam_real();
	uint64_t now = s->monotonic_ns(s), until = now + ns;
	struct pollfd p = {.fd = fd, .events = POLLIN};

	for (; now < until; now = s->monotonic_ns(s))
		if (poll(&p, 1, (int)((until - now) / NS_PER_MS) + 1) > 0)
			return true;
	return false;
}

/* The process behind a socket, -1 when we can't see it, or it is this one. It listens still once we
 * have its pidfd, so that its number was not given away in between. */
static int server_process(int socket_fd)
{
	struct pollfd p = {.fd = socket_fd, .events = POLLIN};
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);
	int fd = -1;

	if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) >= 0 && peer.pid > 0 &&
	    peer.pid != getpid())
		fd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
	if (fd >= 0 && poll(&p, 1, 0))
		closep(&fd);
	return fd;
}

int fs_umount(const char *dir, bool lazy, struct error *err)
{
	_cleanup_(closep) int fd = -1, process = -1;
	char path[PATH_MAX];
	struct mount_info m;
	int r = mountinfo_find_ours(dir, path, &m, err);

	if (r < 0)
		return r;
	if (geteuid() && geteuid() != m.owner)
		return error_set(err, -EACCES,
				 "%s was mounted by user %u: unmount it as that user, or as root",
				 dir, (unsigned)m.owner);
	fd = control_connect(m.dev, m.owner); /* silent: only listens for its end */
	process = fd < 0 ? -1 : server_process(fd);
	r = mount_remove(path, lazy, err);
	if (r == -EBUSY)
		return error_set(err, r,
				 "%s is busy (in use): end what uses it, or detach it with --lazy",
				 dir);
	if (r < 0)
		return r;
	if (lazy || fd < 0)
		return 0;
	if (!wait_for(fd, GONE_WAIT_NS))
		return error_set(err, -ETIMEDOUT,
				 "%s is unmounted, but its server has not ended after 10 s", dir);
	if (process >= 0) /* what it holds of the cache goes with it */
		wait_for(process, EXIT_WAIT_NS);
	return 0;
}
