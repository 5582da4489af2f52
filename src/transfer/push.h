/* SPDX-License-Identifier: MIT */
/*
 * Blobs on their way to a target, several at once, and then the manifest: the order that keeps a
 * tag from naming what is not there. Made by the caller's thread:
 *
 *     push_init();  push_directory(), push_copy(), push_bytes() ...;  push_wait();
 *     ... documents from the results ...;  push_bytes(config);  push_wait();  push_manifest();
 *
 * Does not know references, options or JSON results (lib does), nor what a manifest says.
 */
#ifndef MORSEL_TRANSFER_PUSH_H
#define MORSEL_TRANSFER_PUSH_H

#include <pthread.h>
#include "base/seam.h"
#include "base/work.h"
#include "cache/cache.h"
#include "registry/target.h"
#include "transfer/layer_write.h"

#define PUSH_JOBS_DEFAULT 4

struct push_options {
	const struct seam *seam;
	const struct log *log;
	struct cache *cache; /* where a spool file goes, and compressed members are kept */
	struct target *target;
	const atomic_bool *cancel; /* ends it: -ECANCELED */
	unsigned jobs;		   /* blobs at once; 0: PUSH_JOBS_DEFAULT */
	/* About ten times a second while push_wait() waits. < 0 ends the push. NULL: none. */
	int (*progress)(void *userdata, struct error *err);
	void *userdata;
};

struct push_job;

struct push {
	struct push_options o;
	struct work_pool *pool;
	struct push_job *job_list;		  /* all, the latest first */
	atomic_bool stop;			  /* something failed */
	_Atomic uint64_t done_bytes, total_bytes; /* for progress */
	_Atomic uint32_t blobs_done, blobs_total;
	_Atomic uint64_t moved_bytes;	/* sent, with what was sent again */
	_Atomic uint64_t skipped_bytes; /* of blobs that the target had or could mount */
	_Atomic uint32_t blobs_skipped;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t news;
	unsigned running;
	int result;
	struct error err;
};

int push_init(struct push *p, const struct push_options *o);
/* Ends and cancels what still runs. */
void push_fini(struct push *p);

/* A directory as a layer. params: without cancel and progress, which are set here. What they point
 * at, and result, must live until push_wait() has returned. */
int push_directory(struct push *p, const struct layer_params *params,
		   const struct layer_source *source, struct layer_result *result);
/* A blob of a source, unless the target has it or can mount it. */
int push_copy(struct push *p, struct source *from, const struct digest *d, uint64_t size);
/* A small blob from memory, which must live until push_wait() has returned. */
int push_bytes(struct push *p, const struct digest *d, const void *data, size_t n);
/* Until all that was begun is at the target, and confirmed there. The first failure ends the rest.
 */
int push_wait(struct push *p, struct error *err);

#endif
