/* SPDX-License-Identifier: MIT */
/*
 * eStargz: a gzip blob of many members with a table of contents. A span is one member. Files get
 * their place on the device in the order in which they stand in the blob, so that chunks are
 * sorted on the device and in the stream alike and neighbours in one are neighbours in the other.
 */
#include "image/layer_format.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <sys/stat.h>

#include "image/toc.h"

#define FEED_BYTES (256u << 10)
#define MEMBER_RAW_MAX (UINT64_C(64) << 20) /* bytes decoded from one member */

struct toc_chunk {
	uint64_t offset, inner; /* member, and bytes of its output to skip */
	uint64_t file_off, len;
	uint32_t file; /* index into files */
	uint32_t seq;  /* keeps the sort stable */
	uint8_t digest[32];
};

struct toc_file {
	uint64_t entry; /* builder index */
	uint64_t size;
	uint64_t first, n; /* chunks */
};

struct estargz_index {
	struct layer_builder *b;
	const struct index_source *in;
	struct buf chunks, files; /* of the structs above */
	bool open;		  /* the last file still takes chunks */
	uint64_t open_off;	  /* where its next chunk starts */
	struct digest open_digest;
	struct error *err;
};

static int refuse(struct estargz_index *x, int code, const struct toc_entry *e, const char *what)
{
	return error_set(x->err, code, "the table of contents: \"%.*s\": %s",
			 (int)min_u64(e->name.len, 120), e->name.len ? (char *)e->name.data : "",
			 what);
}

static struct toc_file *last_file(struct estargz_index *x)
{
	return (struct toc_file *)(x->files.data + x->files.len) - 1;
}

/* A file's chunks must tile it exactly before the next file starts. */
static int file_close(struct estargz_index *x)
{
	if (!x->open)
		return 0;
	x->open = false;
	if (x->open_off != last_file(x)->size)
		return error_set(
			x->err, -EBADMSG,
			"the table of contents: the chunks of a file have %llu of its %llu bytes",
			(unsigned long long)x->open_off, (unsigned long long)last_file(x)->size);
	return 0;
}

static int chunk_add(struct estargz_index *x, const struct toc_entry *e)
{
	struct toc_file *f = last_file(x);
	struct toc_chunk c = {.offset = e->offset,
			      .inner = e->inner_offset,
			      .file_off = e->chunk_offset,
			      .file = (uint32_t)(f - (struct toc_file *)x->files.data),
			      .seq = (uint32_t)(x->chunks.len / sizeof(c))};
	const struct digest *d = &e->chunk_digest;
	uint64_t left = f->size - x->open_off;

	if (e->chunk_offset != x->open_off || !left)
		return refuse(x, -EBADMSG, e, "its chunks do not follow each other");
	c.len = e->chunk_size ? e->chunk_size : left;
	if (c.len > left)
		return refuse(x, -EBADMSG, e, "a chunk reaches past its end");
	if (c.len > CHUNK_MAX)
		return refuse(x, -E2BIG, e, "a chunk of more than 8 MiB");
	if (e->offset >= x->in->data_end) /* absent = 0: the first member */
		return refuse(x, -EBADMSG, e, "a chunk that is not in the blob");
	if (c.inner > MEMBER_RAW_MAX - c.len)
		return refuse(x, -E2BIG, e, "a chunk deeper than 64 MiB inside a gzip member");
	if (!d->algo && c.len == f->size)
		d = &x->open_digest;
	if (!d->algo)
		return refuse(x, -EBADMSG, e, "a chunk without a digest can't be verified");
	memcpy(c.digest, d->bytes, sizeof(c.digest));
	x->open_off += c.len;
	f->n++;
	return buf_append(&x->chunks, &c, sizeof(c));
}

static int file_open(struct estargz_index *x, const struct toc_entry *e, uint64_t entry)
{
	struct toc_file f = {
		.entry = entry, .size = e->size, .first = x->chunks.len / sizeof(struct toc_chunk)};
	int r = buf_append(&x->files, &f, sizeof(f));

	if (r < 0)
		return r;
	x->open = true;
	x->open_off = 0;
	x->open_digest = e->digest;
	return chunk_add(x, e);
}

