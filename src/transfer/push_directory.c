/* SPDX-License-Identifier: MIT */
/*
 * A directory on its way: its layer is made while it is sent. What the registry wants again is made
 * again, the same bytes, up to where it goes on. A registry that takes no stream gets a file: the
 * layer is made into one without a name in the cache's directory, and sent from there. A tree that
 * looks like one whose blob the target has is made without sending it.
 */
#include "transfer/push_impl.h"

#include <errno.h>

#include "cache/members.h"
#include "transfer/layer_seen.h"

#define PIECE ((size_t)1 << 20)

static void on_progress(void *userdata, const struct layer_progress *p)
{
	push_count_done(userdata, p->raw_bytes);
}

static struct layer_params params_of(struct push_job *job)
{
	struct layer_params params = job->params;

	params.cancel = &job->push->stop;
	params.progress = on_progress;
	params.userdata = job;
	params.look = &job->look;
	return params;
}

static int stream_send(struct push_sink *s, struct error *err)
{
	struct push_job *job = s->job;
	struct layer_params params = params_of(job);
	const struct layer_sink sink = {.write = push_sink_write, .userdata = s};
	int r;

	do {
		s->pos = 0;
		s->outcome = 0;
		r = layer_write(&params, job->layer, &sink, job->result, err);
		if (r == -EAGAIN && s->outcome)
			r = s->outcome;
		if (!r)
			r = upload_finish(s->upload, &job->result->digest, job->result->size, err);
	} while (r == UPLOAD_REWIND);
	return r;
}

/* ---- the spool file ---- */

struct spool {
	const struct seam *seam;
	int fd;
	uint64_t size;
};

static int spool_write(void *userdata, const void *data, size_t n, struct error *err)
{
	struct spool *sp = userdata;
	int r = seam_pwrite_full(sp->seam, sp->fd, data, n, sp->size);

	if (r < 0)
		return error_set_errno(err, r, "can't write the spool file in the cache");
	sp->size += n;
	return 0;
}

static int spool_make(struct push_job *job, struct spool *sp, struct error *err)
{
	struct layer_params params = params_of(job);
	const struct layer_sink sink = {.write = spool_write, .userdata = sp};
	const char *dir = cache_dir(job->push->o.cache);

	sp->seam = job->push->o.seam;
	sp->fd = sp->seam->openat(sp->seam, AT_FDCWD, dir, O_TMPFILE | O_RDWR, 0600);
	if (sp->fd < 0)
		return error_set_errno(err, sp->fd, "%s: can't make a spool file", dir);
	return layer_write(&params, job->layer, &sink, job->result, err);
}

static int spool_send(struct push_sink *s, const struct spool *sp, struct error *err)
{
	_cleanup_(freep) uint8_t *buf = malloc(PIECE);
	int r = 0;

	if (!buf)
		return -ENOMEM;
	s->pos = upload_offset(s->upload);
	while (r >= 0 && s->pos < sp->size) {
		size_t n = min_u64(PIECE, sp->size - s->pos);

		r = seam_pread_full(sp->seam, sp->fd, buf, n, s->pos);
		if (r < 0)
			return error_set_errno(err, r, "can't read the spool file in the cache");
		r = push_sink_write(s, buf, n, err);
		if (r == -EAGAIN && s->outcome == UPLOAD_REWIND) {
			s->pos = upload_offset(s->upload);
			r = 0;
		}
	}
	if (r >= 0)
		r = upload_finish(s->upload, &s->job->result->digest, sp->size, err);
	return r == UPLOAD_REWIND ? spool_send(s, sp, err) : r;
}

static int whole_send(struct push_job *job, struct error *err)
{
	struct push_sink s = {.job = job};
	struct spool sp = {.fd = -1};
	int r;

	log_write(job->push->o.log, LOG_INFO,
		  "the registry takes no streams; the layer is made in the cache first");
	r = spool_make(job, &sp, err);
	if (r >= 0)
		r = target_upload(job->push->o.target, &job->result->digest,
				  (int64_t)job->result->size, &s.upload, err);
	if (r >= 0)
		r = spool_send(&s, &sp, err);
	if (s.upload)
		atomic_fetch_add(&job->push->moved_bytes, upload_wire_bytes(s.upload));
	upload_free(s.upload);
	closep(&sp.fd);
	return r;
}

/* ---- what the target may have ---- */

static int nowhere_write(void *userdata, const void *data, size_t n, struct error *err)
{
	return 0;
}

/* The blob that this tree became the last time, by its looks. 0; > 0: it is not known. */
static int last_time(struct push_job *job, struct digest *ret, uint64_t *ret_size,
		     struct error *err)
{
	_cleanup_(members_closep) struct members *store = NULL;
	struct layer_params params = params_of(job);
	int r = layer_look(&params, job->layer, &job->look, err);

	if (r >= 0)
		r = members_open(job->push->o.cache, &store);
	return r < 0 ? r : layer_seen_get(store, &job->look, ret, ret_size);
}

/* PUSH_SKIPPED: the target has the very blob that the tree becomes. It is made to know that, and is
 * sent nowhere: what was the same by its looks has its pieces in the cache. */
static int directory_skip(struct push_job *job, struct error *err)
{
	const struct layer_sink sink = {.write = nowhere_write};
	struct layer_params params;
	struct digest last;
	uint64_t size;
	int r = last_time(job, &last, &size, err);

	if (!r)
		r = target_has(job->push->o.target, &last, size, err);
	if (r)
		return r < 0 ? r : 0;
	params = params_of(job);
	r = layer_write(&params, job->layer, &sink, job->result, err);
	if (r >= 0 && !digest_equal(&job->result->digest, &last))
		r = target_has(job->push->o.target, &job->result->digest, job->result->size, err);
	return r < 0 ? r : r == TARGET_ABSENT ? 0 : PUSH_SKIPPED;
}

static int directory_send(struct push_job *job, struct error *err)
{
	struct push_sink s = {.job = job};
	int r = target_upload(job->push->o.target, NULL, -1, &s.upload, err);

	if (r >= 0)
		r = stream_send(&s, err);
	if (s.upload)
		atomic_fetch_add(&job->push->moved_bytes, upload_wire_bytes(s.upload));
	upload_free(s.upload);
	if (r == UPLOAD_WHOLE)
		r = whole_send(job, err);
	return r;
}

int push_job_directory(struct push_job *job, struct error *err)
{
	int r = directory_skip(job, err);

	if (!r)
		r = directory_send(job, err);
	job->digest = job->result->digest;
	job->size = job->result->size;
	return r;
}
