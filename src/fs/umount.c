/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>

#include "fs/control.h"
#include "fs/mount.h"

#define GONE_WAIT_NS (10 * NS_PER_S)
#define GONE_LOOK_MS 200

/* The server holds its socket until it has ended; its closing end says that it has. */
static bool server_is_gone(int fd)
{
	const struct seam *s = seam_real();
	uint64_t until = s->monotonic_ns(s) + GONE_WAIT_NS;
	struct pollfd p = {.fd = fd, .events = POLLIN};

	while (s->monotonic_ns(s) < until)
		if (poll(&p, 1, GONE_LOOK_MS) > 0)
			return true;
	return false;
}

int fs_umount(const char *dir, bool lazy, struct error *err)
{
	_cleanup_(closep) int fd = -1;
	char path[PATH_MAX];
	struct mount_info m;
	int r = mountinfo_find_ours(dir, path, &m, err);

	if (r < 0)
		return r;
	fd = control_connect(m.dev, m.owner); /* silent: only listens for its end */
	r = mount_remove(path, lazy, err);
	if (r == -EBUSY)
		return error_set(err, r,
				 "%s is busy (in use): end what uses it, or detach it with --lazy",
				 dir);
	if (r < 0)
		return r;
	if (!lazy && fd >= 0 && !server_is_gone(fd))
		return error_set(err, -ETIMEDOUT,
				 "%s is unmounted, but its server has not ended after 10 s", dir);
	return 0;
}
