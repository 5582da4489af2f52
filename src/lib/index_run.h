/* SPDX-License-Identifier: MIT */
/*
 * One layer being indexed: what the ways to do it (index.c, index_toc.c) share. Makes no tables
 * itself: the indexer does, in its sandbox.
 */
#ifndef MORSEL_LIB_INDEX_RUN_H
#define MORSEL_LIB_INDEX_RUN_H

#include "image/indexer.h"
#include "image/sniff.h"
#include "image/toc_unwrap.h"
#include "lib/layers.h"

enum { TOC_UNUSABLE = 1 }; /* the layer is streamed */

struct index_run {
	struct morsel *m;
	struct resolved *rv;
	struct image_layer *l;
	const atomic_bool *cancel;
	struct index_progress *progress;
	struct layer_stage *stage;
	struct indexer *ix;
	struct hasher *hash;	    /* of the blob, or of a table's JSON */
	struct hasher *packed_hash; /* of a table as it is in the blob */
	struct toc_unwrap *unwrap;
	enum stage_place place; /* lower down when the disk turned out to be full */
	int failed;		/* the indexer's error, while the rest is still hashed */
	int unwrap_failed;	/* a table's wrapping: likewise */
	struct error failure;
	bool verified;		   /* the bytes have the digest that was promised */
	uint32_t avoid, served;	   /* places that are left out; whose bytes these are */
	uint8_t head[SNIFF_BYTES]; /* of a streamed layer, until the format is known */
	size_t head_len;
	char name[DIGEST_TEXT_MAX];
	struct error *err;
};

/* Makes the stage and the hasher; the layer's key follows from the anchor. */
int run_init(struct index_run *x, enum anchor_kind anchor, const struct digest *anchor_digest,
	     enum digest_algo algo);
int run_start_indexer(struct index_run *x, enum layer_format_id format, uint64_t data_end);
int run_read(struct index_run *x, struct blob *b, uint64_t off, uint64_t len, blob_sink_fn sink);
void run_cost_note(struct index_run *x, const struct blob_cost *cost);
/* -EBADMSG, saying what it is the digest of. */
int run_digest_check(struct index_run *x, const char *what, const struct digest *want,
		     const struct digest *got);

/* By the table of contents that the manifest promises. 0; TOC_UNUSABLE: there is none in the blob,
 * or none that can be used; < 0: it is not what was promised, or makes no sense. */
int toc_index(struct index_run *x);

#endif
