/* SPDX-License-Identifier: MIT */
/*
 * One layer, indexed now. With a table of contents only that is read: the end of the blob, twice at
 * most. Without one the whole blob streams through once: hashed here as it arrives, decompressed
 * and cut up in the sandboxed indexer, its contents kept. Nothing is published before every digest
 * matched: the blob's, the diffID, or the table's.
 */
#include "lib/layers.h"

#include "image/estargz_footer.h"
#include "image/indexer.h"
#include "image/sniff.h"
#include "image/toc_unwrap.h"

#define TAIL_BYTES (64u << 10) /* read with the footer, on the chance that the TOC fits */
#define TOC_COMPRESSED_MAX (64u << 20)

enum { TOC_UNUSABLE = 1 }; /* the layer is streamed */

struct index_run {
	struct morsel *m;
	struct resolved *rv;
	struct image_layer *l;
	const atomic_bool *cancel;
	struct index_progress *progress;
	struct layer_stage *stage;
	struct indexer *ix;
	struct hasher *hash;
	struct toc_unwrap *unwrap;
	bool in_memory; /* the disk turned out to be full */
	int failed;	/* the indexer's error, while the rest is still hashed */
	struct error failure;
	uint8_t head[SNIFF_BYTES]; /* of a streamed layer, until the format is known */
	size_t head_len;
	char name[DIGEST_TEXT_MAX];
	struct error *err;
};

static void run_fini(struct index_run *x)
{
	toc_unwrap_free(x->unwrap);
	indexer_free(x->ix);
	hasher_free(x->hash);
	layer_stage_free(x->stage);
}

static int run_init(struct index_run *x, enum anchor_kind anchor,
		    const struct digest *anchor_digest, enum digest_algo algo)
{
	int r;

	x->l->anchor = anchor;
	layer_key_make(&x->l->desc->desc.digest, anchor, anchor_digest, &x->l->key);
	digest_format(&x->l->desc->desc.digest, x->name);
	r = hasher_new(algo, &x->hash);
	if (r >= 0)
		r = layer_stage_new(x->m->cache, &x->l->key, &x->l->desc->desc.digest,
				    x->l->blob->size, x->in_memory, &x->stage, x->err);
	return r;
}

static int run_start_indexer(struct index_run *x, enum layer_format_id format, uint64_t data_end)
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

static void cost_note(struct index_run *x, const struct blob_cost *cost)
{
	atomic_fetch_add(&x->progress->requests, cost->requests);
	atomic_fetch_add(&x->progress->wire_bytes, cost->wire_bytes);
}

static int run_read(struct index_run *x, struct blob *b, uint64_t off, uint64_t len,
		    blob_sink_fn sink)
{
	struct blob_cost cost = {0};
	struct blob_read_options o = {.cancel = x->cancel, .cost = &cost};
	int r = blob_read(b, off, len, &o, sink, x, x->err);

	cost_note(x, &cost);
	return r;
}

