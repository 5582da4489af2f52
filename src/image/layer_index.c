/* SPDX-License-Identifier: MIT */
#include "image/layer_index.h"

#include <errno.h>
#include <sys/stat.h>

static int bad(struct error *err, const char *what, uint64_t i)
{
	return error_set(err, -EBADMSG, "layer tables: %s (record %llu)", what,
			 (unsigned long long)i);
}

static bool heap_has(const struct layer_index *ix, uint64_t off, uint64_t len)
{
	return off <= ix->header.heap_bytes && len <= ix->header.heap_bytes - off;
}

/* Clean: what the header promises of every path. */
static bool path_is_clean(const uint8_t *p, size_t n)
{
	size_t start = 0, depth = 0;

	if (n > PATH_LEN_MAX)
		return false;
	for (size_t i = 0; n && i <= n; i++) {
		size_t len = i - start;

		if (i < n && p[i] != '/') {
			if (!p[i])
				return false;
			continue;
		}
		if (!len || len > NAME_LEN_MAX || ++depth > PATH_DEPTH_MAX)
			return false;
		if (p[start] == '.' && (len == 1 || (len == 2 && p[start + 1] == '.')))
			return false;
		start = i + 1;
	}
	return true;
}

static bool xattrs_fit(const struct layer_index *ix, const struct layer_entry *e)
{
	struct layer_xattr x;
	uint32_t pos = 0, count = 0;

	if (!heap_has(ix, e->xattr_off, e->xattr_len) || e->xattr_len > XATTR_INODE_MAX + 8 * 4096)
		return false;
	while (layer_entry_next_xattr(ix, e, &pos, &x))
		count++;
	return pos == e->xattr_len && count == e->xattr_count;
}

static bool type_is_known(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
		return !(mode & ~(uint32_t)(S_IFMT | 07777));
	default:
		return false;
	}
}

static int entry_check(const struct layer_index *ix, uint64_t i, struct error *err)
{
	const struct layer_entry *e = &ix->entries[i];
	const uint32_t known =
		ENTRY_WHITEOUT | ENTRY_OPAQUE | ENTRY_OPAQUE_MARK | ENTRY_HARDLINK | ENTRY_HIDDEN;
	uint64_t end;

	if (!heap_has(ix, e->path_off, e->path_len) ||
	    !path_is_clean(ix->heap + e->path_off, e->path_len))
		return bad(err, "a path is not clean", i);
	if (e->flags & ~known || e->reserved || e->reserved2[0] || e->reserved2[1])
		return bad(err, "unknown flags", i);
	if (e->flags & (ENTRY_WHITEOUT | ENTRY_OPAQUE_MARK))
		return e->flags & ENTRY_WHITEOUT && !e->path_len
			       ? bad(err, "the root is whited out", i)
			       : 0;
	if (!heap_has(ix, e->link_off, e->link_len) || e->link_len > LINK_LEN_MAX)
		return bad(err, "a link is outside the heap", i);
	if (e->flags & ENTRY_HARDLINK)
		return path_is_clean(ix->heap + e->link_off, e->link_len)
			       ? 0
			       : bad(err, "a hardlink's target is not clean", i);
	if (!type_is_known(e->mode) || (!e->path_len && !S_ISDIR(e->mode)))
		return bad(err, "a file type is not possible", i);
	if (e->flags & ENTRY_OPAQUE && !S_ISDIR(e->mode))
		return bad(err, "opaque, but not a directory", i);
	if (e->mtime_ns >= 1000000000)
		return bad(err, "nanoseconds over a second", i);
	if (S_ISLNK(e->mode) &&
	    (e->size != e->link_len || memchr(ix->heap + e->link_off, 0, e->link_len)))
		return bad(err, "a symlink's text is not possible", i);
	if (!xattrs_fit(ix, e))
		return bad(err, "extended attributes don't fit", i);
	if (!S_ISREG(e->mode))
		return 0;
	if (e->size && (e->data_off % DEVICE_BLOCK || add_overflows(e->data_off, e->size, &end) ||
			end > ix->header.device_bytes))
		return bad(err, "contents lie outside the device", i);
	return 0;
}

