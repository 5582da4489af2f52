/* SPDX-License-Identifier: MIT */
/* The jobs around the pipeline: compress, hash, write; and what is checked before. */
#include "transfer/layer_write.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include "base/seam.h"
#include "cache/members.h"
#include "image/path.h"
#include "transfer/compressor.h"
#include "transfer/layer_before.h"
#include "transfer/layer_end.h"
#include "transfer/layer_fill.h"
#include "transfer/layer_seen.h"
#include "transfer/stream_hash.h"

#define THREADS_MAX 256u
#define RING_BYTES (UINT64_C(64) << 20) /* of all batches, raw and compressed */
#define SLOTS_MIN 4u
#define PROGRESS_NS (5 * NS_PER_MS)

static const struct {
	const char *name;
	enum codec_kind codec;
	const char *media_type;
} formats[] = {
	[LAYER_COMPRESS_ESTARGZ] = {"estargz", CODEC_GZIP,
				    "application/vnd.oci.image.layer.v1.tar+gzip"},
	[LAYER_COMPRESS_ZSTD_CHUNKED] = {"zstd:chunked", CODEC_ZSTD,
					 "application/vnd.oci.image.layer.v1.tar+zstd"},
	[LAYER_COMPRESS_GZIP] = {"gzip", CODEC_GZIP, "application/vnd.oci.image.layer.v1.tar+gzip"},
	[LAYER_COMPRESS_ZSTD] = {"zstd", CODEC_ZSTD, "application/vnd.oci.image.layer.v1.tar+zstd"},
	[LAYER_COMPRESS_NONE] = {"none", CODEC_NONE, "application/vnd.oci.image.layer.v1.tar"},
};

struct writing {
	struct layer_fill fill; /* first: it is the pipeline's userdata, too */
	const struct layer_params *params;
	enum codec_kind kind;
	int level;
	bool table;
	unsigned threads;
	struct compressor **compressors; /* one a thread */
	struct layer_out out;
	struct stream_hash *file_hash; /* of files of several chunks */
	struct toc_write *toc;	       /* NULL: a plain format */
	struct members *store;	       /* NULL: there is no cache */
	uint64_t entries, progress_ns, members, members_cached, bytes_cached;
	_Atomic uint64_t compress_ns, hash_ns;
};

static uint64_t now_ns(void)
{
	return seam_real()->monotonic_ns(seam_real());
}

/* ---- the pipeline's jobs ---- */

static int fill_job(void *userdata, struct pipeline *p, struct error *err)
{
	struct writing *w = userdata;

	return layer_fill_run(&w->fill, p, err);
}

static int compress_job(void *userdata, unsigned thread, struct batch *b)
{
	struct writing *w = userdata;
	uint64_t start = now_ns(), hash_ns = 0;
	size_t n;
	struct piece *pieces = batch_pieces(b, &n);
	int r = 0;

	for (size_t i = 0; i < n && r >= 0; i++)
		r = compressor_piece(w->compressors[thread], b, &pieces[i], &hash_ns);
	if (r >= 0)
		compressor_identify(w->compressors[thread], b);
	atomic_fetch_add(&w->hash_ns, hash_ns);
	atomic_fetch_add(&w->compress_ns, now_ns() - start - hash_ns);
	return r;
}

static void diff_stage(void *userdata, struct batch *b)
{
	struct writing *w = userdata;
	uint64_t start = now_ns();

	stream_hash_stretch(w->out.diff_hash, b->id, b->raw.data, b->raw.len);
	atomic_fetch_add(&w->hash_ns, now_ns() - start);
}

/* Digests of files that have several chunks; the others' is their chunk's. */
static void file_stage(void *userdata, struct batch *b)
{
	struct writing *w = userdata;
	uint64_t start = now_ns();
	size_t n, n_pieces;
	struct mark *marks = batch_marks(b, &n);
	const struct piece *pieces = batch_pieces(b, &n_pieces);

	for (size_t i = 0; i < n; i++) {
		if (!marks[i].many)
			continue;
		if (marks[i].kind == MARK_CHUNK)
			stream_hash_stretch(w->file_hash, pieces[marks[i].piece].key,
					    b->raw.data + marks[i].raw_off, marks[i].size);
		else
			stream_hash_final(w->file_hash, &marks[i].digest);
	}
	atomic_fetch_add(&w->hash_ns, now_ns() - start);
}

