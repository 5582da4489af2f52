/* SPDX-License-Identifier: MIT */
/*
 * One blob of a push, and the three ways to make its bytes. Which jobs there are, and in what order
 * they run, is push.c's to know.
 */
#ifndef MORSEL_TRANSFER_PUSH_IMPL_H
#define MORSEL_TRANSFER_PUSH_IMPL_H

#include "transfer/push.h"

struct push_job {
	struct push_job *next;
	struct push *push;
	/* Brings the blob to the target. 0: it is sent; PUSH_SKIPPED: nothing had to be; < 0. */
	int (*run)(struct push_job *job, struct error *err);
	bool known;	      /* digest and size, from the start */
	struct digest digest; /* set when run() is done */
	uint64_t size;
	bool sent; /* and has to be confirmed */
	/* directories */
	struct layer_params params;
	struct layer_look look;
	const struct layer_source *layer;
	struct layer_result *result;
	uint64_t reported; /* bytes of it that progress counts */
	/* copies */
	struct source *from;
	/* bytes */
	const void *data;
};

enum { PUSH_SKIPPED = 1 };

/* What a job writes into: an upload that may want bytes again. `pos` counts the bytes made in this
 * run, of which those before the upload's offset are not wanted any more. */
struct push_sink {
	struct push_job *job;
	struct upload *upload;
	uint64_t pos;
	int outcome; /* UPLOAD_REWIND, UPLOAD_WHOLE: why the run was ended with -EAGAIN */
};

int push_sink_write(void *userdata, const void *data, size_t n, struct error *err);
/* Whether somebody wants an end. */
int push_check(struct push *p, struct error *err);
void push_count_done(struct push_job *job, uint64_t bytes);

int push_job_directory(struct push_job *job, struct error *err);
int push_job_known(struct push_job *job, struct error *err);

#endif
