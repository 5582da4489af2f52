/* SPDX-License-Identifier: MIT */
/*
 * A directory's entries as archive headers: depth first, names in byte order, a directory before
 * what is in it. Nothing is followed and nothing is opened by a path: every step is one component
 * below an open directory, so that a tree that changes meanwhile can't lead anywhere else.
 *
 * The first name that comes of a file with several is the file, the others are links to it.
 * Sockets, what the ignore list says, and attributes that an archive can't hold are left out.
 * Reads no contents and writes nothing.
 */
#ifndef MORSEL_TRANSFER_TREE_WALK_H
#define MORSEL_TRANSFER_TREE_WALK_H

#include <stdatomic.h>
#include "base/log.h"
#include "transfer/ignore.h"
#include "transfer/tar_encode.h"

struct tree_walk_options {
	int root_fd;
	const char *root_name;		  /* for messages */
	const char *prefix;		  /* clean: no "/" at either end; "" is the root */
	const struct ignore_list *ignore; /* may be NULL */
	bool set_owner;
	uint32_t uid, gid;
	bool allow_changed, clamp_mtime;
	int64_t mtime_max_s;
	bool contents; /* regular files are opened; else fd is -1 and nothing can have changed */
	/* A path of the image that somebody else writes: left out. */
	bool (*is_taken)(void *userdata, const char *path);
	/* fd: of a regular file of h->size > 0 bytes that is no link, at its start; else -1.
	 * < 0 ends the walk and is returned. */
	int (*entry)(void *userdata, const struct tar_header *h, int fd, struct error *err);
	void *userdata;
	const struct log *log;	    /* may be NULL */
	const _Atomic bool *cancel; /* may be NULL */
};

struct tree_walk;
/* o and what it points to must outlive the walk. */
int tree_walk_new(const struct tree_walk_options *o, struct tree_walk **ret);
/* One entry before its turn, with those directories above it that have not come yet. 0, also when
 * there is no such entry in the tree. path: of the image, in any spelling. */
int tree_walk_first(struct tree_walk *w, const char *path, struct error *err);
/* All that have not come yet. -ESTALE: a file changed while it was read; -ENOTSUP: a character
 * device 0:0; -E2BIG: a path over a limit of image readers; -ECANCELED; the file system's. */
int tree_walk_all(struct tree_walk *w, struct error *err);
uint64_t tree_walk_sockets(const struct tree_walk *w);
uint64_t tree_walk_dropped_xattrs(const struct tree_walk *w);
void tree_walk_free(struct tree_walk *w);
DEFINE_CLEANUP(struct tree_walk *, tree_walk_free)

#endif
