/* SPDX-License-Identifier: MIT */
/*
 * One layer, indexed now. With a table of contents only that is read (index_toc.c). Without one the
 * whole blob streams through once: hashed here as it arrives, decompressed and cut up in the
 * sandboxed indexer, its contents kept. Nothing is published before every digest matched: the
 * blob's, the diffID, or the table's.
 */
#include "lib/index_run.h"

#include "image/sniff.h"

static void run_fini(struct index_run *x)
{
	toc_unwrap_free(x->unwrap);
	indexer_free(x->ix);
	hasher_free(x->hash);
	hasher_free(x->packed_hash);
	layer_stage_free(x->stage);
}

int run_init(struct index_run *x, enum anchor_kind anchor, const struct digest *anchor_digest,
	     enum digest_algo algo)
{
	int r;

	x->l->anchor = anchor;
	layer_key_make(&x->l->desc->desc.digest, anchor, anchor_digest, &x->l->key);
	digest_format(&x->l->desc->desc.digest, x->name);
	r = hasher_new(algo, &x->hash);
	if (r >= 0)
		r = layer_stage_new(x->m->cache, &x->l->key, &x->l->desc->desc.digest,
				    x->l->blob->size, x->place, &x->stage, x->err);
	return r;
}

int run_start_indexer(struct index_run *x, enum layer_format_id format, uint64_t data_end)
{
	struct indexer_params p = {
		.format = format,
		.blob_bytes = x->l->blob->size,
		.data_end = data_end,
		.max_entries = context_max_entries(x->m),
		.data_fd = layer_stage_data_fd(x->stage),
		.table_fd = layer_stage_table_fd(x->stage),
	};

	x->l->format = layer_format_lookup(format);
	if (x->l->format->from_toc)
		p.data_fd = -1;
	return indexer_start(&p, &x->ix, x->err);
}

void run_cost_note(struct index_run *x, const struct blob_cost *cost)
{
	atomic_fetch_add(&x->progress->requests, cost->requests);
	atomic_fetch_add(&x->progress->wire_bytes, cost->wire_bytes);
}

int run_read(struct index_run *x, struct blob *b, uint64_t off, uint64_t len, blob_sink_fn sink)
{
	struct blob_cost cost = {0};
	struct blob_read_options o = {
		.cancel = x->cancel, .avoid = x->avoid, .served = &x->served, .cost = &cost};
	int r = blob_read(b, off, len, &o, sink, x, x->err);

	run_cost_note(x, &cost);
	return r;
}

int run_digest_check(struct index_run *x, const char *what, const struct digest *want,
		     const struct digest *got)
{
	char w[DIGEST_TEXT_MAX], g[DIGEST_TEXT_MAX];

	if (digest_equal(want, got))
		return 0;
	digest_format(want, w);
	digest_format(got, g);
	return error_set(
		x->err, -EBADMSG,
		"layer %s: %s is %s, expected %s: the data is corrupt or was tampered with",
		x->name, what, g, w);
}

/* ---- a layer without an index of its own ---- */

static bool disk_is_full(int r)
{
	return r == -ENOSPC || r == -EDQUOT || r == -EFBIG;
}

/* What the indexer has against the bytes counts only if they are the ones promised: so the rest is
 * fetched and hashed before it is believed. A full disk is no matter of bytes. */
static int stream_feed(struct index_run *x, const void *data, size_t n)
{
	if (!n || x->failed)
		return 0;
	x->failed = indexer_feed(x->ix, data, n, &x->failure);
	return disk_is_full(x->failed) ? x->failed : 0;
}

static int stream_flush_head(struct index_run *x)
{
	struct error why = ERROR_INIT;
	enum layer_format_id format;
	int r = layer_sniff(x->head, x->head_len, &format, &why);

	if (r < 0) {
		x->failed =
			error_set(&x->failure, r, "%s: %s", x->l->desc->desc.media_type, why.text);
		return 0;
	}
	r = run_start_indexer(x, format, x->l->blob->size);
	return r < 0 ? r : stream_feed(x, x->head, x->head_len);
}

static int stream_sink(void *userdata, const void *data, size_t n)
{
	struct index_run *x = userdata;
	const uint8_t *p = data;
	int r;

	hasher_update(x->hash, data, n);
	atomic_fetch_add(&x->progress->done_bytes, n);
	if (!x->ix && !x->failed) {
		size_t take = min_u64(n, sizeof(x->head) - x->head_len);

		memcpy(x->head + x->head_len, p, take);
		x->head_len += take;
		if (x->head_len < sizeof(x->head))
			return 0;
		r = stream_flush_head(x);
		if (r < 0)
			return r;
		p += take;
		n -= take;
	}
	return stream_feed(x, p, n);
}

