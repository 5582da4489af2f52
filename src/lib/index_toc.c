/* SPDX-License-Identifier: MIT */
/*
 * A layer with a table of contents: only that is read, the end of the blob, twice at most.
 *
 * Which format it is, the end of the blob says, not an annotation's name: eStargz has a gzip
 * member there, zstd:chunked a skippable frame. (A zstd blob without such a footer may have its
 * table where the annotation says, as podman looks for it.) There is one table, and every digest
 * that the manifest gives for one must be that table's: the checksum is over it as it is in the
 * blob, the TOC digest over its JSON. A table that is missing, or can't be used, costs laziness;
 * one that is not what was promised costs the layer.
 */
#include "lib/index_run.h"

#include "image/estargz_footer.h"
#include "image/zstd_chunked_footer.h"

#define TAIL_BYTES (64u << 10) /* read with the footer, on the chance that the TOC fits */
#define TOC_COMPRESSED_MAX (64u << 20)

/* The last bytes of the blob. */
struct tail {
	uint8_t *data; /* owned */
	uint64_t off, len;
};

struct toc_place {
	enum layer_format_id format;
	uint64_t off, end;     /* in the blob, unless it is external */
	uint64_t raw_len;      /* zstd:chunked */
	uint64_t data_end;     /* no chunk reaches past it */
	struct blob *external; /* owned */
};

static int tail_read(struct index_run *x, struct tail *t)
{
	struct blob_cost cost = {0};
	struct blob_read_options o = {
		.cancel = x->cancel, .avoid = x->avoid, .served = &x->served, .cost = &cost};
	int r;

	t->len = min_u64(x->l->blob->size, TAIL_BYTES);
	t->off = x->l->blob->size - t->len;
	t->data = malloc(t->len + 1);
	if (!t->data)
		return -ENOMEM;
	r = blob_read_buf(x->l->blob, t->off, t->len, &o, t->data, x->err);
	run_cost_note(x, &cost);
	return r;
}

/* ---- where it is ---- */

/* 0, TOC_UNUSABLE */
static int place_estargz(struct index_run *x, const struct estargz_footer *f, struct toc_place *p)
{
	uint64_t end = x->l->blob->size - f->footer_bytes;

	if (!x->l->desc->has_toc) /* nothing to verify it against */
		return TOC_UNUSABLE;
	*p = (struct toc_place){
		.format = LAYER_ESTARGZ, .off = f->toc_off, .end = end, .data_end = f->toc_off};
	if (f->kind != ESTARGZ_EXTERNAL_TOC)
		return 0;
	p->data_end = end;
	return external_toc_open(x->m, x->rv->ref, &x->l->desc->desc.digest, &p->external, NULL)
		       ? TOC_UNUSABLE
		       : 0;
}

/* The position in the manifest's annotation: 0, TOC_UNUSABLE (there is none), -EBADMSG. */
static int annotated_position(struct index_run *x, struct zstd_chunked_position *ret)
{
	const struct manifest_layer *d = x->l->desc;

	if (!d->has_zstd_chunked || d->zstd_off < 0)
		return TOC_UNUSABLE;
	*ret = (struct zstd_chunked_position){.off = (uint64_t)d->zstd_off,
					      .len = (uint64_t)d->zstd_len,
					      .raw_len = (uint64_t)d->zstd_raw_len};
	if (zstd_chunked_position_fits(ret, (uint64_t)d->zstd_type, x->l->blob->size))
		return 0;
	return error_set(
		x->err, -EBADMSG,
		"layer %s: its annotation says that the table of contents is at byte %llu, "
		"with %llu bytes, which can't be",
		x->name, (unsigned long long)ret->off, (unsigned long long)ret->len);
}

static int place_zstd_chunked(struct index_run *x, const struct tail *t, struct toc_place *p)
{
	struct zstd_chunked_position said = {0}, at;
	int r = annotated_position(x, &said);
	bool has_footer = !zstd_chunked_footer_parse(t->data, t->len, x->l->blob->size, &at);

	if (r < 0 || (r && !has_footer))
		return r;
	if (!has_footer)
		at = said;
	else if (!r && (said.off != at.off || said.len != at.len || said.raw_len != at.raw_len))
		return error_set(x->err, -EBADMSG,
				 "layer %s: its annotation and its footer disagree on where the "
				 "table of contents is",
				 x->name);
	*p = (struct toc_place){.format = LAYER_ZSTD_CHUNKED,
				.off = at.off,
				.end = at.off + at.len,
				.raw_len = at.raw_len,
				.data_end = at.off - ZSTD_SKIPPABLE_HEADER};
	return 0;
}

static int place_find(struct index_run *x, const struct tail *t, struct toc_place *p)
{
	struct estargz_footer f;

	if (!estargz_footer_parse(t->data, t->len, x->l->blob->size, &f))
		return place_estargz(x, &f, p);
	return place_zstd_chunked(x, t, p);
}

