/* SPDX-License-Identifier: MIT */
/*
 * The walk is a state machine over 512-byte blocks and payloads:
 *
 *   HEADER --'x' 'L' 'K'--> META (collect the payload) --> HEADER
 *     |    --'S' extended-> GNU_MAP (blocks of a sparse map) --.
 *     |    --sparse 1.0---> MAP (decimal lines) ---------------+--> DATA --> PAD --> HEADER
 *     |    --a file-------------------------------------------'
 *     |    --'g', vendor--> SKIP --> PAD --> HEADER
 *     '----two zero blocks-> END (whatever follows is ignored: it belongs to the diffID only)
 *
 * What comes before an entry gathers in struct tar_overrides; pax wins over GNU over ustar. Sparse
 * records that are not a whole are refused: readers differ about whether the file is sparse.
 */
#include "image/tar_impl.h"

#include <errno.h>

static bool checksum_ok(const uint8_t *h)
{
	int64_t want, sum_u = 0, sum_s = 0;

	if (tar_number(h + 148, 8, &want) < 0)
		return false;
	for (size_t i = 0; i < TAR_BLOCK; i++) {
		uint8_t c = i >= 148 && i < 156 ? ' ' : h[i];

		sum_u += c;
		sum_s += (int8_t)c;
	}
	return want == sum_u || want == sum_s;
}

static bool is_gnu(const uint8_t *h)
{
	return !memcmp(h + 257, "ustar  ", 7);
}

static int entry_end(struct tar_walk *w)
{
	int r = w->cb.end_entry(w->cb.userdata);

	w->dropped += w->o.dropped_xattrs;
	w->o.dropped_xattrs = 0;
	tar_overrides_reset(&w->o);
	return r;
}

static void skip_to_pad(struct tar_walk *w)
{
	w->state = w->pad ? ST_PAD : ST_HEADER;
}

/* The payload of a file follows, or none. */
static int data_begin(struct tar_walk *w, struct error *err)
{
	int r = tar_entry_begin(w, err);

	if (r < 0)
		return r;
	w->left = w->stored;
	w->state = ST_DATA;
	if (!w->left) {
		r = entry_end(w);
		skip_to_pad(w);
	}
	return r;
}

