/* SPDX-License-Identifier: MIT */
/*
 * The table of an eStargz layer is a gzip member of its own, which holds a tar header that says how
 * long the table is. The table was compressed before that was known. So the header goes into a
 * stored block, and the table's deflate stream, which begins at a byte's border and refers to
 * nothing before it, follows.
 */
#include "transfer/layer_end.h"

#include <errno.h>
#include <libdeflate.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/seam.h"
#include "transfer/tar_encode.h"

#define FOOTER_BYTES 51
#define KEY_TOC "containerd.io/snapshot/stargz/toc.digest"
#define KEY_RAW_SIZE "io.containers.estargz.uncompressed-size"
#define KEY_CHUNKED "io.github.containers.zstd-chunked."
#define MANIFEST_TYPE 1 /* the only one there is */

static uint64_t now_ns(void)
{
	return seam_real()->monotonic_ns(seam_real());
}

/* Sends what was hashed since `start`. */
static int out_send(struct layer_out *o, uint64_t start, const void *data, size_t n,
		    struct error *err)
{
	uint64_t hashed = now_ns();
	int r = o->sink->write(o->sink->userdata, data, n, err);

	o->off += n;
	o->hash_ns += hashed - start;
	o->sink_ns += now_ns() - hashed;
	return r;
}

int layer_out_batch(struct layer_out *o, const struct batch *b, struct error *err)
{
	uint64_t start = now_ns();

	stream_hash_stretch(o->blob_hash, b->id, b->out.data, b->out.len);
	return out_send(o, start, b->out.data, b->out.len, err);
}

int layer_out_write(struct layer_out *o, const void *data, size_t n, struct error *err)
{
	uint64_t start = now_ns();

	stream_hash_rest(o->blob_hash, data, n);
	return out_send(o, start, data, n, err);
}

static struct layer_annotation *annotate(struct layer_result *res, const char *key)
{
	struct layer_annotation *a = &res->annotations[res->n_annotations++];

	assert(res->n_annotations <= LAYER_ANNOTATIONS_MAX);
	a->key = key;
	return a;
}

/* ---- eStargz ---- */

struct raw_sum {
	struct layer_out *out;
	uint32_t crc;
	uint64_t len;
};

static void raw_add(void *userdata, const void *data, size_t n)
{
	struct raw_sum *s = userdata;

	stream_hash_rest(s->out->diff_hash, data, n);
	s->crc = libdeflate_crc32(s->crc, data, n);
	s->len += n;
	s->out->raw_len += n;
}

static int table_end(struct packed_text *json)
{
	static const uint8_t zeros[3 * TAR_BLOCK_BYTES];
	size_t pad = (size_t)(-json->raw_len & (TAR_BLOCK_BYTES - 1));
	int r = packed_text_append(json, zeros, pad + 2 * TAR_BLOCK_BYTES);

	return r < 0 ? r : packed_text_finish(json);
}

static int table_member(struct layer_out *o, const struct packed_text *json,
			const struct buf *header, struct error *err)
{
	static const uint8_t gzip[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff};
	struct raw_sum sum = {.out = o};
	uint8_t stored[5] = {0}, trailer[8];
	int r = layer_out_write(o, gzip, sizeof(gzip), err);

	le16_put(stored + 1, (uint16_t)header->len);
	le16_put(stored + 3, (uint16_t)~header->len);
	raw_add(&sum, header->data, header->len);
	if (r >= 0)
		r = layer_out_write(o, stored, sizeof(stored), err);
	if (r >= 0)
		r = layer_out_write(o, header->data, header->len, err);
	if (r >= 0)
		r = packed_text_read(json, raw_add, &sum);
	if (r >= 0)
		r = layer_out_write(o, json->bytes.data, json->bytes.len, err);
	le32_put(trailer, sum.crc);
	le32_put(trailer + 4, (uint32_t)sum.len);
	return r < 0 ? r : layer_out_write(o, trailer, sizeof(trailer), err);
}

