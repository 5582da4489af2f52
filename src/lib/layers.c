/* SPDX-License-Identifier: MIT */
#include "lib/layers.h"

#include <pthread.h>
#include <time.h>

#define INDEX_THREADS 4

/* One image's layers being indexed by a few threads while the caller's thread shows progress. */
struct indexing {
	struct morsel *m;
	struct resolved *rv;
	struct index_progress *progress;
	atomic_bool stop; /* the first failure, or an interrupt, stops the others */
	pthread_mutex_t lock;
	pthread_cond_t done;
	uint32_t running; /* under lock, as all below */
	int result;
	struct error err;
};

struct index_job {
	struct indexing *ix;
	struct image_layer *layer;
};

static void index_job_run(void *arg)
{
	struct index_job *job = arg;
	struct indexing *ix = job->ix;
	struct error err = ERROR_INIT;
	int r = -ECANCELED;

	if (!atomic_load(&ix->stop))
		r = layer_index_now(ix->m, ix->rv, job->layer, &ix->stop, ix->progress, &err);
	if (r >= 0)
		atomic_fetch_add(&ix->progress->layers_done, 1);
	pthread_mutex_lock(&ix->lock);
	if (r < 0 && !ix->result) {
		ix->result = r;
		ix->err = err;
		atomic_store(&ix->stop, true);
	}
	ix->running--;
	pthread_cond_signal(&ix->done);
	pthread_mutex_unlock(&ix->lock);
}

int progress_report(struct morsel *m, const char *phase, const struct index_progress *progress,
		    struct error *err)
{
	const struct morsel_progress p = {
		.phase = phase,
		.done_bytes = atomic_load(&progress->done_bytes),
		.total_bytes = atomic_load(&progress->total_bytes),
		.layers_done = atomic_load(&progress->layers_done),
		.layers_total = atomic_load(&progress->layers_total),
	};

	if (m->o.progress && m->o.progress(m->o.userdata, &p))
		return error_set(err, -ECANCELED, "given up by the caller");
	return context_check(m, err);
}

int progress_begin(struct morsel *m, struct error *err)
{
	return progress_report(m, "resolve", &(struct index_progress){0}, err);
}

/* Also when nobody wants the result any more: -ECANCELED. */
static int indexing_wait(struct indexing *ix, struct error *err)
{
	int r = 0;

	pthread_mutex_lock(&ix->lock);
	while (ix->running) {
		struct timespec ts;
		uint64_t at = ix->m->seam->monotonic_ns(ix->m->seam) + PROGRESS_NS;

		ts.tv_sec = (time_t)(at / NS_PER_S);
		ts.tv_nsec = (long)(at % NS_PER_S);
		pthread_cond_clockwait(&ix->done, &ix->lock, CLOCK_MONOTONIC, &ts);
		pthread_mutex_unlock(&ix->lock);
		if (!r)
			r = progress_report(ix->m, "index", ix->progress, err);
		if (r < 0)
			atomic_store(&ix->stop, true);
		pthread_mutex_lock(&ix->lock);
	}
	pthread_mutex_unlock(&ix->lock);
	return r;
}

int layer_lookup(struct morsel *m, struct image_layer *l, struct error *err)
{
	int r = CACHE_MISS;

	if (l->desc->has_zstd_chunked) {
		l->anchor = ANCHOR_ZSTD_CHUNKED;
		layer_key_make(&l->desc->desc.digest, l->anchor, &l->desc->zstd_checksum, &l->key);
		r = layer_open(m->cache, &l->key, &l->layer, err);
	}
	if (r == CACHE_MISS && l->desc->has_toc) {
		l->anchor = ANCHOR_STARGZ_TOC;
		layer_key_make(&l->desc->desc.digest, l->anchor, &l->desc->toc_digest, &l->key);
		r = layer_open(m->cache, &l->key, &l->layer, err);
	}
	if (r == CACHE_MISS) { /* also where a table of contents turned out to be unusable */
		l->anchor = ANCHOR_BLOB;
		layer_key_make(&l->desc->desc.digest, l->anchor, &l->desc->desc.digest, &l->key);
		r = layer_open(m->cache, &l->key, &l->layer, err);
	}
	if (r)
		return r;
	l->format = layer_format_lookup(layer_tables(l->layer)->header.format);
	if (!l->format)
		return error_set(err, -ENOTSUP,
				 "layer in the cache has a format this version does not know");
	return 0;
}