static int gnu_map_add(struct tar_walk *w, const uint8_t *p, size_t entries, struct error *err)
{
	for (size_t i = 0; i < entries; i++) {
		int64_t off, len;
		int r;

		if (!p[24 * i]) /* unused slots are zero */
			continue;
		if (tar_number(p + 24 * i, 12, &off) < 0 ||
		    tar_number(p + 24 * i + 12, 12, &len) < 0 || off < 0 || len < 0)
			return error_set(err, -EBADMSG, "a sparse file's map is not possible");
		r = tar_extent_add(&w->o.extents, (uint64_t)off, (uint64_t)len, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int gnu_sparse_begin(struct tar_walk *w, struct error *err)
{
	int64_t real;
	int r;

	if (tar_number(w->header + 483, 12, &real) < 0 || real < 0)
		return error_set(err, -EBADMSG, "entry \"%.100s\": its size is not possible",
				 (const char *)w->header);
	w->o.has_sparse_size = true;
	w->o.sparse_size = (uint64_t)real;
	w->o.extents.len = 0;
	r = gnu_map_add(w, w->header + 386, 4, err);
	if (r < 0)
		return r;
	if (w->header[482]) {
		w->state = ST_GNU_MAP;
		return 0;
	}
	return data_begin(w, err);
}

static int file_begin(struct tar_walk *w, struct error *err)
{
	if (w->header[156] == 'S' && is_gnu(w->header))
		return gnu_sparse_begin(w, err);
	if (w->o.sparse_major == 1 && w->header[156] != '1') {
		w->o.extents.len = 0;
		w->map_count = 0;
		w->map_total = 0;
		w->meta.len = 0;
		w->left = w->stored;
		w->state = ST_MAP;
		return w->stored >= TAR_BLOCK
			       ? 0
			       : error_set(err, -EBADMSG, "a sparse file without its map");
	}
	return data_begin(w, err);
}

static int meta_begin(struct tar_walk *w, uint64_t size, char type, struct error *err)
{
	if (size > TAR_HEADERS_MAX)
		return error_set(err, -E2BIG, "an extended header of %llu bytes, the limit is %u",
				 (unsigned long long)size, TAR_HEADERS_MAX);
	w->meta_type = type;
	w->meta.len = 0;
	w->left = size;
	w->state = ST_META;
	return 0;
}

static bool block_is_zero(const uint8_t *p)
{
	for (size_t i = 0; i < TAR_BLOCK; i++)
		if (p[i])
			return false;
	return true;
}

static int header_parse(struct tar_walk *w, struct error *err)
{
	char type = (char)w->block[156];
	int64_t size;

	if (block_is_zero(w->block)) {
		w->state = w->zero_seen ? ST_END : ST_HEADER;
		w->zero_seen = true;
		return 0;
	}
	if (w->zero_seen) { /* one zero block and something after it: the end, as GNU tar says */
		w->state = ST_END;
		return 0;
	}
	if (!checksum_ok(w->block))
		return error_set(err, -EBADMSG,
				 "not a tar header at byte %llu: its checksum is wrong",
				 (unsigned long long)(w->pos - TAR_BLOCK));
	memcpy(w->header, w->block, TAR_BLOCK);
	if (tar_number(w->header + 124, 12, &size) < 0 || size < 0)
		return error_set(err, -EBADMSG, "entry \"%.100s\": its size is not possible",
				 (const char *)w->header);
	w->pad = -(uint64_t)size & (TAR_BLOCK - 1);
	if (type == 'x' || type == 'X' || type == 'L' || type == 'K')
		return meta_begin(w, (uint64_t)size, type, err);
	if (w->o.has_size && type != 'g')
		size = (int64_t)w->o.size;
	if (size < 0)
		return error_set(err, -EBADMSG, "entry \"%.100s\": its size is not possible",
				 (const char *)w->header);
	if (type >= '1' && type <= '6')
		size = 0;
	w->pad = -(uint64_t)size & (TAR_BLOCK - 1);
	w->stored = (uint64_t)size;
	if (type == 0 || (type >= '0' && type <= '7') || type == 'S')
		return file_begin(w, err);
	if (!strchr("gVMND", type))
		return error_set(err, -ENOTSUP, "entry \"%.100s\": type \"%c\" is not known",
				 (const char *)w->header, type);
	if (type == 'g' && !tar_overrides_empty(&w->o))
		return error_set(err, -EBADMSG,
				 "a global pax header between an entry and what was said about it");
	tar_overrides_reset(&w->o);
	w->left = w->stored;
	w->state = ST_SKIP;
	if (!w->left)
		skip_to_pad(w);
	return 0;
}

static int meta_apply(struct tar_walk *w, struct error *err)
{
	const char *text = (const char *)w->meta.data;
	struct buf *b;
	size_t n;

	if (w->meta_type == 'x' || w->meta_type == 'X')
		return tar_pax_parse(w->meta.data, w->meta.len, &w->o, err);
	b = w->meta_type == 'L' ? &w->o.long_path : &w->o.long_link;
	n = text ? strnlen(text, w->meta.len) : 0;
	b->len = 0;
	return buf_append(b, text, n);
}

/* Sparse 1.0: decimal lines, a count and then pairs, padded to a block, before the data. */
static int map_block(struct tar_walk *w, struct error *err)
{
	int r = buf_append(&w->meta, w->block, TAR_BLOCK);
	const char *p, *nl;

	w->left -= TAR_BLOCK;
	w->stored -= TAR_BLOCK;
	while (r >= 0 && w->meta.len && (!w->map_count || w->map_count < 1 + 2 * w->map_total)) {
		uint64_t v = 0;

		p = (const char *)w->meta.data;
		nl = memchr(p, '\n', w->meta.len);
		if (!nl && w->meta.len > 24)
			return error_set(err, -EBADMSG, "a sparse file's map is not possible");
		if (!nl)
			break;
		for (const char *q = p; q == p || q < nl; q++) /* the newline is no digit */
			if (*q < '0' || *q > '9' || mul_overflows(v, (uint64_t)10, &v) ||
			    add_overflows(v, (uint64_t)(*q - '0'), &v))
				return error_set(err, -EBADMSG,
						 "a sparse file's map is not possible");
		if (!w->map_count) {
			if (v > TAR_EXTENTS_MAX)
				return error_set(err, -E2BIG,
						 "a sparse file with more than %u pieces",
						 TAR_EXTENTS_MAX);
			w->map_total = v;
		} else if (w->map_count % 2)
			w->map_off = v;
		else
			r = tar_extent_add(&w->o.extents, w->map_off, v, err);
		w->map_count++;
		w->meta.len -= (size_t)(nl + 1 - p);
		memmove(w->meta.data, nl + 1, w->meta.len);
	}
	if (r < 0)
		return r;
	if (w->map_count && w->map_count == 1 + 2 * w->map_total)
		return data_begin(w, err);
	return w->left >= TAR_BLOCK ? 0
				    : error_set(err, -EBADMSG, "a sparse file's map never ends");
}

static int block_complete(struct tar_walk *w, struct error *err)
{
	int r;

	switch (w->state) {
	case ST_GNU_MAP:
		r = gnu_map_add(w, w->block, 21, err);
		if (r >= 0 && !w->block[504])
			r = data_begin(w, err);
		return r;
	case ST_MAP:
		return map_block(w, err);
	default:
		return header_parse(w, err);
	}
}

/* Content bytes, cut at the borders of extents. */
static int data_feed(struct tar_walk *w, const uint8_t *p, size_t n)
{
	while (n) {
		const struct tar_extent *x = &w->extents[w->extent];
		size_t take = min_u64(n, x->len - w->extent_done);
		int r = take ? w->cb.data(w->cb.userdata, x->off + w->extent_done, p, take, w->pos)
			     : 0;

		if (r < 0)
			return r;
		w->extent_done += take;
		w->pos += take;
		p += take;
		n -= take;
		if (w->extent_done == x->len) {
			w->extent++;
			w->extent_done = 0;
		}
	}
	return 0;
}

static int payload_feed(struct tar_walk *w, const uint8_t *p, size_t n, struct error *err)
{
	int r = 0;

	w->left -= n;
	if (w->state == ST_DATA && w->n_extents)
		r = data_feed(w, p, n);
	else {
		w->pos += n;
		if (w->state == ST_META)
			r = buf_append(&w->meta, p, n);
	}
	if (r < 0 || w->left)
		return r;
	if (w->state == ST_DATA)
		r = entry_end(w);
	else if (w->state == ST_META)
		r = meta_apply(w, err);
	skip_to_pad(w);
	return r;
}

int tar_walk_feed(struct tar_walk *w, const void *data, size_t n, struct error *err)
{
	const uint8_t *p = data;
	int r = 0;

	while (n && r >= 0 && w->state != ST_END) {
		size_t take;

		if (w->state == ST_PAD) {
			take = min_u64(n, w->pad);
			w->pad -= take;
			w->pos += take;
			if (!w->pad)
				w->state = ST_HEADER;
		} else if (w->state == ST_DATA || w->state == ST_SKIP || w->state == ST_META) {
			take = min_u64(n, w->left);
			r = take || w->state == ST_META ? payload_feed(w, p, take, err) : 0;
		} else {
			take = min_u64(n, TAR_BLOCK - w->block_len);
			memcpy(w->block + w->block_len, p, take);
			w->block_len += take;
			w->pos += take;
			if (w->block_len == TAR_BLOCK) {
				w->block_len = 0;
				r = block_complete(w, err);
			}
		}
		p += take;
		n -= take;
	}
	return r;
}

int tar_walk_finish(struct tar_walk *w, struct error *err)
{
	if (w->state == ST_END || (w->state == ST_HEADER && !w->block_len))
		return 0;
	if (w->state == ST_PAD) /* some writers leave the last padding out */
		return 0;
	return error_set(err, -EBADMSG,
			 "the archive is cut off at byte %llu, in or after \"%.120s\"",
			 (unsigned long long)w->pos, w->path);
}

uint64_t tar_walk_dropped_xattrs(const struct tar_walk *w)
{
	return w->dropped;
}

int tar_walk_new(const struct tar_callbacks *cb, struct tar_walk **ret)
{
	struct tar_walk *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->cb = *cb;
	*ret = w;
	return 0;
}

void tar_walk_free(struct tar_walk *w)
{
	if (!w)
		return;
	buf_fini(&w->meta);
	tar_overrides_fini(&w->o);
	free(w);
}
