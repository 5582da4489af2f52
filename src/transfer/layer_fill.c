/* SPDX-License-Identifier: MIT */
/*
 * Where pieces end:
 *   estargz         before every chunk of contents: padding and the next headers stay with it
 *   zstd:chunked    before and after every chunk: readers take a chunk's frames whole
 *   the plain ones  between entries, at a place that the names decide, so that a file more or less
 *                   moves no borders but its neighbours'; and inside of large files
 */
#include "transfer/layer_fill.h"

#include <errno.h>
#include <isa-l/crc64.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/seam.h"
#include "image/path.h"
#include "transfer/entry_text.h"
#include "transfer/holes.h"
#include "transfer/tree_walk.h"

#define GAP_MAX (256u << 10)   /* bytes of headers in one piece */
#define GROUP_MIN (256u << 10) /* plain formats: entries go together up to here, */
#define GROUP_BORDER 8u	       /* and then on to the next of so many names */
#define LANDMARK "\x0f"

struct fill {
	struct layer_fill *f;
	struct pipeline *p;
	struct batch *b; /* being filled */
	struct piece piece;
	struct holes holes; /* of the file under way */
	struct buf header, name;
	bool estargz, chunked;
	bool ended_early; /* the file under way has fewer bytes than its size says */
};

/* Of a path in the image, what is below the directory. */
static const char *in_tree(const struct fill *s, const char *path)
{
	return path_below(path, s->f->prefix);
}

static bool cancelled(const struct fill *s)
{
	const _Atomic bool *flag = s->f->params->cancel;

	return flag && atomic_load_explicit(flag, memory_order_relaxed);
}

/* ---- pieces and batches ---- */

static int batch_end(struct fill *s)
{
	s->f->raw_bytes += s->b->raw.len;
	pipeline_give(s->p, s->b);
	return pipeline_take(s->p, &s->b);
}

/* Ends the piece, and the batch if it is full; the next byte begins a new one. */
static int cut(struct fill *s)
{
	int r = 0;

	s->piece.raw_len = s->b->raw.len - s->piece.raw_off;
	if (s->piece.raw_len)
		r = buf_append(&s->b->pieces, &s->piece, sizeof(s->piece));
	if (r >= 0 && s->b->raw.len >= BATCH_BYTES)
		r = batch_end(s);
	if (r >= 0)
		s->piece = (struct piece){.raw_off = s->b->raw.len};
	return r;
}

static size_t piece_len(const struct fill *s)
{
	return s->b->raw.len - s->piece.raw_off;
}

static int mark_add(struct fill *s, const struct mark *m)
{
	return buf_append(&s->b->marks, m, sizeof(*m));
}

