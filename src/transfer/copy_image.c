/* SPDX-License-Identifier: MIT */
#include "transfer/copy_image.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/work.h"
#include "image/descriptor.h"

#define INDEX_NESTING_MAX 2
#define BLOBS_MAX 100000u
#define COPY_THREADS 4u
#define PROGRESS_NS (100 * NS_PER_MS)

struct copy;

struct blob_job {
	struct copy *c;
	struct digest digest;
	uint64_t size;
	struct layout_blob *out; /* while it is being copied */
	struct error *err;
};

struct copy {
	const struct copy_options *o;
	struct copy_result *res;
	struct blob_job **jobs;
	uint32_t n_jobs, cap;
	atomic_bool stop;
	_Atomic uint64_t done_bytes, moved_bytes, skipped_bytes, requests;
	_Atomic uint32_t blobs_done;
	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t changed;
	uint32_t running;
	int result;
	struct error err;
};

/* ---- documents: what there is to copy ---- */

static int blob_add(struct copy *c, const struct descriptor *d, struct error *err)
{
	for (uint32_t i = 0; i < c->n_jobs; i++)
		if (digest_equal(&c->jobs[i]->digest, &d->digest))
			return c->jobs[i]->size == (uint64_t)d->size
				       ? 0
				       : error_set(err, -EBADMSG,
						   "one blob has two sizes in the image");
	if (c->n_jobs == BLOBS_MAX)
		return error_set(err, -E2BIG, "the image has more than %u blobs", BLOBS_MAX);
	if (c->n_jobs == c->cap) {
		uint32_t cap = c->cap ? 2 * c->cap : 64;
		struct blob_job **more = reallocarray(c->jobs, cap, sizeof(*more));

		if (!more)
			return -ENOMEM;
		c->jobs = more;
		c->cap = cap;
	}
	c->jobs[c->n_jobs] = calloc(1, sizeof(struct blob_job));
	if (!c->jobs[c->n_jobs])
		return -ENOMEM;
	*c->jobs[c->n_jobs++] =
		(struct blob_job){.c = c, .digest = d->digest, .size = (uint64_t)d->size};
	c->res->bytes += (uint64_t)d->size;
	return 0;
}

static int blob_of(struct copy *c, const json_t *obj, const char *what, struct error *err)
{
	struct descriptor d = {0};
	int r = descriptor_parse(obj, what, &d, err);

	if (r >= 0)
		r = blob_add(c, &d, err);
	descriptor_fini(&d);
	return r;
}

static int document_copy(struct copy *c, const struct source_document *doc, unsigned nesting,
			 struct error *err);

static int child_copy(struct copy *c, const struct descriptor *d, unsigned nesting,
		      struct error *err)
{
	struct source_document doc = {0};
	int r;

	if (nesting > INDEX_NESTING_MAX)
		return error_set(err, -E2BIG, "indexes nested deeper than %d", INDEX_NESTING_MAX);
	r = source_manifest(c->o->source, &d->digest, d->size, &doc, err);
	if (r >= 0)
		r = document_copy(c, &doc, nesting, err);
	source_document_fini(&doc);
	return r;
}

static int children_copy(struct copy *c, const json_t *root, unsigned nesting, struct error *err)
{
	json_t *list = NULL, *entry;
	size_t i;
	int r = json_get_array(root, "manifests", "image index", &list, err);

	json_array_foreach (list, i, entry) {
		struct descriptor d = {0};

		if (r < 0)
			break;
		r = descriptor_parse(entry, "an entry of the image index", &d, err);
		if (r >= 0)
			r = child_copy(c, &d, nesting + 1, err);
		descriptor_fini(&d);
	}
	return r < 0 ? r : 0;
}

