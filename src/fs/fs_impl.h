/* SPDX-License-Identifier: MIT */
/*
 * What the files that answer the kernel share. Nothing outside of this folder sees it, or any type
 * of libfuse's.
 */
#ifndef MORSEL_FS_FS_IMPL_H
#define MORSEL_FS_FS_IMPL_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include "fs/control.h"
#include "fs/mount.h"
#include "prof/trace.h"

struct parked;

struct fs {
	struct fs_params p; /* mountpoint and fsname are path and NULL here */
	char path[PATH_MAX];
	struct mount_info mount;
	struct fuse_session *se; /* holds the /dev/fuse descriptor; NULL: the kernel needs none */
	struct control_server *control;
	int stop_fd;  /* eventfd: readable = end */
	int watch_fd; /* eventfd: look at those who wait */
	uint64_t used_blocks;
	bool no_open, no_opendir; /* the kernel can do without */
	bool mounted, closed;
	int devices_dir; /* of devices_mount() until that has been used, or -1 */
	bool taken_over; /* from a server that was killed */
	bool replaying;	 /* replies go to init_reply */
	uint8_t init_reply[128];
	size_t init_reply_len;
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
extern const struct fuse_lowlevel_ops fs_device_ops; /* devices.c: below a kernel mount */

/* session.c. Makes a session that was taken over the successor of the one before, which needs to be
 * dead: > 0, it answers; 0: there is nothing to take over. */
int fs_session_resume(struct fs *f, struct error *err);
/* Opens the control socket, or goes on with the one that was handed over. */
int fs_session_control(struct fs *f, struct error *err);
/* A request that is the kernel's INIT is kept for a successor; true: it has been answered. */
bool fs_session_init_seen(struct fs *f, const struct fuse_buf *buf);
/* Has the kernel mount the image, while other threads serve its devices. -ENOTSUP: it can't. */
int fs_session_attach(struct fs *f, struct error *err);
/* Ends the session and unmounts. Again: nothing. */
void fs_session_close(struct fs *f);

/* EROFS nid <-> FUSE inode number: FUSE wants 1 for the root. */
static inline uint64_t ino_to_nid(const struct erofs *fs, fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? fs->root_nid : ino == fs->root_nid ? FUSE_ROOT_ID : ino;
}

static inline fuse_ino_t nid_to_ino(const struct erofs *fs, uint64_t nid)
{
	return nid == fs->root_nid ? FUSE_ROOT_ID : nid == FUSE_ROOT_ID ? fs->root_nid : nid;
}

void fs_op_init(void *userdata, struct fuse_conn_info *conn);
void fs_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup);
void fs_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void fs_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
#define FS_FOREVER 1e9 /* seconds: the image cannot change */

/* Reads: ops_read.c */
void fs_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
/* Bytes of a device; what is past its end is not read. */
void fs_device_read(struct fs *f, fuse_req_t req, uint32_t device, uint64_t off, size_t size);
/* Gives up what dying tasks wait for. True: some wait, so call it again FS_WATCH_MS later; else
 * when watch_fd says so. */
bool fs_watch(struct fs *f);
#define FS_WATCH_MS 200

/* ---- measuring: ops_trace.c ---- */

/* What a request in hand is, for whoever measures; of no interest while id is 0. */
struct fs_request {
	uint64_t id, start;
	uint64_t ino, off;
	uint32_t size, process, delivered;
	int32_t result;
	uint16_t opcode;
	uint8_t flags;
};
/* Around the operations, in the thread that got the request. */
void fs_request_begin(struct fs *f, const struct fuse_buf *buf);
void fs_request_end(struct fs *f);
/* It is answered later: *ret is for fs_request_done(). */
void fs_request_take(struct fs_request *ret);
/* Now the answer is given. */
void fs_request_answers(const struct fs_request *rq);
void fs_request_done(struct fs *f, const struct fs_request *rq, uint32_t delivered, int result);
/* What follows in this thread is for this file and the process of this thread of it. */
void fs_request_reads(struct fs *f, uint64_t nid, pid_t tid);
/* And it is in this layer. */
void fs_request_layer(struct fs *f, uint32_t layer);
/* The thread's request: what came of it. */
void fs_request_note(uint32_t delivered, uint8_t flags, int result);

/* The per-thread buffer for reads that are answered at once. */
void *fs_thread_buffer(void);
void fs_thread_end(void); /* frees it */

/* Adds 1 to an eventfd of ours. Any thread, any signal handler. */
void fs_wake(int event_fd);

#endif