static int footer_write(struct layer_out *o, uint64_t toc_off, struct error *err)
{
	static const uint8_t begin[16] = {0x1f, 0x8b, 8,  4, 0,	  0,   0,  0,
					  0,	0xff, 26, 0, 'S', 'G', 22, 0};
	static const uint8_t end[13] = {1, 0, 0, 0xff, 0xff};
	char text[FOOTER_BYTES + 1] = {0};

	memcpy(text, begin, sizeof(begin));
	snprintf(text + 16, 23, "%016llxSTARGZ", (unsigned long long)toc_off);
	memcpy(text + 38, end, sizeof(end));
	return layer_out_write(o, text, FOOTER_BYTES, err);
}

int layer_end_estargz(struct layer_out *o, struct toc_write *t, struct layer_result *res,
		      struct error *err)
{
	_cleanup_(buf_fini) struct buf header = BUF_INIT;
	struct tar_header h = {.path = "stargz.index.json", .mode = S_IFREG | 0444};
	struct packed_text *json, *none;
	uint64_t toc_off = o->off;
	int r = toc_write_finish(t, &json, &none);

	if (r < 0)
		return r;
	h.size = json->raw_len;
	r = tar_header_encode(&h, &header);
	if (r >= 0)
		r = table_end(json);
	if (r >= 0)
		r = table_member(o, json, &header, err);
	if (r >= 0)
		r = footer_write(o, toc_off, err);
	if (r < 0)
		return r;
	digest_format(&json->digest, annotate(res, KEY_TOC)->value);
	snprintf(annotate(res, KEY_RAW_SIZE)->value, DIGEST_TEXT_MAX, "%llu",
		 (unsigned long long)o->raw_len);
	return 0;
}

/* ---- zstd:chunked ---- */

/* ret_off: of the payload. */
static int skippable_write(struct layer_out *o, const void *data, size_t n, uint64_t *ret_off,
			   struct error *err)
{
	uint8_t head[8] = {0x50, 0x2a, 0x4d, 0x18};
	int r;

	if (n > UINT32_MAX)
		return error_set(err, -E2BIG,
				 "the table of contents is larger than a zstd frame can be");
	le32_put(head + 4, (uint32_t)n);
	r = layer_out_write(o, head, sizeof(head), err);
	*ret_off = o->off;
	return r < 0 ? r : layer_out_write(o, data, n, err);
}

/* Eight numbers: the form that containers/storage has written since 1.50. What reads it by
 * annotations, as podman does, reads no footer. */
static int numbers_write(struct layer_out *o, const uint64_t numbers[static 7], struct error *err)
{
	uint8_t footer[64];
	uint64_t off;

	for (int i = 0; i < 7; i++)
		le64_put(footer + 8 * i, numbers[i]);
	memcpy(footer + 56, "GNUlInUx", 8);
	return skippable_write(o, footer, sizeof(footer), &off, err);
}

int layer_end_zstd_chunked(struct layer_out *o, struct toc_write *t, struct layer_result *res,
			   struct error *err)
{
	struct packed_text *json, *split;
	uint64_t json_off = 0, split_off = 0;
	struct digest sum;
	int r = toc_write_finish(t, &json, &split);

	if (r >= 0)
		r = packed_text_finish(json);
	if (r >= 0)
		r = skippable_write(o, json->bytes.data, json->bytes.len, &json_off, err);
	if (r >= 0)
		r = skippable_write(o, split->bytes.data, split->bytes.len, &split_off, err);
	if (r >= 0)
		r = numbers_write(o,
				  (uint64_t[]){json_off, json->bytes.len, json->raw_len,
					       MANIFEST_TYPE, split_off, split->bytes.len,
					       split->raw_len},
				  err);
	if (r < 0)
		return r;
	digest_of(DIGEST_SHA256, json->bytes.data, json->bytes.len, &sum);
	digest_format(&sum, annotate(res, KEY_CHUNKED "manifest-checksum")->value);
	snprintf(annotate(res, KEY_CHUNKED "manifest-position")->value, DIGEST_TEXT_MAX,
		 "%llu:%zu:%llu:%d", (unsigned long long)json_off, json->bytes.len,
		 (unsigned long long)json->raw_len, MANIFEST_TYPE);
	snprintf(annotate(res, KEY_CHUNKED "tarsplit-position")->value, DIGEST_TEXT_MAX,
		 "%llu:%zu:%llu", (unsigned long long)split_off, split->bytes.len,
		 (unsigned long long)split->raw_len);
	return 0;
}
