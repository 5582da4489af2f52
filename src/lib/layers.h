/* SPDX-License-Identifier: MIT */
/*
 * An image's layers, ready to be merged and read: taken from the cache, or indexed now. Several are
 * indexed at a time, each by its own sandboxed helper. Neither merges them (image.c) nor reads
 * their contents (cache/reader.h).
 */
#ifndef MORSEL_LIB_LAYERS_H
#define MORSEL_LIB_LAYERS_H

#include "image/layer_format.h"
#include "lib/resolve.h"

struct image_layer {
	const struct manifest_layer *desc; /* borrowed from the manifest */
	enum anchor_kind anchor;
	struct layer_key key;
	struct layer *layer;
	const struct layer_format *format;
	struct blob *blob;
	bool indexed_now; /* by this process; else the cache knew it */
};

#define PROGRESS_NS (100 * NS_PER_MS) /* between two reports of a long call */

/* What one indexing reports while it runs; shared with the thread that shows progress. */
struct index_progress {
	_Atomic uint64_t done_bytes, total_bytes;
	_Atomic uint32_t layers_done, layers_total;
	_Atomic uint64_t requests, wire_bytes; /* what indexing cost */
};

/* Tells the caller's callback. -ECANCELED: it, or morsel_cancel(), wants an end. */
int progress_report(struct morsel *m, const char *phase, const struct index_progress *progress,
		    struct error *err);

/* The same, where a call begins that asks a registry first: phase "resolve". */
int progress_begin(struct morsel *m, struct error *err);

/* layers: zeroed, as many as the manifest has. fini also after an error. */
int layers_open(struct morsel *m, struct resolved *rv, struct image_layer *layers,
		struct index_progress *progress, struct error *err);
void layers_fini(struct image_layer *layers, uint32_t n);

/* The layer's index in the cache under either of its anchors: 0, CACHE_MISS. */
int layer_lookup(struct morsel *m, struct image_layer *l, struct error *err);

/* Indexes one layer from its blob and publishes it (lib/index.c). Blocks. */
int layer_index_now(struct morsel *m, struct resolved *rv, struct image_layer *l,
		    const atomic_bool *cancel, struct index_progress *progress, struct error *err);

/* The blob with the table of contents of a layer whose footer says that it is elsewhere: under the
 * image's tag with a suffix. 0; > 0: there is none; < 0: it can't be asked for. */
int external_toc_open(struct morsel *m, const struct ref *image, const struct digest *layer,
		      struct blob **ret, struct error *err);

#endif
