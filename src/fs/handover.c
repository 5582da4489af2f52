/* SPDX-License-Identifier: MIT */
#include "fs/handover.h"

#include <errno.h>
#include <linux/fuse.h>
#include <sys/socket.h>

#define FDS_MAX 2

#define HAS_RESEND (UINT64_C(1) << (39 - 32)) /* in flags2; newer than Debian's header */

struct message {
	struct handover_state s;
	bool has_fuse_fd, has_listen_fd; /* which descriptors come along, in this order */
};

union control {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
};

int handover_tell(struct morsel_handover *h, int fuse_fd, int listen_fd)
{
	struct message m = {
		.s = h->s, .has_fuse_fd = fuse_fd >= 0, .has_listen_fd = listen_fd >= 0};
	struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	union control control = {0};
	int fds[FDS_MAX];
	size_t n = 0;

	if (fuse_fd >= 0)
		fds[n++] = fuse_fd;
	if (listen_fd >= 0)
		fds[n++] = listen_fd;
	if (n) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		*CMSG_FIRSTHDR(&msg) = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
							.cmsg_type = SCM_RIGHTS,
							.cmsg_len = CMSG_LEN(n * sizeof(int))};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds, n * sizeof(int));
	}
	while (sendmsg(h->socket_fd, &msg, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static void fd_take(int *own, int fd)
{
	closep(own);
	*own = fd;
}

static void message_take(struct morsel_handover *h, const struct message *m, struct msghdr *msg)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	int fds[FDS_MAX];
	size_t n = 0, at = 0;

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, n ? CMSG_DATA(c) : (void *)fds, n * sizeof(int));
	h->s = m->s;
	if (m->has_fuse_fd && at < n)
		fd_take(&h->fuse_fd, fds[at++]);
	if (m->has_listen_fd && at < n)
		fd_take(&h->listen_fd, fds[at++]);
}

int handover_hear(struct morsel_handover *h)
{
	for (;;) {
		struct message m;
		struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
		union control control;
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = &control,
				     .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(h->socket_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n != sizeof(m))
			return -EPIPE;
		message_take(h, &m, &msg);
	}
}

bool handover_can_resend(const struct handover_state *s)
{
	struct fuse_init_in in;

	if (s->init_len < sizeof(struct fuse_in_header) + sizeof(in))
		return !s->init_len; /* shorter: a kernel that knows no flags2 */
	memcpy(&in, s->init + sizeof(struct fuse_in_header), sizeof(in));
	return in.flags & FUSE_INIT_EXT && in.flags2 & HAS_RESEND;
}
