/* SPDX-License-Identifier: MIT */
/* A VERIFY flight: chunks that the cache claims to have, against their digests. */
#include "cache/reader_impl.h"

#include <errno.h>
#include <sys/uio.h>

static void damage_report(struct flight *f, uint64_t i)
{
	struct reader *r = f->r;
	char blob[DIGEST_TEXT_MAX];

	COUNT(r, f->ls, digest_errors, 1);
	if (!log_limit_pass(&r->digest_log, reader_now(r), NS_PER_S))
		return;
	digest_format(&f->ls->conf.layer->meta.blob, blob);
	log_write(r->log, LOG_WARN,
		  "layer %s: chunk %llu in the cache is damaged; it is fetched again", blob,
		  (unsigned long long)i);
}

static int chunks_verify(struct flight *f, int flags)
{
	for (uint64_t i = f->chunk_first; i <= f->chunk_last; i++) {
		int r = layer_verify(f->ls->conf.layer, i, flags);

		if (r == -EBADMSG)
			damage_report(f, i);
		else if (r < 0)
			return r;
	}
	return 0;
}

/* flags: RWF_NOWAIT for a thread that must not wait for the disk; then -EAGAIN is possible. A
 * damaged chunk is no failure: whoever wants it finds it absent now. */
int verify_run(struct flight *f, int flags)
{
	uint64_t begin = trace_begin();
	int r = chunks_verify(f, flags);

	trace_span(TRACE_VERIFY, begin);
	return r;
}