static int digest_check(struct index_run *x, const char *what, const struct digest *want,
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

/* What the indexer has against the bytes counts only if they are the ones promised: so the rest is
 * fetched and hashed before it is believed. A full disk is no matter of bytes. */
static int stream_feed(struct index_run *x, const void *data, size_t n)
{
	if (!n || x->failed)
		return 0;
	x->failed = indexer_feed(x->ix, data, n, &x->failure);
	return x->failed == -ENOSPC || x->failed == -EDQUOT ? x->failed : 0;
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
	return digest_check(x, "the digest of its uncompressed data", &x->l->desc->diff_id, &got);
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
	r = digest_check(x, "the digest of the data received", &x->l->desc->desc.digest, &got);
	if (r < 0)
		return r;
	if (x->failed)
		return error_set(x->err, x->failed, "layer %s: %s", x->name, x->failure.text);
	r = diff_id_check(x);
	if (r < 0)
		return r;
	return layer_stage_commit(steal_ptr(x->stage), true, context_max_entries(x->m),
				  &x->l->layer, x->err);
}

/* ---- eStargz: the table of contents at the end ---- */

static int toc_too_big(struct index_run *x, uint64_t bytes)
{
	return error_set(x->err, -E2BIG,
			 "layer %s: its table of contents has %llu bytes, the limit is %u", x->name,
			 (unsigned long long)bytes, TOC_COMPRESSED_MAX);
}

/* As with a stream: first the digest, then what the indexer says. */
static int toc_json(void *userdata, const void *data, size_t n)
{
	struct index_run *x = userdata;

	hasher_update(x->hash, data, n);
	if (!x->failed)
		x->failed = indexer_feed(x->ix, data, n, &x->failure);
	return 0;
}

static int toc_sink(void *userdata, const void *data, size_t n)
{
	struct index_run *x = userdata;

	return toc_unwrap_feed(x->unwrap, data, n, x->err);
}

/* The last bytes of the blob, read with the footer on the chance that the table fits. */
struct tail {
	uint8_t *data; /* owned */
	uint64_t off, len;
};

static int tail_read(struct index_run *x, struct tail *t)
{
	struct blob_cost cost = {0};
	struct blob_read_options o = {.cancel = x->cancel, .cost = &cost};
	int r;

	t->len = min_u64(x->l->blob->size, TAIL_BYTES);
	t->off = x->l->blob->size - t->len;
	t->data = malloc(t->len + 1);
	if (!t->data)
		return -ENOMEM;
	r = blob_read_buf(x->l->blob, t->off, t->len, &o, t->data, x->err);
	cost_note(x, &cost);
	return r;
}

static int toc_read_inside(struct index_run *x, const struct tail *t, uint64_t toc_off,
			   uint64_t toc_end)
{
	uint64_t from = max_u64(toc_off, t->off);
	int r = 0;

	if (toc_end - toc_off > TOC_COMPRESSED_MAX)
		return toc_too_big(x, toc_end - toc_off);
	if (toc_off < t->off)
		r = run_read(x, x->l->blob, toc_off, t->off - toc_off, toc_sink);
	if (r >= 0)
		r = toc_unwrap_feed(x->unwrap, t->data + (from - t->off), toc_end - from, x->err);
	return r;
}

static int toc_read_outside(struct index_run *x, struct blob *toc)
{
	if (toc->size > TOC_COMPRESSED_MAX)
		return toc_too_big(x, toc->size);
	return run_read(x, toc, 0, toc->size, toc_sink);
}

/* The table's bytes are all there: do they have the digest the manifest promised, and make sense?
 */
static int toc_finish(struct index_run *x)
{
	struct error why = ERROR_INIT;
	struct digest got;
	int r = toc_unwrap_finish(x->unwrap, x->err);

	if (r < 0)
		return r;
	hasher_final(x->hash, &got);
	r = digest_check(x, "the digest of its table of contents", &x->l->desc->toc_digest, &got);
	if (r < 0)
		return r;
	r = x->failed ? x->failed : indexer_finish(x->ix, &why);
	if (r == -EILSEQ) { /* names were lost when the table was written */
		log_write(&x->m->log, LOG_INFO, "layer %s: %s; it is streamed instead", x->name,
			  x->failed ? x->failure.text : why.text);
		return TOC_UNUSABLE;
	}
	if (r < 0)
		return error_set(x->err, r, "layer %s: %s", x->name,
				 x->failed ? x->failure.text : why.text);
	return layer_stage_commit(steal_ptr(x->stage), false, context_max_entries(x->m),
				  &x->l->layer, x->err);
}

static int toc_run(struct index_run *x, const struct tail *t, const struct estargz_footer *footer,
		   struct blob *external)
{
	uint64_t end = x->l->blob->size - footer->footer_bytes;
	int r = run_start_indexer(x, LAYER_ESTARGZ, external ? end : footer->toc_off);

	if (r >= 0)
		r = toc_unwrap_new(toc_json, x, &x->unwrap);
	if (r >= 0)
		r = external ? toc_read_outside(x, external)
			     : toc_read_inside(x, t, footer->toc_off, end);
	return r < 0 ? r : toc_finish(x);
}

/* 0, TOC_UNUSABLE (the layer is then streamed), or an error. */
static int toc_index(struct index_run *x)
{
	_cleanup_(blob_closep) struct blob *external = NULL;
	struct estargz_footer footer;
	struct tail t = {0};
	int r = run_init(x, ANCHOR_STARGZ_TOC, &x->l->desc->toc_digest,
			 x->l->desc->toc_digest.algo);

	if (r >= 0)
		r = tail_read(x, &t);
	if (r >= 0)
		r = estargz_footer_parse(t.data, t.len, x->l->blob->size, &footer) ? TOC_UNUSABLE
										   : 0;
	if (!r && footer.kind == ESTARGZ_EXTERNAL_TOC &&
	    external_toc_open(x->m, x->rv->ref, &x->l->desc->desc.digest, &external, NULL))
		r = TOC_UNUSABLE;
	if (!r)
		r = toc_run(x, &t, &footer, external);
	free(t.data);
	return r;
}

static bool disk_is_full(int r)
{
	return r == -ENOSPC || r == -EDQUOT;
}

static int index_try(struct index_run *x, bool toc, struct error *err)
{
	struct error own = ERROR_INIT;
	struct index_run run = *x;
	int r;

	run.err = &own;
	r = toc ? toc_index(&run) : stream_index(&run);
	run_fini(&run);
	if (disk_is_full(r)) {
		own = ERROR_INIT;
		run = *x;
		run.err = &own;
		run.in_memory = true;
		r = toc ? toc_index(&run) : stream_index(&run);
		run_fini(&run);
	}
	if (r < 0 && own.code)
		error_set(err, r, "%s", own.text);
	return r;
}

int layer_index_now(struct morsel *m, struct resolved *rv, struct image_layer *l,
		    const atomic_bool *cancel, struct index_progress *progress, struct error *err)
{
	struct index_run x = {.m = m, .rv = rv, .l = l, .cancel = cancel, .progress = progress};
	int r = TOC_UNUSABLE;

	if (l->desc->has_toc)
		r = index_try(&x, true, err);
	if (r == TOC_UNUSABLE)
		r = index_try(&x, false, err);
	if (r >= 0)
		l->indexed_now = true;
	return r;
}
