/* SPDX-License-Identifier: MIT */
/*
 * The directory that a tree is built in: .morsel-pull.ID, which no other user can enter, with the
 * tree as the only thing in it. Its maker holds a lock on it (flock) for as long as it lives; what
 * nobody holds was left by one that was killed. Does not know what a tree is for.
 */
#ifndef MORSEL_TRANSFER_STAGE_H
#define MORSEL_TRANSFER_STAGE_H

#include "base/seam.h"

#define STAGE_TREE ".morsel-tree" /* its name in box_fd */

struct stage {
	int at_fd;     /* borrowed: what it is in */
	char name[40]; /* there; "" = there is none */
	int box_fd;    /* of .morsel-pull.ID; the lock */
	int fd;	       /* of the tree */
};
#define STAGE_INIT ((struct stage){.at_fd = -1, .box_fd = -1, .fd = -1})

/* Makes it, empty, in at_fd. */
int stage_open(struct stage *st, int at_fd, const struct seam *s);
/* Removes it with what is in it; also after the tree was moved elsewhere. */
void stage_clear(struct stage *st);
void stage_fini(struct stage *st); /* with stage_clear() */

/* Removes from a directory what this user's killed processes have left there. Best effort: where
 * the filesystem has no locks, nothing is. */
void stage_sweep(int dir_fd);

#endif
