/* SPDX-License-Identifier: MIT */
/*
 * Chunks are decoded in runs of spans, each compared with its digest before it is stored. What does
 * not match, or can't be decoded, is never stored, and spoils nothing but its span.
 */
#include "cache/fetch_impl.h"

#include <errno.h>
#include <stdio.h>

#define BATCH_BYTES (UINT64_C(2) << 20) /* compressed, decoded at once after the first batch */

static void range_add(struct chunk_range *r, uint64_t i)
{
	*r = r->any ? (struct chunk_range){min_u64(r->first, i), max_u64(r->last, i), true}
		    : (struct chunk_range){i, i, true};
}

static void mismatch_report(struct fetch *x, uint64_t i, const struct digest *got)
{
	struct reader *r = x->f->r;
	struct digest want = {.algo = DIGEST_SHA256};
	char blob[DIGEST_TEXT_MAX], w[DIGEST_TEXT_MAX], g[DIGEST_TEXT_MAX] = "undecodable";
	char text[sizeof(r->last_error)];

	COUNT(r, x->ls, digest_errors, 1);
	memcpy(want.bytes, x->ls->index->chunks[i].digest, sizeof(x->ls->index->chunks[i].digest));
	digest_format(&x->ls->conf.layer->meta.blob, blob);
	digest_format(&want, w);
	if (got)
		digest_format(got, g);
	snprintf(text, sizeof(text), "layer %s: chunk %llu is %s, expected %s: %s", blob,
		 (unsigned long long)i, g, w,
		 x->again ? "what the registry sends is corrupt" : "it is fetched again");
	if (x->again)
		error_set(x->err, -EBADMSG, "%s", text);
	else if (log_limit_pass(&r->digest_log, reader_now(r), NS_PER_S))
		log_write(r->log, reader_loudness(r), "%s", text);
}

static int chunk_arrived(void *userdata, uint64_t i, const void *data, size_t len)
{
	struct fetch *x = userdata;
	const struct layer_chunk *c = &x->ls->index->chunks[i];
	struct digest got;
	uint64_t begin;
	int r;

	x->delivered = i + 1;
	COUNT(x->f->r, x->ls, bytes_decoded, len);
	if (layer_chunk_state(x->ls->conf.layer, i) != CHUNK_ABSENT)
		return 0;
	begin = trace_begin();
	digest_of(DIGEST_SHA256, data, len, &got);
	trace_span(TRACE_VERIFY, begin);
	if (len != c->len || memcmp(got.bytes, c->digest, sizeof(c->digest))) {
		if (!x->bad.any)
			mismatch_report(x, i, &got);
		range_add(&x->bad, i);
		return 0;
	}
	begin = trace_begin();
	r = layer_store(x->ls->conf.layer, i, data, x->locked);
	trace_span(TRACE_CACHE, begin);
	return r;
}

/* Decodes chunks [next, end), all of whose bytes are in buf. Where the bytes make no sense the
 * rest of that span is bad, and the next span is another matter. */
static int decode_to(struct fetch *x, uint64_t end)
{
	const struct layer_index *ix = x->ls->index;
	const struct chunk_sink sink = {.chunk = chunk_arrived, .userdata = x};

	while (x->next < end) {
		uint64_t first = ix->chunks[x->next].span, last = ix->chunks[end - 1].span_last;
		uint64_t off = ix->spans[first].in_off, bad_span, begin = trace_begin();
		int r;

		x->delivered = x->next;
		r = x->ls->conf.format->decode(ix, first, last, x->buf + (off - x->blob_off),
					       ix->spans[last].in_end - off, x->next, end - 1,
					       &sink);
		trace_span(TRACE_DECOMPRESS, begin);
		if (r >= 0 && x->delivered == end) {
			x->next = end;
			return 0;
		}
		if (r < 0 && r != -EBADMSG)
			return r;
		if (x->delivered >= end)
			x->delivered = end - 1;
		bad_span = ix->chunks[x->delivered].span;
		if (!x->bad.any)
			mismatch_report(x, x->delivered, NULL);
		for (x->next = x->delivered; x->next < end && ix->chunks[x->next].span == bad_span;
		     x->next++)
			range_add(&x->bad, x->next);
	}
	return 0;
}

/* Whether somebody waits for what is ready and not more. Decoding starts at a span's beginning, so
 * that what lies deep in one is not worth a batch of its own. */
static bool is_waited_for(const struct fetch *x)
{
	const struct layer_index *ix = x->ls->index;
	struct reader *r = x->f->r;
	bool found = false;

	if (x->next != x->from && ix->chunks[x->next].span_off)
		return false;
	pthread_mutex_lock(&r->lock);
	for (const struct wait *w = x->f->waits; w && !found; w = w->next)
		found = x->next <= w->last && w->last < x->ready;
	pthread_mutex_unlock(&r->lock);
	return found;
}

int fetch_decode(struct fetch *x, bool all)
{
	const struct layer_index *ix = x->ls->index;
	struct cache *c = x->ls->conf.layer->cache;
	uint64_t have = x->blob_off + x->len, bytes;
	int r;

	while (x->ready < x->to && ix->spans[ix->chunks[x->ready].span_last].in_end <= have)
		x->ready++;
	if (x->ready == x->next)
		return 0;
	bytes = ix->spans[ix->chunks[x->ready - 1].span_last].in_end -
		ix->spans[ix->chunks[x->next].span].in_off;
	if (!all && bytes < BATCH_BYTES && !is_waited_for(x))
		return 0;
	r = decode_to(x, x->ready);
	if (r < 0)
		return r;
	pthread_mutex_lock(&x->f->r->lock);
	x->f->bad = x->bad;
	pthread_mutex_unlock(&x->f->r->lock);
	flight_progress(x->f, x->next, true);
	cache_evict_if_over(c);
	counter_add(&x->f->r->counters->evictions, atomic_exchange(&c->evicted_chunks, 0));
	return 0;
}