/* Whether a group of entries may end before this one. */
static bool is_border(const struct tar_header *h)
{
	uint32_t hash = 2166136261u;

	for (const char *c = h->path; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 16777619u;
	return !((hash ^ hash >> 16) % GROUP_BORDER);
}

static int cut_before_entry(struct fill *s, const struct tar_header *h)
{
	if (s->estargz || s->chunked)
		return piece_len(s) - s->piece.data_len >= GAP_MAX ? cut(s) : 0;
	if ((piece_len(s) >= GROUP_MIN && is_border(h)) || piece_len(s) >= s->f->chunk_size ||
	    (piece_len(s) && h->size >= s->f->chunk_size))
		return cut(s);
	return 0;
}

/* ---- entries ---- */

static int header_put(struct fill *s, const struct tar_header *h)
{
	struct mark m = {.kind = MARK_ENTRY, .size = h->size};
	bool lossy;
	int r;

	s->header.len = s->name.len = 0;
	r = tar_header_encode(h, &s->header);
	if (r >= 0)
		r = cut_before_entry(s, h);
	if (r >= 0)
		r = buf_append(&s->b->raw, s->header.data, s->header.len);
	if (r < 0 || (!s->estargz && !s->chunked))
		return r;
	m.raw_off = s->b->raw.len;
	m.name_off = s->b->texts.len;
	r = tar_header_name(h, &s->b->texts);
	if (r < 0)
		return r;
	m.name_len = s->b->texts.len - m.name_off;
	r = buf_append(&s->name, s->b->texts.data + m.name_off, m.name_len);
	m.text_off = s->b->texts.len;
	if (r >= 0)
		r = entry_text(&s->b->texts, h, s->name.data, s->name.len, &lossy);
	m.text_len = s->b->texts.len - m.text_off;
	return r < 0 ? r : mark_add(s, &m);
}

/* Bytes from the file, or zeros of a hole: how many, 0 where the file ends early. */
static ssize_t some_read(struct fill *s, int fd, uint8_t *to, size_t n, uint64_t off)
{
	bool hole;

	n = (size_t)holes_next(&s->holes, off, n, &hole);
	if (!hole)
		return seam_real()->pread(seam_real(), fd, to, n, off, 0);
	memset(to, 0, n);
	s->piece.hole_len += n;
	return (ssize_t)n;
}

/* The next bytes of the file, or of memory; where the file ends early, zeros: the header has
 * promised them. */
static int bytes_read(struct fill *s, int fd, const void *memory, uint64_t off, size_t n)
{
	struct buf *raw = &s->b->raw;
	int r = buf_reserve(raw, n);
	size_t got = 0;

	if (r < 0)
		return r;
	if (memory) {
		memcpy(raw->data + raw->len, (const uint8_t *)memory + off, n);
		got = n;
	}
	while (got < n) {
		ssize_t k = some_read(s, fd, raw->data + raw->len + got, n - got, off + got);

		if (k < 0)
			return (int)k;
		if (!k)
			break;
		got += (size_t)k;
	}
	s->ended_early |= got < n;
	memset(raw->data + raw->len + got, 0, n - got);
	raw->len += n;
	return 0;
}

static int chunk_put(struct fill *s, int fd, const void *memory, uint64_t off, size_t n,
		     struct mark *end)
{
	bool table = s->estargz || s->chunked;
	struct mark m = {.kind = MARK_CHUNK, .size = n, .chunk_off = off, .many = end->many};
	int r = table || piece_len(s) >= s->f->chunk_size ? cut(s) : 0;

	if (r < 0)
		return r;
	m.raw_off = s->b->raw.len;
	m.piece = s->b->pieces.len / sizeof(struct piece);
	r = bytes_read(s, fd, memory, off, n);
	if (r < 0 || !table)
		return r;
	s->piece.data_len = n;
	r = mark_add(s, &m);
	if (r < 0 || s->estargz)
		return r;
	end->crc = crc64_iso_refl(end->crc, s->b->raw.data + m.raw_off, n);
	return cut(s);
}

static int contents_put(struct fill *s, const struct tar_header *h, int fd, const void *memory)
{
	static const uint8_t zeros[TAR_BLOCK_BYTES];
	struct mark m = {
		.kind = MARK_FILE_END, .size = h->size, .many = h->size > s->f->chunk_size};
	size_t rest = (size_t)(-h->size & (TAR_BLOCK_BYTES - 1));
	int r = 0;

	holes_begin(&s->holes, fd, h->size);
	for (uint64_t off = 0; off < h->size && r >= 0;) {
		size_t n = (size_t)min_u64(h->size - off, s->f->chunk_size);

		if (cancelled(s))
			return -ECANCELED;
		r = chunk_put(s, fd, memory, off, n, &m);
		off += n;
	}
	if (r < 0)
		return r;
	if (s->estargz || s->chunked) {
		m.raw_off = s->b->raw.len;
		r = mark_add(s, &m);
	}
	return r < 0 || !rest ? r : buf_append(&s->b->raw, zeros, rest);
}

/* A file that is not in the directory: of ours, or of the caller's. */
static int memory_put(struct fill *s, const struct tar_header *h, const void *data)
{
	int r = header_put(s, h);

	return r < 0 || !h->size ? r : contents_put(s, h, -1, data);
}

/* Always at the beginning of a member: what comes before it is to be fetched ahead. Nothing is, is
 * something that only eStargz has to say: whoever unpacks zstd:chunked sees these files. */
static int landmark_put(struct fill *s)
{
	bool some = s->f->entries;
	struct tar_header h = {.path = some ? ".prefetch.landmark" : ".no.prefetch.landmark",
			       .mode = S_IFREG,
			       .size = strlen(LANDMARK)};

	if (!s->estargz && !(s->chunked && some))
		return 0;
	return memory_put(s, &h, LANDMARK);
}

/* Names that mean something else in a layer: those that delete are the user's own business, but
 * those that no reader takes are not. */
static int whiteout_check(struct fill *s, const char *path, struct error *err)
{
	char copy[PATH_LEN_MAX + 1];
	size_t len = strlen(path);
	enum path_kind kind;

	if (!strstr(path, ".wh."))
		return 0;
	memcpy(copy, path, len + 1);
	if (path_classify(copy, &len, &kind, NULL) < 0)
		return error_set(err, -ENOTSUP,
				 "%s/%s is a name that images can't hold, \".wh.\" begins a mark "
				 "of what is deleted: leave it out with --exclude",
				 s->f->source->root_name, in_tree(s, path));
	if (kind != PATH_PLAIN)
		log_write(s->f->params->log, LOG_WARN,
			  "%s/%s is no file in an image, but deletes what layers below have",
			  s->f->source->root_name, in_tree(s, path));
	return 0;
}

static int early_end_check(struct fill *s, const char *path, struct error *err)
{
	const struct layer_source *src = s->f->source;

	if (!s->ended_early)
		return 0;
	s->ended_early = false;
	if (!src->allow_changed)
		return error_set(err, -ESTALE,
				 "%s/%s changed while it was read: it has fewer bytes than its "
				 "size says; leave it out with --exclude, or allow it with "
				 "--allow-changed",
				 src->root_name, in_tree(s, path));
	log_write(s->f->params->log, LOG_WARN,
		  "%s/%s has fewer bytes than its size says; the rest is zeros", src->root_name,
		  in_tree(s, path));
	return 0;
}

static int on_entry(void *userdata, const struct tar_header *h, int fd, struct error *err)
{
	struct fill *s = userdata;
	uint64_t start = seam_real()->monotonic_ns(seam_real());
	int r = whiteout_check(s, h->path, err);

	if (r < 0)
		return r;
	r = header_put(s, h);
	s->f->entries++;
	s->f->hardlinks += h->link && !S_ISLNK(h->mode);
	if (r >= 0 && fd >= 0)
		r = contents_put(s, h, fd, NULL);
	if (S_ISREG(h->mode) && !h->link) {
		s->f->files++;
		s->f->file_bytes += h->size;
	}
	s->f->read_ns += seam_real()->monotonic_ns(seam_real()) - start;
	if (r == -ECANCELED || r == -ENOMEM)
		return r;
	if (r < 0)
		return error_set_errno(err, r, "can't read %s/%s", s->f->source->root_name,
				       in_tree(s, h->path));
	return early_end_check(s, h->path, err);
}

static bool is_taken(void *userdata, const char *path)
{
	const struct fill *s = userdata;
	const char *extra = s->f->source->extra_name;
	bool plumbing = ((s->estargz || s->chunked) && (!strcmp(path, ".prefetch.landmark") ||
							!strcmp(path, ".no.prefetch.landmark"))) ||
			(s->estargz && !strcmp(path, "stargz.index.json"));

	if (plumbing)
		log_write(s->f->params->log, LOG_WARN,
			  "%s/%s is left out: in a layer of %s it has a meaning of its own",
			  s->f->source->root_name, in_tree(s, path),
			  layer_compression_name(s->f->params->compression));
	return plumbing || (extra && !strcmp(path, extra));
}

static int extra_put(struct fill *s)
{
	const struct layer_source *src = s->f->source;
	struct tar_header h = {.path = src->extra_name,
			       .mode = S_IFREG | 0644,
			       .uid = src->set_owner ? src->uid : 0,
			       .gid = src->set_owner ? src->gid : 0,
			       .mtime_s = src->clamp_mtime ? src->mtime_max_s : 0,
			       .size = src->extra_len};

	if (!src->extra_name)
		return 0;
	s->f->entries++;
	return memory_put(s, &h, src->extra_data);
}

static int tree_put(struct fill *s, struct tree_walk *w, struct error *err)
{
	const struct layer_source *src = s->f->source;
	int r = 0;

	for (size_t i = 0; i < src->n_first && r >= 0; i++)
		r = tree_walk_first(w, src->first[i], err);
	if (r >= 0)
		r = landmark_put(s);
	if (r >= 0)
		r = tree_walk_all(w, err);
	s->f->sockets = tree_walk_sockets(w);
	s->f->dropped_xattrs = tree_walk_dropped_xattrs(w);
	return r < 0 ? r : extra_put(s);
}

/* The end of the archive, but for eStargz, where the table of contents comes before it. */
static int end_put(struct fill *s)
{
	static const uint8_t zeros[2 * TAR_BLOCK_BYTES];
	int r = s->estargz ? 0 : buf_append(&s->b->raw, zeros, sizeof(zeros));

	if (r >= 0)
		r = cut(s);
	if (r < 0)
		return r;
	s->f->raw_bytes += s->b->raw.len;
	pipeline_give(s->p, s->b);
	return 0;
}

int layer_fill_run(struct layer_fill *f, struct pipeline *p, struct error *err)
{
	struct fill s = {.f = f,
			 .p = p,
			 .estargz = f->params->compression == LAYER_COMPRESS_ESTARGZ,
			 .chunked = f->params->compression == LAYER_COMPRESS_ZSTD_CHUNKED};
	struct tree_walk_options o = {.root_fd = f->source->root_fd,
				      .root_name = f->source->root_name,
				      .prefix = f->prefix,
				      .ignore = f->ignore,
				      .set_owner = f->source->set_owner,
				      .uid = f->source->uid,
				      .gid = f->source->gid,
				      .allow_changed = f->source->allow_changed,
				      .clamp_mtime = f->source->clamp_mtime,
				      .mtime_max_s = f->source->mtime_max_s,
				      .contents = true,
				      .is_taken = is_taken,
				      .entry = on_entry,
				      .userdata = &s,
				      .log = f->params->log,
				      .cancel = f->params->cancel};
	_cleanup_(tree_walk_freep) struct tree_walk *w = NULL;
	int r = tree_walk_new(&o, &w);

	if (r >= 0)
		r = pipeline_take(p, &s.b);
	if (r >= 0)
		r = tree_put(&s, w, err);
	if (r >= 0)
		r = end_put(&s);
	buf_fini(&s.header);
	buf_fini(&s.name);
	return r;
}