static bool is(const struct buf *b, const char *text)
{
	return b->len == strlen(text) && !memcmp(b->data, text, b->len);
}

static uint32_t type_of(const struct toc_entry *e)
{
	static const struct {
		const char *name;
		uint32_t type;
	} types[] = {{"reg", S_IFREG},	    {"dir", S_IFDIR},  {"symlink", S_IFLNK},
		     {"hardlink", S_IFREG}, {"char", S_IFCHR}, {"block", S_IFBLK},
		     {"fifo", S_IFIFO}};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (is(&e->type, types[i].name))
			return types[i].type;
	return 0;
}

static bool is_plumbing(struct estargz_index *x, const struct toc_entry *e, const char *path)
{
	if (!strcmp(path, ".prefetch.landmark"))
		layer_builder_header(x->b)->prefetch_end = min_u64(e->offset, x->in->data_end);
	return !strcmp(path, ".prefetch.landmark") || !strcmp(path, ".no.prefetch.landmark") ||
	       !strcmp(path, "stargz.index.json");
}

static int entry_meta(struct estargz_index *x, const struct toc_entry *e, struct layer_entry *m)
{
	uint32_t type = type_of(e);

	if (!type)
		return refuse(x, -ENOTSUP, e, "an entry of an unknown type");
	*m = (struct layer_entry){.mode = type | e->mode,
				  .uid = e->uid,
				  .gid = e->gid,
				  .mtime_s = e->mtime_s,
				  .mtime_ns = e->mtime_ns,
				  .xattr_count = e->attributes.n_xattrs};
	if (type == S_IFREG && e->size > DEVICE_MAX)
		return refuse(x, -E2BIG, e, "a file of more than 4 TiB");
	if (type == S_IFREG && !is(&e->type, "hardlink"))
		m->size = e->size;
	if (type == S_IFCHR || type == S_IFBLK) {
		if (e->dev_major > 4095 || e->dev_minor > 1048575)
			return refuse(x, -EBADMSG, e, "its device number is out of range");
		if (type == S_IFCHR && !e->dev_major && !e->dev_minor)
			return refuse(x, -EPERM, e, "a character device 0:0, which is refused");
		m->rdev_major = e->dev_major;
		m->rdev_minor = e->dev_minor;
	}
	return 0;
}

static int link_of(struct estargz_index *x, const struct toc_entry *e, struct layer_entry *m,
		   char clean[PATH_LEN_MAX + 1], const char **ret, size_t *ret_len)
{
	if (is(&e->type, "hardlink")) {
		m->flags |= ENTRY_HARDLINK;
		*ret = clean;
		return path_clean(e->link.data, e->link.len, clean, ret_len, x->err);
	}
	if (!S_ISLNK(m->mode))
		return 0;
	if (!e->link.len || e->link.len > LINK_LEN_MAX || memchr(e->link.data, 0, e->link.len))
		return refuse(x, -EBADMSG, e, "a symlink's text is not possible");
	*ret = (const char *)e->link.data;
	*ret_len = e->link.len;
	m->size = e->link.len;
	return 0;
}