static int toc_limits_check(struct index_run *x, const struct toc_place *p)
{
	uint64_t bytes = p->external ? p->external->size : p->end - p->off;

	if (bytes > TOC_COMPRESSED_MAX)
		return error_set(x->err, -E2BIG,
				 "layer %s: its table of contents has %llu bytes, the limit is %u",
				 x->name, (unsigned long long)bytes, TOC_COMPRESSED_MAX);
	if (p->raw_len > TOC_RAW_MAX)
		return error_set(x->err, -E2BIG,
				 "layer %s: its table of contents has %llu bytes unpacked, the "
				 "limit is %llu",
				 x->name, (unsigned long long)p->raw_len,
				 (unsigned long long)TOC_RAW_MAX);
	return 0;
}

/* ---- what it says ---- */

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

	hasher_update(x->packed_hash, data, n);
	if (!x->unwrap_failed)
		x->unwrap_failed = toc_unwrap_feed(x->unwrap, data, n, &x->failure);
	return 0;
}

static int toc_read_inside(struct index_run *x, const struct tail *t, const struct toc_place *p)
{
	uint64_t from = max_u64(p->off, t->off), ahead_end = min_u64(p->end, t->off);
	int r = 0;

	if (p->off < ahead_end)
		r = run_read(x, x->l->blob, p->off, ahead_end - p->off, toc_sink);
	if (r >= 0 && from < p->end)
		r = toc_sink(x, t->data + (from - t->off), p->end - from);
	return r;
}

/* Every promise that the manifest makes of a table. */
static int toc_digests_check(struct index_run *x)
{
	const struct manifest_layer *d = x->l->desc;
	struct digest got;
	int r = 0;

	hasher_final(x->packed_hash, &got);
	if (d->has_zstd_chunked)
		r = run_digest_check(x, "the checksum of its table of contents", &d->zstd_checksum,
				     &got);
	if (r >= 0 && x->unwrap_failed)
		r = error_set(x->err, x->unwrap_failed, "layer %s: %s", x->name, x->failure.text);
	hasher_final(x->hash, &got);
	if (r >= 0 && d->has_toc)
		r = run_digest_check(x, "the digest of its table of contents", &d->toc_digest,
				     &got);
	return r;
}

/* The table's bytes are all there: are they what the manifest promised, and do they make sense? */
static int toc_finish(struct index_run *x)
{
	int r;

	if (!x->unwrap_failed)
		x->unwrap_failed = toc_unwrap_finish(x->unwrap, &x->failure);
	r = toc_digests_check(x);
	if (r < 0)
		return r;
	x->verified = true;
	if (!x->failed)
		x->failed = indexer_finish(x->ix, &x->failure);
	if (x->failed == -EILSEQ) { /* a true table, but not one that shows all there is */
		log_write(&x->m->log, LOG_INFO, "layer %s: %s; it is streamed instead", x->name,
			  x->failure.text);
		return TOC_UNUSABLE;
	}
	if (x->failed < 0)
		return error_set(x->err, x->failed, "layer %s: %s", x->name, x->failure.text);
	return layer_stage_commit(steal_ptr(x->stage), false, context_max_entries(x->m),
				  &x->l->layer, x->err);
}

static int toc_start(struct index_run *x, const struct toc_place *p)
{
	const struct manifest_layer *d = x->l->desc;
	bool chunked = p->format == LAYER_ZSTD_CHUNKED && d->has_zstd_chunked;
	int r = run_init(x, chunked ? ANCHOR_ZSTD_CHUNKED : ANCHOR_STARGZ_TOC,
			 chunked ? &d->zstd_checksum : &d->toc_digest,
			 d->has_toc ? d->toc_digest.algo : DIGEST_SHA256);

	if (r >= 0)
		r = hasher_new(d->has_zstd_chunked ? d->zstd_checksum.algo : DIGEST_SHA256,
			       &x->packed_hash);
	if (r >= 0)
		r = run_start_indexer(x, p->format, p->data_end);
	if (r < 0)
		return r;
	if (p->format == LAYER_ZSTD_CHUNKED)
		return toc_unwrap_new_zstd(p->raw_len, toc_json, x, &x->unwrap);
	return toc_unwrap_new(toc_json, x, &x->unwrap);
}

int toc_index(struct index_run *x)
{
	struct toc_place p = {0};
	struct tail t = {0};
	int r;

	digest_format(&x->l->desc->desc.digest, x->name);
	r = tail_read(x, &t);
	if (!r)
		r = place_find(x, &t, &p);
	if (!r)
		r = toc_limits_check(x, &p);
	if (!r)
		r = toc_start(x, &p);
	if (!r)
		r = p.external ? run_read(x, p.external, 0, p.external->size, toc_sink)
			       : toc_read_inside(x, &t, &p);
	if (!r)
		r = toc_finish(x);
	blob_close(p.external);
	free(t.data);
	return r;
}
