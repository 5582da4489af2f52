/* SPDX-License-Identifier: MIT */
/* What the files of the FUSE layer share. */
#ifndef MORSEL_FS_FS_IMPL_H
#define MORSEL_FS_FS_IMPL_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include "fs/fs.h"

#define FS_READ_MAX (1u << 20)

struct control_server;

struct fs {
	struct fs_params p; /* strings owned */
	struct fuse_session *se;
	bool mounted;
	atomic_bool stopping;
	atomic_bool ready_called;
	void (*ready)(void *userdata);
	void *ready_userdata;
	struct control_server *control;
	pthread_mutex_t lock;
	pthread_cond_t parked_gone;
	unsigned parked;	  /* requests that wait for the reader; under lock */
	_Atomic uint64_t last_ns; /* when the last request came: decides whether to spin */
	uint64_t used_blocks;
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
/* The per-thread buffer for reads that are answered at once. */
void *fs_thread_buffer(void);
void fs_thread_end(void); /* frees it */

/* What the kernel says of the topmost mount on a directory, without touching it: umount.c. dir is
 * absolute. -ENOENT: nothing is mounted there. */
struct mount_info {
	dev_t dev;
	char type[64];
};
int mount_lookup(const char *dir, struct mount_info *ret);
/* The path of the control socket of a mount: control.c. create: makes its directory. */
int control_path(dev_t dev, bool create, char *out, size_t n, struct error *err);

/* The socket that "morsel stat" talks to: control.c. dev is the mount's device number. */
int control_start(struct fs *f, dev_t dev, struct control_server **ret, struct error *err);
void control_stop(struct control_server *c); /* accepts NULL */

#endif