static void progress(struct writing *w, bool last)
{
	uint64_t now = now_ns();
	struct layer_progress p = {
		.entries = w->entries, .raw_bytes = w->out.raw_len, .out_bytes = w->out.off};

	if (!w->params->progress || (!last && now - w->progress_ns < PROGRESS_NS))
		return;
	w->progress_ns = now;
	w->params->progress(w->params->userdata, &p);
}

/* Counts pieces, and keeps those that are new. */
static void pieces_keep(struct writing *w, const struct batch *b)
{
	size_t n;
	const struct piece *pieces = batch_pieces(b, &n);

	w->members += n;
	for (size_t i = 0; i < n; i++) {
		const struct piece *p = &pieces[i];

		if (p->cached) {
			w->members_cached++;
			w->bytes_cached += p->out_len;
		} else if (p->fresh)
			members_put(w->store, p->key, p->digest.bytes, b->out.data + p->out_off,
				    p->out_len);
	}
}

static int write_job(void *userdata, struct batch *b, struct error *err)
{
	struct writing *w = userdata;
	size_t n;
	const struct mark *marks = batch_marks(b, &n);
	uint64_t out_off = w->out.off;
	int r = layer_out_batch(&w->out, b, err);

	pieces_keep(w, b);
	w->out.raw_len += b->raw.len;
	for (size_t i = 0; i < n; i++)
		w->entries += marks[i].kind == MARK_ENTRY;
	if (r >= 0 && w->toc)
		r = toc_write_batch(w->toc, b, out_off);
	if (r >= 0 && w->params->cancel &&
	    atomic_load_explicit(w->params->cancel, memory_order_relaxed))
		r = error_set(err, -ECANCELED, "interrupted");
	progress(w, false);
	return r;
}

/* ---- setting up ---- */

static unsigned threads_of(const struct layer_params *p)
{
	cpu_set_t set;
	unsigned n = p->threads;

	if (!n && sched_getaffinity(0, sizeof(set), &set) >= 0)
		n = (unsigned)CPU_COUNT(&set);
	return n < 1 ? 1 : n > THREADS_MAX ? THREADS_MAX : n;
}

static int level_of(const struct layer_params *p, enum codec_kind kind, int *ret, struct error *err)
{
	int max = codec_level_max(kind);

	if (p->level && (p->level < 1 || p->level > max))
		return max ? error_set(err, -EINVAL, "level %d is not one of %s, which has 1 to %d",
				       p->level, formats[p->compression].name, max)
			   : error_set(err, -EINVAL, "without compression there is no level");
	*ret = p->level ? p->level : codec_level_default(kind);
	return 0;
}

static int writing_new(struct writing *w, const struct layer_params *params, struct error *err)
{
	uint32_t chunk = params->chunk_size ? params->chunk_size : LAYER_CHUNK_DEFAULT;
	struct members *pieces; /* NULL: nothing is compressed */
	int r;

	if (chunk < LAYER_CHUNK_MIN || chunk > LAYER_CHUNK_MAX)
		return error_set(err, -EINVAL, "a chunk size of %u bytes: it can be %u to %u",
				 chunk, LAYER_CHUNK_MIN, LAYER_CHUNK_MAX);
	w->fill.chunk_size = chunk;
	w->fill.params = w->params = params;
	w->kind = formats[params->compression].codec;
	w->table = layer_has_table(params->compression);
	w->threads = threads_of(params);
	r = level_of(params, w->kind, &w->level, err);
	if (r < 0)
		return r;
	w->compressors = calloc(w->threads, sizeof(struct compressor *));
	r = w->compressors ? 0 : -ENOMEM;
	if (r >= 0 && params->cache)
		r = members_open(params->cache, &w->store);
	pieces = w->kind == CODEC_NONE ? NULL : w->store;
	for (unsigned i = 0; i < w->threads && r >= 0; i++)
		r = compressor_new(w->kind, w->level, pieces, &w->compressors[i]);
	if (r >= 0)
		r = stream_hash_new(STREAM_BLOB, pieces, &w->out.blob_hash);
	if (r >= 0)
		r = stream_hash_new(STREAM_ARCHIVE, pieces, &w->out.diff_hash);
	if (r >= 0)
		r = stream_hash_new(STREAM_FILE, pieces, &w->file_hash);
	if (r >= 0 && w->table)
		r = toc_write_new(params->compression == LAYER_COMPRESS_ZSTD_CHUNKED, &w->toc);
	return r;
}

