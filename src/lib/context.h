/* SPDX-License-Identifier: MIT */
/*
 * What the files of the facade share. Nothing here is public, and nothing below lib knows it.
 */
#ifndef MORSEL_LIB_CONTEXT_H
#define MORSEL_LIB_CONTEXT_H

#include <errno.h>
#include "morsel.h"
#include "base/error.h"
#include "base/log.h"
#include "base/seam.h"
#include "base/work.h"
#include "cache/cache.h"
#include "image/manifest.h"
#include "registry/source.h"

#define FETCH_THREADS 16

struct morsel {
	struct morsel_options o; /* strings owned */
	const struct seam *seam;
	struct log log;
	struct cache *cache;
	struct registry *registry;
	struct work_pool *pool; /* fetches and disk waits of all images */
	struct platform platform;
	struct digest pinned; /* what every reference means */
	bool is_pinned;
	atomic_bool cancelled;
	int cancel_fd; /* eventfd, never 0: readable once cancelled */
};

/* Copies an internal error to the public one; returns r. For the end of every public function. */
int error_publish(int r, const struct error *err, struct morsel_error *ret);

static inline uint64_t context_max_entries(const struct morsel *m)
{
	return m->o.max_entries ? m->o.max_entries : ENTRIES_DEFAULT_MAX;
}

static inline int context_check(struct morsel *m, struct error *err)
{
	if (atomic_load_explicit(&m->cancelled, memory_order_relaxed))
		return error_set(err, -ECANCELED, "interrupted");
	return 0;
}

#endif
