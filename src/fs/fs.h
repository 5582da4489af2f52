/* SPDX-License-Identifier: MIT */
/*
 * Answers the kernel: one mounted image. Read-only, stateless (an inode number is the EROFS nid),
 * no lookup table, no handles. Parses nothing but what erofs_read maps; fetches nothing itself.
 */
#ifndef MORSEL_FS_FS_H
#define MORSEL_FS_FS_H

#include "base/log.h"
#include "base/seam.h"
#include "cache/reader.h"
#include "image/erofs_read.h"

/* What the kernel is to mount itself: see kernel_mount.h. All borrowed. */
struct fs_kernel {
	int image_fd;	       /* tree.erofs, on a disk */
	const int *device_fds; /* per device: its file, whole and verified; -1: we serve it */
	uint32_t n_devices;
	const char *name; /* in the mount table */
};

struct fs_params {
	const struct seam *seam;
	const struct log *log;
	const struct erofs *image; /* borrowed */
	struct reader *reader;	   /* borrowed */
	struct counters *counters; /* borrowed */
	struct access *access;	   /* borrowed; NULL = not wanted */
	const char *image_label;   /* for profiles: prof_intern()'s, or NULL */
	const char *mountpoint;
	const char *fsname; /* the reference verbatim; subtype is "morsel" */
	bool allow_other;   /* always brings default_permissions; so does being root: mount.c */
	bool suid, dev;	    /* root only; also shows security.capability */
	bool noexec;
	unsigned threads;    /* 0 = default */
	uint64_t used_bytes; /* statfs: sum of file sizes; 0 = from the image's devices */
	/* Answers a control request ("stat"): JSON text, freed by the caller; NULL = no memory. */
	char *(*control)(void *userdata, const char *request);
	/* Answers one that takes long, in a thread of its own, until end_fd is readable: fd is the
	 * client's, non-blocking, closed afterwards. For requests that begin with "profile ". */
	void (*profile)(void *userdata, int fd, int end_fd, const char *request);
	void *control_userdata; /* for both */
	int cancel_fd;		/* borrowed: ends fs_serve() when it is readable; 0 = none */
	bool no_signals;	/* SIGINT, SIGTERM and SIGHUP are left to others */
	/* Borrowed: who else holds the mount, and what the server before us left, which is then
	 * served in place of a new mount. NULL: nobody. */
	struct morsel_handover *handover;
	const char *image_digest;	/* for who comes after us */
	const struct fs_kernel *kernel; /* borrowed; NULL: we serve the files ourselves */
};

struct fs;
/* Mounts (as root mount(2), else fusermount3), or takes over what is handed over. When it returns
 * 0, the mount answers once fs_serve runs. -errno with a text; nothing is left mounted on failure.
 * -EBUSY: an image is mounted there. p's strings may go afterwards, what it points to must stay
 * until fs_free(). */
int fs_mount(const struct fs_params *p, struct fs **ret, struct error *err);
/* With p->kernel that is left to fs_serve(), which then fails with -ENOTSUP, without having called
 * ready(), when the kernel does not want to.
 * Calls ready() once the mount answers, that is when the kernel's INIT was served; then serves
 * until unmounted, fs_stop(), SIGTERM, SIGINT or SIGHUP. Unmounts, when that was not done by
 * others: what is in use is detached, what somebody else mounted on top is left alone. Once. 0, or
 * -errno. */
int fs_serve(struct fs *f, void (*ready)(void *userdata), void *userdata, struct error *err);
void fs_stop(struct fs *f); /* any thread, any signal handler */
void fs_free(struct fs *f); /* unmounts when still mounted; accepts NULL */
DEFINE_CLEANUP(struct fs *, fs_free)

/* Unmounts DIR and waits (<= 10 s) until its server is gone. lazy: MNT_DETACH, without waiting.
 * Works when the server is dead. -ENOENT: not a morsel mount; -EBUSY; -ETIMEDOUT. */
int fs_umount(const char *dir, bool lazy, struct error *err);
/* Sends a request to the server of the morsel mount at DIR through its control socket, which only
 * the owner (or root) can open; never touches DIR. *ret is malloc'ed JSON. -ENOENT: no morsel
 * mount; -EACCES: another's; -ENOTCONN: its server is dead; -ETIMEDOUT: it does not answer for 5 s.
 */
int fs_control(const char *dir, const char *request, char **ret, struct error *err);
/* Sends one that is answered at length: the connection, for the caller to read and close. Errors as
 * fs_control(). */
int fs_control_open(const char *dir, const char *request, struct error *err);

#endif
