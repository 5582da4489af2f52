/* SPDX-License-Identifier: MIT */
/*
 * Files get their place on the device in the order in which they stand in the blob, so that chunks
 * are sorted on the device and in the stream alike and neighbours in one are neighbours in the
 * other. A chunk of zeros is a hole: no chunk in the tables, never fetched.
 */
#include "image/toc_format.h"

#include <errno.h>
#include <sys/stat.h>

#include "image/toc.h"

#define FEED_BYTES (256u << 10)

struct toc_chunk {
	uint64_t offset, inner; /* member or frame, and bytes of its output to skip */
	uint64_t end;		/* of its frames; 0 = where the next one starts */
	uint64_t file_off, len;
	uint32_t file; /* index into files */
	uint32_t seq;  /* keeps the sort stable */
	uint8_t digest[32];
};

struct toc_file {
	uint64_t entry; /* builder index */
	uint64_t size;
	bool placed; /* on the device */
};

struct toc_index {
	struct layer_builder *b;
	const struct index_source *in;
	struct buf chunks, files; /* of the structs above */
	enum toc_grammar grammar;
	bool open;	   /* the last file still takes chunks */
	uint64_t open_off; /* where its next chunk starts */
	uint64_t open_end; /* of its bytes in the blob, where its entry says so */
	bool end_missing;  /* the last chunk ends where the next, or the file, does */
	struct digest open_digest;
	uint64_t device; /* bytes given to files */
	struct error *err;
};

static int refuse(struct toc_index *x, int code, const struct toc_entry *e, const char *what)
{
	return error_set(x->err, code, "the table of contents: \"%.*s\": %s",
			 (int)min_u64(e->name.len, 120), e->name.len ? (char *)e->name.data : "",
			 what);
}

static struct toc_file *last_file(struct toc_index *x)
{
	return (struct toc_file *)(x->files.data + x->files.len) - 1;
}

static int chunk_end(struct toc_index *x, uint64_t end)
{
	struct toc_chunk *c;

	if (!x->end_missing)
		return 0;
	x->end_missing = false;
	c = (struct toc_chunk *)(x->chunks.data + x->chunks.len) - 1;
	if (end <= c->offset || end > x->in->data_end)
		return error_set(
			x->err, -EBADMSG,
			"the table of contents: a chunk at byte %llu can't end at byte %llu",
			(unsigned long long)c->offset, (unsigned long long)end);
	c->end = end;
	return 0;
}

/* A file's chunks must tile it exactly before the next file starts. */
static int file_close(struct toc_index *x)
{
	if (!x->open)
		return 0;
	x->open = false;
	if (x->open_off != last_file(x)->size)
		return error_set(
			x->err, -EBADMSG,
			"the table of contents: the chunks of a file have %llu of its %llu bytes",
			(unsigned long long)x->open_off, (unsigned long long)last_file(x)->size);
	return chunk_end(x, x->open_end);
}

static int data_chunk_add(struct toc_index *x, const struct toc_entry *e, uint64_t len)
{
	struct toc_file *f = last_file(x);
	struct toc_chunk c = {.offset = e->offset,
			      .inner = x->open_end ? 0 : e->inner_offset,
			      .file_off = e->chunk_offset,
			      .len = len,
			      .file = (uint32_t)(f - (struct toc_file *)x->files.data),
			      .seq = (uint32_t)(x->chunks.len / sizeof(c))};
	const struct digest *d = &e->chunk_digest;

	if (len > CHUNK_MAX) /* the tables have no room for it: a matter of how, not of whether */
		return refuse(x, -EILSEQ, e, "a chunk of more than 8 MiB");
	if (c.inner > TOC_UNIT_RAW_MAX - len)
		return refuse(x, -E2BIG, e, "a chunk deeper than 64 MiB inside its member");
	if (!d->algo && len == f->size)
		d = &x->open_digest;
	if (!d->algo)
		return refuse(x, -EBADMSG, e, "a chunk without a digest can't be verified");
	memcpy(c.digest, d->bytes, sizeof(c.digest));
	x->end_missing = x->open_end;
	return buf_append(&x->chunks, &c, sizeof(c));
}

static bool is(const struct buf *b, const char *text)
{
	return b->len == strlen(text) && !memcmp(b->data, text, b->len);
}

static int chunk_add(struct toc_index *x, const struct toc_entry *e)
{
	uint64_t left = last_file(x)->size - x->open_off;
	uint64_t len = e->chunk_size ? e->chunk_size : left;
	int r;

	if (e->chunk_offset != x->open_off || !left)
		return refuse(x, -EBADMSG, e, "its chunks do not follow each other");
	if (len > left)
		return refuse(x, -EBADMSG, e, "a chunk reaches past its end");
	if (e->offset >= x->in->data_end) /* absent = 0: the first member */
		return refuse(x, -EBADMSG, e, "a chunk that is not in the blob");
	r = chunk_end(x, e->offset);
	if (r < 0)
		return r;
	x->open_off += len;
	if (x->open_end && is(&e->chunk_type, "zeros"))
		return 0;
	if (x->open_end && e->chunk_type.len)
		return refuse(x, -ENOTSUP, e, "a chunk of an unknown type");
	return data_chunk_add(x, e, len);
}

/* A file whose entry says where it ends is containers/storage's; stargz-snapshotter's do not,
 * whatever the blob is compressed with. */
