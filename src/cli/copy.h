/* SPDX-License-Identifier: MIT */
/*
 * What morsel cp does, in three parts:
 *
 *   cmd_cp.c     arguments, the plan (which file of the image becomes which name), the threads
 *   copy_node.c  makes one file, link, device or directory
 *   copy_dest.c  names below the destination, without ever following a symlink there
 *
 * Everything is written under a temporary name and renamed, so that a name shows its old contents
 * or all of the new ones. Contents are read by several threads: a tree of small files is then not
 * one round trip after the other.
 */
#ifndef MORSEL_COPY_H
#define MORSEL_COPY_H

#include <pthread.h>
#include <stdatomic.h>
#include "cli/cli.h"

#define COPY_THREADS 16
#define COPY_PIECE ((size_t)1 << 20) /* bytes read and written at a time */

struct copy_node {
	char *path; /* below the destination; "" = it itself */
	struct morsel_stat st;
	size_t first; /* index of the first node with this inode: itself, or it becomes a link */
	bool made;
};

struct copy {
	struct cli *c;
	struct morsel *m;
	struct morsel_image *img;
	const char *dest; /* for errors */
	char *dest_dir;	  /* that, when DEST is a new name */
	int dest_fd;	  /* O_PATH: everything is made below it */
	struct copy_node *nodes;
	size_t n, cap;
	uint64_t total_bytes;
	_Atomic uint64_t done_bytes;
	_Atomic size_t next, files_done;
	_Atomic uint64_t temp_names;
	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t ended;
	unsigned running;
	int result;	/* of the first failure, which c->err describes */
	size_t devices; /* that could not be made */
	char device_names[200];
};

/* copy_dest.c */
struct copy_parent { /* the directory that a thread last worked in */
	char *path;
	size_t len;
	int fd; /* O_PATH */
};
#define COPY_PARENT_INIT ((struct copy_parent){.fd = -1})
void copy_parent_fini(struct copy_parent *p);
/* Opens the directory that holds path: parent->fd; *ret_name: the rest. -errno. */
int copy_parent_open(struct copy *cp, struct copy_parent *parent, const char *path,
		     const char **ret_name);
/* A name that nobody uses. */
void copy_temp_name(struct copy *cp, char out[static 64]);

/* copy_node.c; all: 0, or < 0 after copy_fail(). */
int copy_directory_make(struct copy *cp, struct copy_parent *parent, struct copy_node *node);
int copy_directory_finish(struct copy *cp, struct copy_parent *parent, struct copy_node *node);
/* Anything that is not a directory. buf: COPY_PIECE bytes. */
int copy_file(struct copy *cp, struct copy_parent *parent, struct copy_node *node, char *buf);
/* Another name of first. */
int copy_link(struct copy *cp, struct copy_parent *parent, struct copy_node *node);

/* cmd_cp.c: remembers the first failure, and stops the threads. code: < 0; returned. */
int copy_fail(struct copy *cp, int code, const char *path, const char *what);
int copy_fail_image(struct copy *cp, int code, const struct morsel_error *err);

#endif