/* The same layer may stand in a manifest more than once; it is indexed once and opened again. */
static bool is_repeat(const struct image_layer *layers, uint32_t i)
{
	for (uint32_t j = 0; j < i; j++)
		if (digest_equal(&layers[j].desc->desc.digest, &layers[i].desc->desc.digest))
			return true;
	return false;
}

static int indexing_start(struct indexing *ix, struct work_pool *pool, struct image_layer *layers,
			  struct index_job *jobs, uint32_t n)
{
	int r = 0;

	for (uint32_t i = 0; i < n && r >= 0; i++) {
		if (layers[i].layer || is_repeat(layers, i))
			continue;
		jobs[i] = (struct index_job){.ix = ix, .layer = &layers[i]};
		atomic_fetch_add(&ix->progress->layers_total, 1);
		pthread_mutex_lock(&ix->lock);
		ix->running++;
		pthread_mutex_unlock(&ix->lock);
		r = work_submit(pool, WORK_DEMAND, index_job_run, &jobs[i]);
		if (r < 0) {
			pthread_mutex_lock(&ix->lock);
			ix->running--;
			ix->result = r;
			pthread_mutex_unlock(&ix->lock);
			atomic_store(&ix->stop, true);
		}
	}
	return r;
}

static int missing_index(struct morsel *m, struct resolved *rv, struct image_layer *layers,
			 struct index_progress *progress, struct error *err)
{
	struct indexing ix = {.m = m, .rv = rv, .progress = progress};
	uint32_t n = rv->manifest->n_layers;
	_cleanup_(freep) struct index_job *jobs = calloc(n, sizeof(*jobs));
	struct work_pool *pool;
	int r;

	if (!jobs)
		return -ENOMEM;
	r = work_pool_new(INDEX_THREADS, "morsel-index", &pool);
	if (r < 0)
		return r;
	pthread_mutex_init(&ix.lock, NULL);
	pthread_cond_init(&ix.done, NULL);
	indexing_start(&ix, pool, layers, jobs, n);
	r = indexing_wait(&ix, err);
	work_pool_free(pool);
	pthread_cond_destroy(&ix.done);
	pthread_mutex_destroy(&ix.lock);
	if (r < 0)
		return r;
	if (ix.result < 0 && ix.err.code)
		return error_set(err, ix.result, "%s", ix.err.text);
	return ix.result;
}

int layers_open(struct morsel *m, struct resolved *rv, struct image_layer *layers,
		struct index_progress *progress, struct error *err)
{
	uint32_t n = rv->manifest->n_layers, missing = 0;
	int r;

	for (uint32_t i = 0; i < n; i++) {
		struct image_layer *l = &layers[i];

		l->desc = &rv->manifest->layers[i];
		r = source_blob(rv->source, &l->desc->desc.digest, (uint64_t)l->desc->desc.size,
				&l->blob, err);
		if (r >= 0)
			r = layer_lookup(m, l, err);
		if (r < 0)
			return r;
		missing += r == CACHE_MISS;
	}
	if (missing) {
		r = missing_index(m, rv, layers, progress, err);
		if (r < 0)
			return r;
	}
	for (uint32_t i = 0; i < n; i++) { /* repeats, which somebody has indexed by now */
		if (layers[i].layer)
			continue;
		r = layer_lookup(m, &layers[i], err);
		if (r)
			return r < 0 ? r : -EIO;
	}
	return 0;
}

void layers_fini(struct image_layer *layers, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		layer_close(layers[i].layer);
		blob_close(layers[i].blob);
	}
}