static int manifest_copy(struct copy *c, const json_t *root, struct error *err)
{
	json_t *config = NULL, *layers = NULL, *layer;
	size_t i;
	int r = json_get_object(root, "config", "manifest", &config, err);

	if (!r)
		r = blob_of(c, config, "config", err);
	if (r >= 0)
		r = json_get_array(root, "layers", "manifest", &layers, err);
	json_array_foreach (layers, i, layer)
		if (r >= 0)
			r = blob_of(c, layer, "a layer", err);
	return r < 0 ? r : 0;
}

/* The document that stands for what was asked for. */
static int result_set(struct copy *c, const struct source_document *doc, const json_t *root,
		      enum manifest_kind kind)
{
	const char *type = json_string_value(json_object_get(root, "mediaType"));

	if (!type)
		type = doc->media_type && media_role_of(doc->media_type) != MEDIA_GENERIC
			       ? doc->media_type
		       : kind == MANIFEST_INDEX ? "application/vnd.oci.image.index.v1+json"
						: "application/vnd.oci.image.manifest.v1+json";
	c->res->digest = doc->digest;
	c->res->size = doc->body.len;
	c->res->media_type = strdup(type);
	return c->res->media_type ? 0 : -ENOMEM;
}

static int document_copy(struct copy *c, const struct source_document *doc, unsigned nesting,
			 struct error *err)
{
	_cleanup_(json_decrefp) json_t *root = NULL;
	struct descriptor chosen = {0};
	enum manifest_kind kind;
	int r = manifest_kind_of(doc->body.data, doc->body.len, doc->media_type, &kind, err);

	if (r >= 0 && kind == MANIFEST_INDEX && c->o->platform) { /* it stays behind */
		r = index_choose(doc->body.data, doc->body.len, c->o->platform, &chosen, err);
		if (r >= 0)
			r = child_copy(c, &chosen, nesting + 1, err);
		descriptor_fini(&chosen);
		return r;
	}
	if (r >= 0)
		r = json_parse(doc->body.data, doc->body.len, JSON_DOC_MAX, "manifest", &root, err);
	if (r >= 0 && !c->res->media_type)
		r = result_set(c, doc, root, kind);
	if (r >= 0)
		r = kind == MANIFEST_INDEX ? children_copy(c, root, nesting, err)
					   : manifest_copy(c, root, err);
	if (r < 0)
		return r;
	c->res->manifests++;
	return layout_put(c->o->to, &doc->digest, doc->body.data, doc->body.len, err);
}

/* ---- blobs ---- */

static int blob_sink(void *userdata, const void *data, size_t n)
{
	struct blob_job *j = userdata;

	atomic_fetch_add_explicit(&j->c->done_bytes, n, memory_order_relaxed);
	return layout_blob_write(j->out, data, n, j->err);
}

static int blob_copy(struct blob_job *j, struct error *err)
{
	_cleanup_(layout_blob_freep) struct layout_blob *out = NULL;
	_cleanup_(blob_closep) struct blob *in = NULL;
	struct blob_cost cost = {0};
	const struct blob_read_options o = {.cancel = &j->c->stop, .cost = &cost};
	int r = source_blob(j->c->o->source, &j->digest, j->size, &in, err);

	if (r >= 0)
		r = layout_blob_new(j->c->o->to, j->digest.algo, &out, err);
	j->out = out;
	j->err = err;
	if (r >= 0 && j->size)
		r = blob_read(in, 0, j->size, &o, blob_sink, j, err);
	if (r >= 0)
		r = layout_blob_commit(out, &j->digest, (int64_t)j->size, err);
	atomic_fetch_add(&j->c->moved_bytes, cost.wire_bytes);
	atomic_fetch_add(&j->c->requests, cost.requests);
	return r;
}

