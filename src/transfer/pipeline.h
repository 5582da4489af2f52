/* SPDX-License-Identifier: MIT */
/*
 * A ring of batches and the threads around it: one fills them, several compress whichever is next,
 * each ordered stage goes over all of them in their order, and the caller writes them in order
 * when all that is done. The ring's size bounds the memory. Knows nothing of what is in a batch.
 */
#ifndef MORSEL_TRANSFER_PIPELINE_H
#define MORSEL_TRANSFER_PIPELINE_H

#include "base/error.h"
#include "transfer/batch.h"

#define PIPELINE_STAGES_MAX 2

struct pipeline;
struct pipeline_jobs {
	/* In a thread of its own: takes batches with pipeline_take() and gives each back with
	 * pipeline_give(), until it has no more. */
	int (*fill)(void *userdata, struct pipeline *p, struct error *err);
	/* In `threads` threads, numbered from 0. */
	int (*compress)(void *userdata, unsigned thread, struct batch *b);
	/* In a thread each, in order, when the batch is compressed. */
	void (*stages[PIPELINE_STAGES_MAX])(void *userdata, struct batch *b);
	unsigned n_stages;
	/* In the calling thread, in order. */
	int (*write)(void *userdata, struct batch *b, struct error *err);
	void *userdata;
	unsigned threads, slots;
};

/* Ends when fill has ended and all was written, or at the first error of anything. All threads
 * have all signals blocked and are gone afterwards. -ENOMEM, -EAGAIN (threads), the jobs'. */
int pipeline_run(const struct pipeline_jobs *jobs, struct error *err);

/* For fill. An empty batch; -ECANCELED: the rest of the pipeline has ended, and so should fill. */
int pipeline_take(struct pipeline *p, struct batch **ret);
void pipeline_give(struct pipeline *p, struct batch *b);

#endif
