/* SPDX-License-Identifier: MIT */
/* What the files of an extraction share. */
#ifndef MORSEL_TRANSFER_EXTRACT_IMPL_H
#define MORSEL_TRANSFER_EXTRACT_IMPL_H

#include <pthread.h>
#include "base/buf.h"
#include "base/thread.h"
#include "transfer/beneath.h"
#include "transfer/extract.h"
#include "transfer/stage.h"

#define FETCH_THREADS 4u
#define EXTRACT_PIECE ((size_t)1 << 20) /* bytes read and written at a time */

/* ---- the plan: a flat array, children of a directory next to each other, parents first ---- */

struct plan_node {
	uint64_t nid;
	const char *name; /* borrowed from the index, not terminated */
	uint8_t name_len;
	bool is_dir;
	bool wanted; /* by the patterns */
	bool kept;   /* wanted, or a parent of what is */
	bool absent; /* not made: a device that can't be, a link to one; a root that is given */
	bool merged; /* a directory that was there before (place.c) */
	uint32_t parent;
	uint32_t first; /* of the names that are one inode: the one made; itself else */
	uint32_t children, n_children;
};

struct plan {
	const struct extract_options *o;
	struct plan_node *nodes; /* [0] is the root */
	uint32_t n, cap;
	uint32_t n_kept;
	uint64_t bytes; /* of contents to write */
};

int plan_make(const struct extract_options *o, struct plan *ret, struct error *err);
void plan_fini(struct plan *p);
/* The node's path below the destination, "" for the root; out holds PATH_LEN_MAX + 1 bytes. */
void plan_path(const struct plan *p, uint32_t i, char *out);
/* The node's last component, terminated. */
void plan_name(const struct plan *p, uint32_t i, char out[static NAME_LEN_MAX + 1]);

/* ---- the place ---- */

struct place {
	const char *dest;
	char *name;    /* of dest in parent_fd; NULL: it has none */
	int parent_fd; /* O_PATH; -1 */
	int dest_fd;   /* what is there already, O_PATH; -1 */
	bool inside;   /* built in dest, not beside it */
	bool merge;    /* filled entry by entry, not by one rename */
	bool keep;     /* what is there keeps its kind: see extract_options.dest_fd */
	struct stage stage;
};
#define PLACE_INIT(path)                                                                           \
	((struct place){.dest = (path), .parent_fd = -1, .dest_fd = -1, .stage = STAGE_INIT})

/* Makes the directory to build in. */
int place_open(struct place *pl, const char *dest, const struct extract_options *o,
	       struct error *err);
/* Removes what was built and has not got its name. */
void place_fini(struct place *pl);
/* Whether what is there leaves room for the plan. -EPERM, -EISDIR, -ENOTDIR: something else is in
 * the way of a file or directory. */
int place_check_merge(struct place *pl, struct plan *p, struct error *err);
/* Gives the tree its name. Unless it is merged, directories must have their attributes before. */
int place_commit(struct place *pl, struct plan *p, struct error *err);

/* ---- the work ---- */

struct extract_todo {
	uint32_t dir;  /* whose entries are to be made, */
	uint32_t from; /* from this child on */
};

struct extract {
	const struct extract_options *o;
	const char *dest; /* for errors */
	struct plan plan;
	int root_fd; /* of the directory being built */
	uid_t uid;   /* what new files get */
	gid_t gid;
	uint64_t batch_bytes; /* of contents, after which other threads go on with a directory */
	atomic_bool stop;
	atomic_bool no_clone; /* it did not work here */
	_Atomic uint64_t done_bytes, cloned_bytes, files_done;
	pthread_t fetchers[FETCH_THREADS];
	unsigned n_fetchers;
	atomic_bool no_fetch; /* everything is written */
	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t changed;
	struct extract_todo *todo; /* the last one next; a directory is here once at most */
	uint32_t n_todo;
	unsigned busy, running; /* threads that may add to todo; that have not ended */
	int result;		/* of the first failure */
	struct error err;
	struct extract_result *res;
};

/* One thread's own. */
struct extract_worker {
	struct extract *x;
	uint8_t *buf;	    /* EXTRACT_PIECE */
	char *list, *value; /* XATTR_INODE_MAX each */
};

/* Remember the first failure and stop all; return code. */
int extract_fail(struct extract *x, int code, const struct error *err);
int extract_fail_at(struct extract *x, int code, uint32_t node, const char *what);
/* 0, or < 0 after something has failed or was cancelled. */
int extract_stopped(struct extract *x);
void extract_leave_out(struct extract *x, enum extract_kind kind, uint32_t node);

/* Brings what is far away, beside the work; end waits for it. */
void extract_fetch_start(struct extract *x);
void extract_fetch_end(struct extract *x);

/* Makes what is not a directory, with its attributes. */
int extract_node_make(struct extract_worker *w, uint32_t node, int dir_fd);
/* Gives a directory its attributes, once nothing will be made in it any more. */
int extract_directory_finish(struct extract_worker *w, uint32_t node, int fd);

#endif