static void writing_fini(struct writing *w)
{
	for (unsigned i = 0; i < w->threads && w->compressors; i++)
		compressor_free(w->compressors[i]);
	free(w->compressors);
	stream_hash_free(w->out.blob_hash);
	stream_hash_free(w->out.diff_hash);
	stream_hash_free(w->file_hash);
	if (w->store)
		members_close(w->store);
	if (w->toc)
		toc_write_free(w->toc);
}

static unsigned slots_of(const struct writing *w)
{
	uint64_t bytes = 2 * (BATCH_BYTES + (uint64_t)w->fill.chunk_size);
	uint64_t most = max_u64(RING_BYTES / bytes, SLOTS_MIN);

	return (unsigned)min_u64(most, 2 * (uint64_t)w->threads + SLOTS_MIN);
}

static int end_write(struct writing *w, struct layer_result *res, struct error *err)
{
	switch (w->params->compression) {
	case LAYER_COMPRESS_ESTARGZ:
		return layer_end_estargz(&w->out, w->toc, res, err);
	case LAYER_COMPRESS_ZSTD_CHUNKED:
		return layer_end_zstd_chunked(&w->out, w->toc, res, err);
	default:
		return 0;
	}
}

static void result_fill(struct writing *w, struct layer_result *res)
{
	const struct layer_fill *f = &w->fill;

	stream_hash_final(w->out.blob_hash, &res->digest);
	stream_hash_final(w->out.diff_hash, &res->diff_id);
	res->size = w->out.off;
	res->raw_size = w->out.raw_len;
	res->compression = w->params->compression;
	res->media_type = layer_media_type(res->compression);
	res->entries = f->entries;
	res->files = f->files;
	res->file_bytes = f->file_bytes;
	res->hardlinks = f->hardlinks;
	res->sockets = f->sockets;
	res->dropped_xattrs = f->dropped_xattrs;
	res->members = w->members;
	res->members_cached = w->members_cached;
	res->bytes_cached = w->bytes_cached;
	res->read_ns = f->read_ns;
	res->compress_ns = w->compress_ns;
	res->hash_ns = w->hash_ns + w->out.hash_ns;
	res->sink_ns = w->out.sink_ns;
}

static int writing_run(struct writing *w, struct layer_result *res, struct error *err)
{
	struct pipeline_jobs jobs = {.fill = fill_job,
				     .compress = compress_job,
				     .stages = {diff_stage, file_stage},
				     .n_stages = w->table ? 2 : 1,
				     .write = write_job,
				     .userdata = w,
				     .threads = w->threads,
				     .slots = slots_of(w)};
	int r = pipeline_run(&jobs, err);

	if (r >= 0)
		r = end_write(w, res, err);
	if (r < 0)
		return r;
	result_fill(w, res);
	if (w->store && w->params->look)
		layer_seen_put(w->store, w->params->look, &res->digest, res->size);
	if (w->store)
		members_commit(w->store);
	progress(w, true);
	return 0;
}

int layer_write(const struct layer_params *params, const struct layer_source *source,
		const struct layer_sink *sink, struct layer_result *ret, struct error *err)
{
	_cleanup_(writing_fini) struct writing w = {.out = {.sink = sink}};
	_cleanup_(ignore_freep) struct ignore_list *ignore = NULL;
	struct layer_params p = *params;
	struct layer_result res = {0};
	char prefix[PATH_LEN_MAX + 1];
	uint64_t start = now_ns();
	int r = layer_source_prefix(source, prefix, err);

	if (r >= 0)
		r = layer_source_ignore(source, &ignore, err);
	if (r >= 0)
		r = layer_table_or_not(&p, source, prefix, ignore, err);
	w.fill.source = source;
	w.fill.prefix = prefix;
	w.fill.ignore = ignore;
	if (r >= 0)
		r = writing_new(&w, &p, err);
	if (r >= 0)
		r = writing_run(&w, &res, err);
	if (r < 0)
		return r;
	res.wall_ns = now_ns() - start;
	*ret = res;
	return 0;
}

/* ---- names ---- */

int layer_compression_parse(const char *text, enum layer_compression *ret, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (!strcmp(text, formats[i].name)) {
			*ret = (enum layer_compression)i;
			return 0;
		}
	return error_set(
		err, -EINVAL,
		"\"%s\" is no compression: there are estargz, zstd:chunked, gzip, zstd and "
		"none",
		text);
}

const char *layer_compression_name(enum layer_compression c)
{
	return formats[c].name;
}

const char *layer_media_type(enum layer_compression c)
{
	return formats[c].media_type;
}
