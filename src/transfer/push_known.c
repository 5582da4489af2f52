/* SPDX-License-Identifier: MIT */
/* Blobs whose digest is known: asked for first, mounted where that works, sent when they have to
 * be. */
#include "transfer/push_impl.h"

#include <errno.h>

struct copy {
	struct push_sink sink;
	struct hasher *hasher;
	uint64_t hashed; /* bytes; what is made again is not hashed again */
	struct error *err;
};

static int copy_sink(void *userdata, const void *data, size_t n)
{
	struct copy *c = userdata;
	uint64_t pos = c->sink.pos;
	int r;

	if (pos + n > c->hashed) {
		size_t skip = c->hashed - pos;

		hasher_update(c->hasher, (const uint8_t *)data + skip, n - skip);
		c->hashed = pos + n;
	}
	r = push_sink_write(&c->sink, data, n, c->err);
	if (r >= 0)
		push_count_done(c->sink.job, c->sink.pos);
	return r;
}

/* Everything from the upload's offset on. */
static int bytes_make(struct copy *c, struct blob *blob, struct error *err)
{
	struct push_job *job = c->sink.job;
	uint64_t off = upload_offset(c->sink.upload);
	struct blob_read_options o = {.cancel = &job->push->stop};

	c->sink.pos = off;
	if (!blob)
		return copy_sink(c, (const uint8_t *)job->data + off, job->size - off);
	return blob_read(blob, off, job->size - off, &o, copy_sink, c, err);
}

static int bytes_verify(struct copy *c, struct error *err)
{
	struct push_job *job = c->sink.job;
	char want[DIGEST_TEXT_MAX], have[DIGEST_TEXT_MAX];
	struct digest got;

	hasher_final(c->hasher, &got);
	if (digest_equal(&got, &job->digest))
		return 0;
	digest_format(&got, have);
	digest_format(&job->digest, want);
	return error_set(err, -EBADMSG, "blob %s is corrupt where it comes from: it is %s", want,
			 have);
}

static int blob_send(struct copy *c, struct blob *blob, struct error *err)
{
	struct push_job *job = c->sink.job;
	bool verified = false;
	int r;

	do {
		c->sink.outcome = 0;
		r = bytes_make(c, blob, err);
		if (r < 0 && !(r == -EAGAIN && c->sink.outcome == UPLOAD_REWIND))
			return r;
		if (r < 0)
			continue;
		if (!verified)
			r = bytes_verify(c, err);
		verified = true;
		if (r >= 0)
			r = upload_finish(c->sink.upload, &job->digest, job->size, err);
	} while (r == UPLOAD_REWIND || r == -EAGAIN);
	return r;
}

static int blob_upload(struct push_job *job, struct blob *blob, struct error *err)
{
	struct copy c = {.sink = {.job = job}, .err = err};
	int r = hasher_new(job->digest.algo, &c.hasher);

	if (r >= 0)
		r = target_upload(job->push->o.target, &job->digest, (int64_t)job->size,
				  &c.sink.upload, err);
	if (r >= 0)
		r = blob_send(&c, blob, err);
	if (c.sink.upload)
		atomic_fetch_add(&job->push->moved_bytes, upload_wire_bytes(c.sink.upload));
	upload_free(c.sink.upload);
	hasher_free(c.hasher);
	return r;
}

int push_job_known(struct push_job *job, struct error *err)
{
	_cleanup_(blob_closep) struct blob *blob = NULL;
	int r = target_has(job->push->o.target, &job->digest, job->size, err);

	if (r == TARGET_ABSENT && job->from)
		r = target_mount(job->push->o.target, &job->digest, job->size, err);
	if (r <= 0) {
		if (!r)
			push_count_done(job, job->size);
		return r < 0 ? r : PUSH_SKIPPED;
	}
	if (job->from)
		r = source_blob(job->from, &job->digest, job->size, &blob, err);
	return r < 0 ? r : blob_upload(job, blob, err);
}
