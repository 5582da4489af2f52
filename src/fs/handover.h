/* SPDX-License-Identifier: MIT */
/*
 * What outlives a server, and goes to the next: descriptors, and what has to be known to use them.
 * The server tells its supervisor through a socket whenever that changes; a successor, a child of
 * the supervisor, inherits it with the memory. Both are the same program, so messages are structs.
 * Does not decide anything, and holds nothing of the image: that is opened again from the cache.
 */
#ifndef MORSEL_FS_HANDOVER_H
#define MORSEL_FS_HANDOVER_H

#include "base/digest.h"
#include "fs/mountinfo.h"

#define HANDOVER_INIT_MAX 256
#define HANDOVER_SOCKET_MAX 108

struct handover_state {
	bool mounting; /* path is about to get a mount, or has it */
	bool mounted;  /* mount and the descriptors are valid */
	bool serving;  /* the present server answers */
	bool kernel;   /* the mount is the kernel's own; fuse_fd, if any, serves its devices */
	char path[PATH_MAX];
	struct mount_info mount;
	char image[DIGEST_TEXT_MAX]; /* manifest digest: a tag could have moved on */
	char socket_path[HANDOVER_SOCKET_MAX];
	ino_t socket_ino;
	uint8_t init[HANDOVER_INIT_MAX]; /* the kernel's FUSE_INIT, as it was read */
	uint32_t init_len;
};

struct morsel_handover {
	struct handover_state s;
	int socket_fd; /* between server and supervisor */
	int fuse_fd;   /* -1: none, or another's by now */
	int listen_fd; /* of the control socket; -1 */
	unsigned restarts;
	pid_t supervisor;
};

/* The server's side: hands over s as it is now, and the descriptors that are not -1 (they stay the
 * server's too). -EPIPE: the supervisor is gone. */
int handover_tell(struct morsel_handover *h, int fuse_fd, int listen_fd);
/* The supervisor's side: takes all that was told since. 0; -EPIPE: there is no server behind it. */
int handover_hear(struct morsel_handover *h);

/* Whether a successor can have what the dead server's clients wait for. Linux >= 6.9 says so in its
 * INIT; one that never sent it waits with it, as nothing was answered yet. */
bool handover_can_resend(const struct handover_state *s);

#endif