static int entries_check(const struct layer_index *ix, struct error *err)
{
	for (uint64_t i = 0; i < ix->header.n_entries; i++) {
		int r = entry_check(ix, i, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int chunks_check(const struct layer_index *ix, struct error *err)
{
	const struct layer_chunk *prev = NULL;

	for (uint64_t i = 0; i < ix->header.n_chunks; i++) {
		const struct layer_chunk *c = &ix->chunks[i];
		uint64_t end;

		if (!c->len || c->len > CHUNK_MAX ||
		    add_overflows(c->dev_off, (uint64_t)c->len, &end) ||
		    end > ix->header.device_bytes)
			return bad(err, "a chunk lies outside the device", i);
		if (c->span > c->span_last || c->span_last >= ix->header.n_spans ||
		    c->span_off > UINT64_MAX / 2 || c->flags || c->reserved[0] || c->reserved[1])
			return bad(err, "a chunk names a span that is not there", i);
		if (prev && (c->dev_off < prev->dev_off + prev->len || c->span < prev->span ||
			     (c->span == prev->span && c->span_off < prev->span_off)))
			return bad(err, "chunks are not in order", i);
		prev = c;
	}
	return 0;
}

static int spans_check(const struct layer_index *ix, struct error *err)
{
	const struct layer_span *prev = NULL;

	for (uint64_t i = 0; i < ix->header.n_spans; i++) {
		const struct layer_span *s = &ix->spans[i];

		if (s->in_off >= s->in_end || s->in_end > ix->header.blob_bytes)
			return bad(err, "a span lies outside the blob", i);
		if (s->bits > 7 || s->reserved[0] || s->reserved[1] || s->reserved[2] ||
		    s->window_off > ix->header.window_bytes ||
		    s->window_len > ix->header.window_bytes - s->window_off)
			return bad(err, "a span's decoder state is not possible", i);
		if (prev && (s->in_off + 1 < prev->in_end || s->in_off < prev->in_off ||
			     s->out_off < prev->out_off))
			return bad(err, "spans are not in order", i);
		prev = s;
	}
	return 0;
}

int layer_index_validate_reader(const struct layer_index *ix, struct error *err)
{
	const struct layer_index_header *h = &ix->header;
	int r;

	if (h->magic != LAYER_INDEX_MAGIC || h->flags || h->device_bytes % DEVICE_BLOCK)
		return bad(err, "not tables of this version", 0);
	if (h->device_bytes > DEVICE_MAX)
		return error_set(
			err, -E2BIG, "layer tables: a device of %llu bytes, the limit is %llu",
			(unsigned long long)h->device_bytes, (unsigned long long)DEVICE_MAX);
	r = spans_check(ix, err);
	return r < 0 ? r : chunks_check(ix, err);
}

static int section(const uint8_t **p, size_t *left, uint64_t count, size_t record, const void **ret)
{
	uint64_t bytes;

	if (mul_overflows(count, (uint64_t)record, &bytes) || bytes > *left)
		return -EBADMSG;
	*ret = *p;
	*p += bytes;
	*left -= bytes;
	return 0;
}

int layer_index_validate(const void *bytes, size_t len, uint64_t max_entries,
			 struct layer_index *ret, struct error *err)
{
	const uint8_t *p = bytes;
	struct layer_index ix = {0};
	struct layer_index_header *h = &ix.header;
	int r;

	if (len < sizeof(*h))
		return bad(err, "shorter than their header", 0);
	memcpy(h, p, sizeof(*h));
	p += sizeof(*h);
	len -= sizeof(*h);
	if (h->magic != LAYER_INDEX_MAGIC)
		return bad(err, "not tables of this version", 0);
	if (h->n_entries > max_entries)
		return error_set(err, -E2BIG,
				 "the layer has %llu entries, the limit is %llu (--max-entries)",
				 (unsigned long long)h->n_entries, (unsigned long long)max_entries);
	/* The heap stands between record arrays: its length is a multiple of 8, so that they are
	 * aligned. */
	if (h->heap_bytes % 8 ||
	    section(&p, &len, h->n_entries, sizeof(*ix.entries), (const void **)&ix.entries) ||
	    section(&p, &len, h->heap_bytes, 1, (const void **)&ix.heap) ||
	    section(&p, &len, h->n_chunks, sizeof(*ix.chunks), (const void **)&ix.chunks) ||
	    section(&p, &len, h->n_spans, sizeof(*ix.spans), (const void **)&ix.spans) ||
	    section(&p, &len, h->window_bytes, 1, (const void **)&ix.windows) || len)
		return bad(err, "sections and header disagree", 0);
	r = layer_index_validate_reader(&ix, err);
	if (r >= 0)
		r = entries_check(&ix, err);
	if (r < 0)
		return r;
	*ret = ix;
	return 0;
}

uint64_t layer_index_chunk_at(const struct layer_index *ix, uint64_t dev_off)
{
	uint64_t lo = 0, hi = ix->header.n_chunks;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (ix->chunks[mid].dev_off + ix->chunks[mid].len <= dev_off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

#define XATTR_RECORD 8

bool layer_entry_next_xattr(const struct layer_index *ix, const struct layer_entry *e,
			    uint32_t *pos, struct layer_xattr *ret)
{
	const uint8_t *p = ix->heap + e->xattr_off + *pos;
	uint32_t left = e->xattr_len - *pos, name_len, value_len;

	if (left < XATTR_RECORD)
		return false;
	name_len = le16_get(p);
	value_len = le32_get(p + 4);
	left -= XATTR_RECORD;
	if (name_len > left || value_len > left - name_len)
		return false;
	*ret = (struct layer_xattr){.name = (const char *)p + XATTR_RECORD,
				    .value = p + XATTR_RECORD + name_len,
				    .name_len = name_len,
				    .value_len = value_len};
	*pos += XATTR_RECORD + name_len + value_len;
	return true;
}
