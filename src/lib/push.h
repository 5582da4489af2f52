/* SPDX-License-Identifier: MIT */
/*
 * What pushing directories and copying images have in common. Reads no directory and sends no blob:
 * transfer/push.h does.
 */
#ifndef MORSEL_LIB_PUSH_H
#define MORSEL_LIB_PUSH_H

#include <jansson.h>
#include "lib/resolve.h"
#include "transfer/image_doc.h"
#include "transfer/push.h"

enum push_phase { PUSH_PREPARE, PUSH_BLOBS, PUSH_DOCUMENTS, PUSH_PHASES };

/* One call: where it goes, and how far it is. */
struct push_run {
	struct morsel *m;
	struct ref *ref;
	struct target *target;
	struct push push;
	bool begun; /* push is */
	uint64_t phase_ns[PUSH_PHASES], mark_ns;
	struct digest digest; /* of what the tag names now */
	const char *media_type;
};

/* o: as the caller gave it, maybe of an older struct; ret is complete. */
int push_options_take(const struct morsel_push_options *o, struct morsel_push_options *ret,
		      struct error *err);
/* from: the reference that blobs come from, or NULL: its repository may be mounted from. Zeroed
 * before, but for mark_ns: the start; finish it also after an error. */
int push_run_begin(struct push_run *run, struct morsel *m, const char *ref, const struct ref *from,
		   unsigned jobs, struct error *err);
/* The phase that began with the last mark ends. */
void push_run_mark(struct push_run *run, enum push_phase phase);
void push_run_fini(struct push_run *run);
/* "reference", "digest", what was moved, the times. NULL = no memory. */
json_t *push_report(const struct push_run *run);

#endif