static int file_open(struct toc_index *x, const struct toc_entry *e, uint64_t entry)
{
	struct toc_file f = {.entry = entry, .size = e->size};
	int r = buf_append(&x->files, &f, sizeof(f));

	if (r < 0)
		return r;
	x->open = true;
	x->open_off = 0;
	x->open_end = x->grammar == TOC_ZSTD_CHUNKED ? e->end_offset : 0;
	x->open_digest = e->digest;
	return chunk_add(x, e);
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

/* The one byte that every landmark holds. */
static bool is_landmark(const struct toc_entry *e)
{
	static const uint8_t sum[32] = {0xdc, 0x0e, 0x9c, 0x36, 0x58, 0xa1, 0xa3, 0xed,
					0x1e, 0xc9, 0x42, 0x74, 0xd8, 0xb1, 0x99, 0x25,
					0xc9, 0x3e, 0x1a, 0xbb, 0x7d, 0xdb, 0xa2, 0x94,
					0x92, 0x3a, 0xd9, 0xbd, 0xe3, 0x0f, 0x8c, 0xb8};
	const struct digest *d = e->digest.algo ? &e->digest : &e->chunk_digest;

	return e->size == 1 && d->algo == DIGEST_SHA256 && !memcmp(d->bytes, sum, sizeof(sum));
}

/* In eStargz these names are the format's. containers/storage has never heard of them: there a file
 * with such a name is the user's, unless it is a landmark. */
static bool is_plumbing(struct toc_index *x, const struct toc_entry *e, const char *path)
{
	bool landmark = !strcmp(path, ".prefetch.landmark");

	if (!landmark && strcmp(path, ".no.prefetch.landmark"))
		return x->grammar == TOC_ESTARGZ && !strcmp(path, "stargz.index.json");
	if (x->grammar == TOC_ZSTD_CHUNKED && !is_landmark(e))
		return false;
	if (landmark)
		layer_builder_header(x->b)->prefetch_end = min_u64(e->offset, x->in->data_end);
	return true;
}

static int entry_meta(struct toc_index *x, const struct toc_entry *e, struct layer_entry *m)
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

static int link_of(struct toc_index *x, const struct toc_entry *e, struct layer_entry *m,
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

static int entry_add(struct toc_index *x, const struct toc_entry *e)
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
	struct toc_index *x = userdata;
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

/* Spans end where the table says, else where the next one starts. */
static int span_begin(struct toc_index *x, const struct toc_chunk *c, const struct toc_chunk *prev)
{
	struct layer_span *last = layer_builder_last_span(x->b);
	struct layer_span s = {.in_off = c->offset, .in_end = c->end ? c->end : x->in->data_end};

	if (prev && prev->end > c->offset)
		return error_set(x->err, -EBADMSG,
				 "the table of contents: chunks overlap at byte %llu",
				 (unsigned long long)c->offset);
	if (prev && !prev->end)
		last->in_end = c->offset;
	return layer_builder_add_span(x->b, &s, NULL, 0);
}

static int file_place(struct toc_index *x, struct toc_file *f)
{
	struct layer_entry *e = layer_builder_entry(x->b, f->entry);

	if (f->placed)
		return 0;
	f->placed = true;
	e->data_off = x->device;
	x->device = align_up(x->device + f->size, DEVICE_BLOCK);
	if (x->device > DEVICE_MAX)
		return error_set(x->err, -E2BIG, "the layer's files have more than 4 TiB");
	return 0;
}

/* prev: the one before it in the blob, or NULL. */
static int chunk_place(struct toc_index *x, const struct toc_chunk *c, const struct toc_chunk *prev,
		       uint64_t *end)
{
	struct toc_file *f = (struct toc_file *)x->files.data + c->file;
	struct layer_chunk out = {.len = (uint32_t)c->len, .span_off = c->inner};
	int r = file_place(x, f);

	if (r < 0)
		return r;
	out.dev_off = layer_builder_entry(x->b, f->entry)->data_off + c->file_off;
	if (out.dev_off < *end)
		return error_set(x->err, -EILSEQ,
				 "the chunks of files are interleaved in the blob");
	*end = out.dev_off + c->len;
	if (!prev || c->offset != prev->offset)
		r = span_begin(x, c, prev);
	else if (c->end != prev->end)
		r = error_set(x->err, -EBADMSG,
			      "the table of contents: two chunks start at byte %llu, but end apart",
			      (unsigned long long)c->offset);
	if (r < 0)
		return r;
	memcpy(out.digest, c->digest, sizeof(out.digest));
	out.span = out.span_last = (uint32_t)layer_builder_header(x->b)->n_spans - 1;
	return layer_builder_add_chunk(x->b, &out);
}

/* Chunks in the order of the blob; a file's place on the device is given when its first comes. */
static int tables_build(struct toc_index *x)
{
	struct toc_chunk *chunks = (struct toc_chunk *)x->chunks.data;
	struct toc_file *files = (struct toc_file *)x->files.data;
	uint64_t n = x->chunks.len / sizeof(*chunks), n_files = x->files.len / sizeof(*files);
	uint64_t end = 0;
	int r = 0;

	if (n)
		qsort(chunks, n, sizeof(*chunks), chunk_order);
	for (uint64_t i = 0; i < n && r >= 0; i++)
		r = chunk_place(x, &chunks[i], i ? &chunks[i - 1] : NULL, &end);
	for (uint64_t i = 0; i < n_files && r >= 0; i++) /* those of nothing but zeros */
		r = file_place(x, &files[i]);
	layer_builder_header(x->b)->device_bytes = x->device;
	return r;
}

static int toc_read(struct toc_index *x, struct toc_reader *t, struct error *err)
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

int toc_format_index(const struct index_source *in, struct layer_builder *b,
		     enum toc_grammar grammar, struct error *err)
{
	struct toc_index x = {.b = b, .in = in, .grammar = grammar, .err = err};
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