/* The indexer's word on the decompressed bytes against the image's config. */
static int diff_id_check(struct index_run *x)
{
	struct digest got = {.algo = DIGEST_SHA256};
	struct layer_index_header h;
	int r;

	if (x->l->desc->diff_id.algo != DIGEST_SHA256)
		return error_set(x->err, -ENOTSUP, "layer %s: its diffID is not a sha256", x->name);
	r = seam_pread_full(x->m->seam, layer_stage_table_fd(x->stage), &h, sizeof(h), 0);
	if (r < 0)
		return error_set_errno(x->err, r == -ENODATA ? -EBADMSG : r,
				       "layer %s: the indexer left no tables", x->name);
	memcpy(got.bytes, h.diff_id, sizeof(h.diff_id));
	return run_digest_check(x, "the digest of its uncompressed data", &x->l->desc->diff_id,
				&got);
}

static int stream_index(struct index_run *x)
{
	struct digest got;
	int r;

	r = run_init(x, ANCHOR_BLOB, &x->l->desc->desc.digest, x->l->desc->desc.digest.algo);
	if (r < 0)
		return r;
	atomic_fetch_add(&x->progress->total_bytes, x->l->blob->size);
	r = run_read(x, x->l->blob, 0, x->l->blob->size, stream_sink);
	if (r >= 0 && !x->ix && !x->failed)
		r = stream_flush_head(x);
	if (r < 0)
		return r;
	if (!x->failed)
		x->failed = indexer_finish(x->ix, &x->failure);
	hasher_final(x->hash, &got);
	r = run_digest_check(x, "the digest of the data received", &x->l->desc->desc.digest, &got);
	if (r < 0)
		return r;
	x->verified = true;
	if (x->failed)
		return error_set(x->err, x->failed, "layer %s: %s", x->name, x->failure.text);
	r = diff_id_check(x);
	if (r < 0)
		return r;
	return layer_stage_commit(steal_ptr(x->stage), true, context_max_entries(x->m),
				  &x->l->layer, x->err);
}

static int index_try(struct index_run *x, bool toc, struct error *err)
{
	struct error own;
	struct index_run run;
	enum stage_place place = STAGE_DISK;
	int r;

	for (;;) {
		own = ERROR_INIT;
		run = *x;
		run.err = &own;
		run.place = place;
		r = toc ? toc_index(&run) : stream_index(&run);
		run_fini(&run);
		if (!disk_is_full(r) || place == STAGE_NOWHERE)
			break;
		place = place == STAGE_DISK && r != -EFBIG ? STAGE_MEMORY : STAGE_NOWHERE;
	}
	if (r == -EFBIG) {
		own = ERROR_INIT;
		r = error_set(&own, r,
			      "layer %s: its index is larger than files may be; raise the limit on "
			      "the size of files (ulimit -f)",
			      run.name);
	}
	x->verified = run.verified;
	x->served |= run.served;
	if (r < 0 && own.code)
		error_set(err, r, "%s", own.text);
	return r;
}

static int index_once(struct index_run *x, struct error *err)
{
	int r = TOC_UNUSABLE;

	x->served = 0;
	if (x->l->desc->has_toc || x->l->desc->has_zstd_chunked)
		r = index_try(x, true, err);
	if (r == TOC_UNUSABLE)
		r = index_try(x, false, err);
	return r;
}

/* Bytes that are not the ones promised are asked for at the next place that has them. */
int layer_index_now(struct morsel *m, struct resolved *rv, struct image_layer *l,
		    const atomic_bool *cancel, struct index_progress *progress, struct error *err)
{
	struct index_run x = {.m = m, .rv = rv, .l = l, .cancel = cancel, .progress = progress};
	int r;

	for (;;) {
		struct error why = ERROR_INIT;

		r = index_once(&x, &why);
		x.avoid |= x.served;
		if (r != -EBADMSG || x.verified || !x.served || !blob_has_other(l->blob, x.avoid)) {
			if (r < 0 && why.code)
				error_set(err, r, "%s", why.text);
			break;
		}
		log_write(&m->log, LOG_WARN, "%s; asking another place", why.text);
	}
	if (r >= 0)
		l->indexed_now = true;
	return r;
}