static void blob_run(void *arg)
{
	struct blob_job *j = arg;
	struct copy *c = j->c;
	struct error err = ERROR_INIT;
	int r = 0;

	if (atomic_load(&c->stop)) {
		r = -ECANCELED;
	} else if (layout_has(c->o->to, &j->digest, (int64_t)j->size)) {
		atomic_fetch_add(&c->skipped_bytes, j->size);
		atomic_fetch_add(&c->done_bytes, j->size);
	} else {
		r = blob_copy(j, &err);
	}
	atomic_fetch_add(&c->blobs_done, r >= 0);
	pthread_mutex_lock(&c->lock);
	if (r < 0 && !c->result) {
		c->result = r;
		c->err = err;
		atomic_store(&c->stop, true);
	}
	c->running--;
	pthread_cond_signal(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

static int progress_tell(struct copy *c, struct error *err)
{
	const struct copy_progress p = {.done_bytes = atomic_load(&c->done_bytes),
					.total_bytes = c->res->bytes,
					.blobs_done = atomic_load(&c->blobs_done),
					.blobs_total = c->n_jobs};

	if (c->o->cancel && atomic_load(c->o->cancel))
		return error_set(err, -ECANCELED, "interrupted");
	if (c->o->progress && c->o->progress(c->o->userdata, &p))
		return error_set(err, -ECANCELED, "given up by the caller");
	return 0;
}

static int blobs_wait(struct copy *c, struct error *err)
{
	const struct seam *s = c->o->seam;
	int r = 0;

	pthread_mutex_lock(&c->lock);
	while (c->running) {
		uint64_t at = s->monotonic_ns(s) + PROGRESS_NS;
		struct timespec ts = {(time_t)(at / NS_PER_S), (long)(at % NS_PER_S)};

		pthread_cond_clockwait(&c->changed, &c->lock, CLOCK_MONOTONIC, &ts);
		pthread_mutex_unlock(&c->lock);
		if (!r)
			r = progress_tell(c, err);
		if (r < 0)
			atomic_store(&c->stop, true);
		pthread_mutex_lock(&c->lock);
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

static int blobs_copy(struct copy *c, struct error *err)
{
	struct work_pool *pool;
	int r = work_pool_new(COPY_THREADS, "morsel-copy", &pool), started = 0;

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < c->n_jobs && started >= 0; i++) {
		pthread_mutex_lock(&c->lock);
		c->running++;
		pthread_mutex_unlock(&c->lock);
		started = work_submit(pool, WORK_DEMAND, blob_run, c->jobs[i]);
	}
	if (started < 0) {
		pthread_mutex_lock(&c->lock);
		c->running--;
		c->result = started;
		pthread_mutex_unlock(&c->lock);
		atomic_store(&c->stop, true);
	}
	r = blobs_wait(c, err);
	work_pool_free(pool);
	if (r >= 0 && c->result < 0) {
		r = c->result;
		if (c->err.code)
			error_set(err, r, "%s", c->err.text);
	}
	return r;
}

int copy_image(const struct copy_options *o, struct copy_result *ret, struct error *err)
{
	const struct seam *s = o->seam;
	struct copy c = {.o = o, .res = ret};
	struct source_document doc = {0};
	uint64_t start = s->monotonic_ns(s), then;
	int r;

	*ret = (struct copy_result){0};
	pthread_mutex_init(&c.lock, NULL);
	pthread_cond_init(&c.changed, NULL);
	r = source_resolve(o->source, &doc, err);
	if (r >= 0)
		r = document_copy(&c, &doc, 0, err);
	then = s->monotonic_ns(s);
	if (r >= 0)
		r = blobs_copy(&c, err);
	ret->documents_ns = then - start;
	ret->blobs_ns = s->monotonic_ns(s) - then;
	ret->blobs = c.n_jobs;
	ret->moved_bytes = atomic_load(&c.moved_bytes);
	ret->skipped_bytes = atomic_load(&c.skipped_bytes);
	ret->requests = atomic_load(&c.requests);
	source_document_fini(&doc);
	for (uint32_t i = 0; i < c.n_jobs; i++)
		free(c.jobs[i]);
	free(c.jobs);
	pthread_cond_destroy(&c.changed);
	pthread_mutex_destroy(&c.lock);
	return r;
}
