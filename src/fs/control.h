/* SPDX-License-Identifier: MIT */
/*
 * One Unix socket a mount, named after its device number, in a directory that only its owner can
 * enter: $MORSEL_RUNTIME_DIR; else for root /run/morsel; else $XDG_RUNTIME_DIR/morsel, or
 * /tmp/morsel-UID when that can't be used. One line in, one JSON document out, and the end.
 * Knows no requests: who mounts answers them.
 */
#ifndef MORSEL_FS_CONTROL_H
#define MORSEL_FS_CONTROL_H

#include "fs/fs.h"

struct control_server;

/* The directory for our own sockets, made when missing. -EACCES: somebody else could be in it. */
int control_dir_make(char *ret, size_t n, struct error *err);

struct control_socket {
	int fd;
	char path[108];
	ino_t ino; /* of path, when we made it */
};

/* Listens for the mount with this device number. */
int control_listen(dev_t dev, struct control_socket *ret, struct error *err);
/* Answers in a thread of its own by calling p->control, also while the filesystem itself waits for
 * the network. p is borrowed, s->fd taken over in any case. */
int control_start(const struct fs_params *p, const struct control_socket *s,
		  struct control_server **ret, struct error *err);
/* Removes the socket too. Accepts NULL. */
void control_stop(struct control_server *c);

/* Connects to the server of owner's mount. -ENOENT or -ECONNREFUSED: there is none; -EACCES. */
int control_connect(dev_t dev, uid_t owner);

/* The k-th directory, from 0, where sockets of a user's mounts can be; false when there are no
 * more. control_dir_is_safe: it is one, the user's, and nobody else can enter. */
bool control_dir_candidate(uid_t owner, unsigned k, char *ret, size_t n);
bool control_dir_is_safe(const char *dir, uid_t owner);

#endif