static int entry_add(struct estargz_index *x, const struct toc_entry *e)
{
	char path[PATH_LEN_MAX + 1], target[PATH_LEN_MAX + 1];
	const char *link = NULL;
	size_t len, link_len = 0, xattr_len = e->attributes.xattrs.len;
	struct layer_entry m;
	enum path_kind kind;
	int r = path_clean(e->name.data, e->name.len, path, &len, x->err);

	if (r < 0)
		return r;
	if (is_plumbing(x, e, path))
		return 0;
	r = entry_meta(x, e, &m);
	if (r >= 0)
		r = link_of(x, e, &m, target, &link, &link_len);
	if (r >= 0)
		r = path_classify(path, &len, &kind, x->err);
	if (r < 0)
		return r;
	if (kind == PATH_WHITEOUT || kind == PATH_OPAQUE) {
		m = (struct layer_entry){.flags = kind == PATH_WHITEOUT ? ENTRY_WHITEOUT
									: ENTRY_OPAQUE_MARK};
		link_len = xattr_len = 0;
	} else if (kind == PATH_PLUMBING)
		m.flags |= ENTRY_HIDDEN;
	if (!len && kind == PATH_PLAIN && (!S_ISDIR(m.mode) || m.flags))
		return refuse(x, -EBADMSG, e, "the root is not a directory");
	layer_builder_header(x->b)->dropped_xattrs += e->attributes.dropped_xattrs;
	r = layer_builder_add_entry(x->b, &m, path, len, link, link_len, e->attributes.xattrs.data,
				    xattr_len);
	if (r == -E2BIG)
		return error_set(
			x->err, r,
			"the layer has more entries than the limit allows (--max-entries)");
	if (r >= 0 && S_ISREG(m.mode) && m.size)
		r = file_open(x, e, layer_builder_header(x->b)->n_entries - 1);
	return r;
}

static int on_entry(void *userdata, const struct toc_entry *e, struct error *err)
{
	struct estargz_index *x = userdata;
	int r;

	x->err = err;
	if (is(&e->type, "chunk")) {
		if (!x->open)
			return refuse(x, -EBADMSG, e, "a chunk without a file");
		return chunk_add(x, e);
	}
	r = file_close(x);
	return r < 0 ? r : entry_add(x, e);
}

