/* SPDX-License-Identifier: MIT */
#include "transfer/push_impl.h"

#include <errno.h>

#define PROGRESS_NS (100 * NS_PER_MS)

int push_init(struct push *p, const struct push_options *o)
{
	*p = (struct push){.o = *o};
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->news, NULL);
	return work_pool_new(o->jobs ? o->jobs : PUSH_JOBS_DEFAULT, "morsel-push", &p->pool);
}

void push_fini(struct push *p)
{
	atomic_store(&p->stop, true);
	work_pool_free(p->pool);
	for (struct push_job *j = p->job_list, *next; j; j = next) {
		next = j->next;
		free(j);
	}
	pthread_cond_destroy(&p->news);
	pthread_mutex_destroy(&p->lock);
}

int push_check(struct push *p, struct error *err)
{
	if (atomic_load(&p->stop) || (p->o.cancel && atomic_load(p->o.cancel)))
		return error_set(err, -ECANCELED, "interrupted");
	return 0;
}

void push_count_done(struct push_job *job, uint64_t bytes)
{
	if (bytes <= job->reported) /* made again, and counted already */
		return;
	atomic_fetch_add(&job->push->done_bytes, bytes - job->reported);
	job->reported = bytes;
}

int push_sink_write(void *userdata, const void *data, size_t n, struct error *err)
{
	struct push_sink *s = userdata;
	uint64_t wanted = upload_offset(s->upload);
	const uint8_t *p = data;
	int r = push_check(s->job->push, err);

	if (r < 0)
		return r;
	if (s->pos < wanted) {
		size_t skip = min_u64(n, wanted - s->pos);

		s->pos += skip;
		p += skip;
		n -= skip;
	}
	r = upload_write(s->upload, p, n, err);
	if (r > 0) {
		s->outcome = r;
		return -EAGAIN;
	}
	s->pos += n;
	return r;
}

/* ---- jobs ---- */

static void job_run(void *arg)
{
	struct push_job *job = arg;
	struct push *p = job->push;
	struct error err = ERROR_INIT;
	int r = push_check(p, &err);

	if (r >= 0)
		r = job->run(job, &err);
	job->sent = r == 0;
	if (r == PUSH_SKIPPED) {
		atomic_fetch_add(&p->skipped_bytes, job->size);
		atomic_fetch_add(&p->blobs_skipped, 1);
	}
	if (r >= 0)
		atomic_fetch_add(&p->blobs_done, 1);
	pthread_mutex_lock(&p->lock);
	if (r < 0 && p->result >= 0) { /* who was stopped because of that comes later */
		p->result = r;
		p->err = err;
	}
	p->running--;
	pthread_cond_signal(&p->news);
	pthread_mutex_unlock(&p->lock);
	if (r < 0)
		atomic_store(&p->stop, true);
}

static int job_start(struct push *p, const struct push_job *what)
{
	struct push_job *job = malloc(sizeof(*job));
	int r;

	if (!job)
		return -ENOMEM;
	*job = *what;
	job->push = p;
	job->next = p->job_list;
	p->job_list = job;
	atomic_fetch_add(&p->blobs_total, 1);
	if (job->known)
		atomic_fetch_add(&p->total_bytes, job->size);
	pthread_mutex_lock(&p->lock);
	p->running++;
	pthread_mutex_unlock(&p->lock);
	r = work_submit(p->pool, WORK_DEMAND, job_run, job);
	if (r >= 0)
		return r;
	pthread_mutex_lock(&p->lock);
	p->running--;
	pthread_mutex_unlock(&p->lock);
	return r;
}

static bool is_begun(const struct push *p, const struct digest *d)
{
	for (const struct push_job *j = p->job_list; j; j = j->next)
		if (j->known && digest_equal(&j->digest, d))
			return true;
	return false;
}

int push_directory(struct push *p, const struct layer_params *params,
		   const struct layer_source *source, struct layer_result *result)
{
	return job_start(p, &(struct push_job){.run = push_job_directory,
					       .params = *params,
					       .layer = source,
					       .result = result});
}

int push_copy(struct push *p, struct source *from, const struct digest *d, uint64_t size)
{
	if (is_begun(p, d))
		return 0;
	return job_start(p, &(struct push_job){.run = push_job_known,
					       .known = true,
					       .digest = *d,
					       .size = size,
					       .from = from});
}

int push_bytes(struct push *p, const struct digest *d, const void *data, size_t n)
{
	if (is_begun(p, d))
		return 0;
	return job_start(p, &(struct push_job){.run = push_job_known,
					       .known = true,
					       .digest = *d,
					       .size = n,
					       .data = data});
}

/* ---- the end ---- */

/* A registry that says "created" may still not have it. */
static int blobs_confirm(struct push *p, struct error *err)
{
	char text[DIGEST_TEXT_MAX];

	for (struct push_job *j = p->job_list; j; j = j->next) {
		int r;

		if (!j->sent)
			continue;
		r = push_check(p, err);
		if (r >= 0)
			r = target_has(p->o.target, &j->digest, j->size, err);
		if (r < 0)
			return r;
		digest_format(&j->digest, text);
		if (r == TARGET_ABSENT)
			return error_set(err, -EPROTO,
					 "the registry said that it stored blob %s, and does not "
					 "have it; no tag was moved",
					 text);
		j->sent = false;
	}
	return 0;
}

int push_wait(struct push *p, struct error *err)
{
	int r = 0;

	pthread_mutex_lock(&p->lock);
	while (p->running) {
		uint64_t at = p->o.seam->monotonic_ns(p->o.seam) + PROGRESS_NS;
		struct timespec ts = {.tv_sec = (time_t)(at / NS_PER_S),
				      .tv_nsec = (long)(at % NS_PER_S)};

		pthread_cond_clockwait(&p->news, &p->lock, CLOCK_MONOTONIC, &ts);
		pthread_mutex_unlock(&p->lock);
		if (p->o.cancel && atomic_load(p->o.cancel))
			atomic_store(&p->stop, true);
		if (r >= 0 && p->o.progress)
			r = p->o.progress(p->o.userdata, err);
		if (r < 0)
			atomic_store(&p->stop, true);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	if (r < 0)
		return r;
	if (p->result < 0)
		return error_set(err, p->result, "%s",
				 p->err.code		   ? p->err.text
				 : p->result == -ENOMEM	   ? "out of memory"
				 : p->result == -ECANCELED ? "interrupted"
							   : "the push failed");
	return blobs_confirm(p, err);
}
