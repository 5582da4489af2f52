/* SPDX-License-Identifier: MIT */
/*
 * A stretch of the tar stream on its way through the pipeline, of about a mebibyte: raw bytes, the
 * pieces that they are compressed in, and marks that say what begins and ends where.
 *
 * raw, texts and marks are written by the reader of files, pieces' outputs and digests by a
 * compressor, marks' digests by the hasher of files; the writer only reads. The pipeline hands a
 * batch from one to the next, so nothing here is locked.
 */
#ifndef MORSEL_TRANSFER_BATCH_H
#define MORSEL_TRANSFER_BATCH_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/fingerprint.h"

#define BATCH_BYTES (1u << 20) /* a batch is full when it has that many */

/* Compressed alone: a gzip member, a zstd frame. */
struct piece {
	size_t raw_off, raw_len;
	size_t data_len; /* of its first bytes: contents of a file, a chunk of a table */
	size_t hole_len; /* bytes that no file system stores: zeros */
	size_t out_off, out_len;
	struct digest digest;		/* of the chunk */
	uint8_t key[FINGERPRINT_BYTES]; /* in the member store */
	bool cached;			/* it was there */
	bool fresh;			/* it was not, and is to be put there */
};

enum mark_kind {
	MARK_ENTRY,    /* a header ends here */
	MARK_CHUNK,    /* a chunk of the entry's contents begins here, and with it a piece */
	MARK_FILE_END, /* the contents have ended */
};

struct mark {
	enum mark_kind kind;
	size_t raw_off;
	uint64_t size;		   /* ENTRY, FILE_END: of the file; CHUNK: of the chunk */
	size_t text_off, text_len; /* ENTRY: its members in a table, as JSON text */
	size_t name_off, name_len; /* ENTRY: its name in the archive */
	size_t piece;		   /* CHUNK */
	uint64_t chunk_off;	   /* CHUNK: in the file */
	bool many;		   /* CHUNK, FILE_END: the file has several chunks */
	uint64_t crc;		   /* FILE_END */
	struct digest digest;	   /* FILE_END, if many: of the file */
};

struct batch {
	struct buf raw, out, texts;
	struct buf pieces, marks;      /* of the structs above */
	uint8_t id[FINGERPRINT_BYTES]; /* by a compressor: tells the raw bytes, for hashes of
					  streams */
	int code;		       /* what a compressor said */
};

static inline struct piece *batch_pieces(const struct batch *b, size_t *ret_n)
{
	*ret_n = b->pieces.len / sizeof(struct piece);
	return (struct piece *)b->pieces.data;
}

static inline struct mark *batch_marks(const struct batch *b, size_t *ret_n)
{
	*ret_n = b->marks.len / sizeof(struct mark);
	return (struct mark *)b->marks.data;
}

static inline void batch_reset(struct batch *b)
{
	b->raw.len = b->out.len = b->texts.len = b->pieces.len = b->marks.len = 0;
	b->code = 0;
}

static inline void batch_fini(struct batch *b)
{
	buf_fini(&b->raw);
	buf_fini(&b->out);
	buf_fini(&b->texts);
	buf_fini(&b->pieces);
	buf_fini(&b->marks);
}

#endif