static int chunk_order(const void *a, const void *b)
{
	const struct toc_chunk *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	if (x->inner != y->inner)
		return x->inner < y->inner ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int span_begin(struct estargz_index *x, uint64_t offset)
{
	struct layer_span *last = layer_builder_last_span(x->b);
	struct layer_span s = {.in_off = offset, .in_end = x->in->data_end};

	if (last)
		last->in_end = offset;
	return layer_builder_add_span(x->b, &s, NULL, 0);
}

/* Chunks in the order of the blob; a file's place on the device is given when its first comes. */
static int tables_build(struct estargz_index *x)
{
	struct toc_chunk *chunks = (struct toc_chunk *)x->chunks.data;
	struct toc_file *files = (struct toc_file *)x->files.data;
	uint64_t n = x->chunks.len / sizeof(*chunks), device = 0, end = 0;
	int r = 0;

	if (n)
		qsort(chunks, n, sizeof(*chunks), chunk_order);
	for (uint64_t i = 0; i < n && r >= 0; i++) {
		const struct toc_chunk *c = &chunks[i];
		struct toc_file *f = &files[c->file];
		struct layer_entry *e = layer_builder_entry(x->b, f->entry);
		struct layer_chunk out = {.len = (uint32_t)c->len, .span_off = c->inner};

		if (!c->file_off) {
			e->data_off = device;
			device = align_up(device + f->size, DEVICE_BLOCK);
			if (device > DEVICE_MAX)
				return error_set(x->err, -E2BIG,
						 "the layer's files have more than 4 TiB");
			f->first = 0;
		}
		out.dev_off = e->data_off + c->file_off;
		if (out.dev_off < end || (c->file_off && f->first != c->file_off))
			return error_set(x->err, -EILSEQ,
					 "the chunks of files are interleaved in the blob");
		f->first = c->file_off + c->len;
		end = out.dev_off + c->len;
		if (!i || c->offset != chunks[i - 1].offset)
			r = span_begin(x, c->offset);
		memcpy(out.digest, c->digest, sizeof(out.digest));
		out.span = out.span_last = (uint32_t)layer_builder_header(x->b)->n_spans - 1;
		if (r >= 0)
			r = layer_builder_add_chunk(x->b, &out);
	}
	layer_builder_header(x->b)->device_bytes = device;
	return r;
}

static int toc_read(struct estargz_index *x, struct toc_reader *t, struct error *err)
{
	_cleanup_(freep) uint8_t *buf = malloc(FEED_BYTES);
	ssize_t n;
	int r = 0;

	if (!buf)
		return -ENOMEM;
	while (r >= 0 && (n = x->in->read(x->in->userdata, buf, FEED_BYTES))) {
		if (n < 0)
			return (int)n;
		r = toc_reader_feed(t, buf, (size_t)n, err);
	}
	return r < 0 ? r : toc_reader_finish(t, err);
}

static int estargz_index(const struct index_source *in, const struct index_sink *out,
			 struct layer_builder *b, struct error *err)
{
	struct estargz_index x = {.b = b, .in = in, .err = err};
	_cleanup_(toc_reader_freep) struct toc_reader *t = NULL;
	int r = toc_reader_new(on_entry, &x, &t);

	if (r >= 0)
		r = toc_read(&x, t, err);
	x.err = err;
	if (r >= 0)
		r = file_close(&x);
	if (r >= 0)
		r = tables_build(&x);
	layer_builder_header(b)->blob_bytes = in->blob_bytes;
	buf_fini(&x.chunks);
	buf_fini(&x.files);
	return r;
}

/* ---- decoding ---- */

/* Inflates members from in until out is full. ISA-L: measured twice zlib's speed on a stream, and
 * unlike libdeflate it can stop where the chunk ends, whatever else the member holds. */
static int members_inflate(struct inflate_state *z, const uint8_t *in, size_t in_len, uint8_t *out,
			   size_t out_len)
{
	isal_inflate_init(z);
	z->crc_flag = ISAL_GZIP;
	z->next_in = (uint8_t *)in;
	z->avail_in = (uint32_t)in_len;
	z->next_out = out;
	z->avail_out = (uint32_t)out_len;
	while (z->avail_out) {
		uint32_t before = z->avail_in, room = z->avail_out;

		if (isal_inflate(z) != ISAL_DECOMP_OK)
			return -EBADMSG;
		if (z->block_state == ISAL_BLOCK_FINISH && z->avail_out) {
			isal_inflate_reset(z);
			z->crc_flag = ISAL_GZIP;
		}
		if (z->avail_in == before && z->avail_out == room)
			return -EBADMSG;
	}
	return 0;
}

static int member_decode(const struct layer_index *index, uint64_t span, struct inflate_state *z,
			 const uint8_t *in, size_t in_len, uint64_t *chunk, uint64_t chunk_last,
			 const struct chunk_sink *sink)
{
	_cleanup_(freep) uint8_t *out = NULL;
	uint64_t end = *chunk, need = 0;
	int r = 0;

	for (; end <= chunk_last && index->chunks[end].span == span; end++)
		need = max_u64(need, index->chunks[end].span_off + index->chunks[end].len);
	if (!need)
		return 0;
	if (need > MEMBER_RAW_MAX || in_len > UINT32_MAX)
		return -E2BIG;
	out = malloc(need);
	if (!out)
		return -ENOMEM;
	r = members_inflate(z, in, in_len, out, need);
	for (; *chunk < end && r >= 0; (*chunk)++) {
		const struct layer_chunk *c = &index->chunks[*chunk];

		r = sink->chunk(sink->userdata, *chunk, out + c->span_off, c->len);
	}
	return r;
}

static int estargz_decode(const struct layer_index *index, uint64_t first, uint64_t last,
			  const void *in, size_t in_len, uint64_t chunk_first, uint64_t chunk_last,
			  const struct chunk_sink *sink)
{
	_cleanup_(freep) struct inflate_state *z = malloc(sizeof(*z));
	uint64_t base = index->spans[first].in_off;
	int r = 0;

	if (!z)
		return -ENOMEM;
	for (uint64_t s = first; s <= last && r >= 0 && chunk_first <= chunk_last; s++) {
		const struct layer_span *span = &index->spans[s];

		if (span->in_end - base > in_len)
			return -EBADMSG;
		r = member_decode(index, s, z, (const uint8_t *)in + (span->in_off - base),
				  span->in_end - span->in_off, &chunk_first, chunk_last, sink);
	}
	return r;
}

const struct layer_format format_estargz = {.id = LAYER_ESTARGZ,
					    .name = "estargz",
					    .from_toc = true,
					    .index = estargz_index,
					    .decode = estargz_decode};
