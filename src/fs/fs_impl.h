/* SPDX-License-Identifier: MIT */
/* What the files that answer the kernel share. */
#ifndef MORSEL_FS_FS_IMPL_H
#define MORSEL_FS_FS_IMPL_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include "fs/control.h"
#include "fs/mount.h"

struct parked;

struct fs {
	struct fs_params p; /* mountpoint and fsname are path and NULL here */
	char path[PATH_MAX];
	struct mount_info mount;
	struct fuse_session *se; /* holds the /dev/fuse descriptor */
	struct control_server *control;
	int stop_fd;  /* eventfd: readable = end */
	int watch_fd; /* eventfd: look at those who wait */
	uint64_t used_blocks;
	bool no_open, no_opendir; /* the kernel can do without */
	atomic_bool ready_called;
	void (*ready)(void *userdata);
	void *ready_userdata;
	_Atomic uint64_t last_ns; /* when the last request came: decides whether to spin */
	pthread_mutex_t lock;
	struct parked *parked; /* requests that wait for the reader; under lock */
	bool watching;	       /* somebody looks at them regularly; under lock */
	unsigned unanswered;   /* parked, or being answered; under lock */
	pthread_cond_t all_answered;
};

extern const struct fuse_lowlevel_ops fs_ops;

/* EROFS nid <-> FUSE inode number: FUSE wants 1 for the root. */
static inline uint64_t ino_to_nid(const struct erofs *fs, fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? fs->root_nid : ino == fs->root_nid ? FUSE_ROOT_ID : ino;
}

static inline fuse_ino_t nid_to_ino(const struct erofs *fs, uint64_t nid)
{
	return nid == fs->root_nid ? FUSE_ROOT_ID : nid == FUSE_ROOT_ID ? fs->root_nid : nid;
}

/* Reads: ops_read.c */
void fs_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
/* Gives up what dying tasks wait for. True: some wait, so call it again FS_WATCH_MS later; else
 * when watch_fd says so. */
bool fs_watch(struct fs *f);
#define FS_WATCH_MS 200

/* The per-thread buffer for reads that are answered at once. */
void *fs_thread_buffer(void);
void fs_thread_end(void); /* frees it */

/* Adds 1 to an eventfd of ours. Any thread, any signal handler. */
void fs_wake(int event_fd);

#endif
