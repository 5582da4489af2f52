/* SPDX-License-Identifier: MIT */
/*
 * One row per layer format: how an index is made from bytes (in the sandboxed indexer), and how
 * the compressed bytes of some spans become chunk contents (in the server).
 *
 * Formats are pure: bytes in, tables or bytes out. They fetch nothing, store nothing and know no
 * digests beyond those they put into the tables; verification belongs to the caller.
 */
#ifndef MORSEL_IMAGE_LAYER_FORMAT_H
#define MORSEL_IMAGE_LAYER_FORMAT_H

#include "image/layer_index.h"

/* What an indexer reads: the compressed blob front to back (plain formats) or the raw JSON of the
 * table of contents (estargz, zstd:chunked). */
struct index_source {
	/* Fills buf with up to n bytes; 0 = end; < 0 -errno. */
	ssize_t (*read)(void *userdata, void *buf, size_t n);
	void *userdata;
	uint64_t blob_bytes; /* size of the blob by the descriptor */
	uint64_t data_end;   /* TOC formats: end of the payload; no span may reach past it */
	uint64_t max_entries;
};

/* Where a streaming indexer puts file contents: the layer's device. NULL for TOC formats. */
struct index_sink {
	int (*write)(void *userdata, uint64_t dev_off, const void *data, size_t n);
	void *userdata;
};

/* Receives one chunk's decoded bytes, once per chunk, in ascending order. data is only valid
 * during the call. < 0 stops the decoding and is returned. */
struct chunk_sink {
	int (*chunk)(void *userdata, uint64_t chunk_index, const void *data, size_t len);
	void *userdata;
};

struct chunk_stream; /* the format's own */
enum { CHUNKS_COMPLETE = 1 };

struct layer_format {
	enum layer_format_id id;
	const char *name; /* "estargz", "gzip", ...: what users and scripts see */
	bool from_toc;	  /* lazy from the first mount: the index comes from a table of contents */
	/* Builds the tables. Called in the indexer only. */
	int (*index)(const struct index_source *in, const struct index_sink *out,
		     struct layer_builder *b, struct error *err);
	/* Decodes spans [first, last] whose compressed bytes are in[0..in_len), the bytes
	 * [spans[first].in_off, spans[last].in_end) of the blob, and delivers the chunks
	 * [chunk_first, chunk_last], which lie in these spans completely. -EBADMSG: the bytes do
	 * not decode to what the tables say. Output and memory are bounded by the tables. */
	int (*decode)(const struct layer_index *index, uint64_t first, uint64_t last,
		      const void *in, size_t in_len, uint64_t chunk_first, uint64_t chunk_last,
		      const struct chunk_sink *sink);
	/* The same with the bytes of the spans from `first` on in pieces, for spans that are too
	 * large for memory. NULL, all three: this format has none. CHUNKS_COMPLETE: the last chunk
	 * was delivered, what follows is of no use. After an error the stream can only be freed. */
	int (*stream_new)(const struct layer_index *index, uint64_t first, uint64_t chunk_first,
			  uint64_t chunk_last, const struct chunk_sink *sink,
			  struct chunk_stream **ret);
	int (*stream_feed)(struct chunk_stream *s, const void *data, size_t n);
	void (*stream_free)(struct chunk_stream *s); /* accepts NULL */
};

/* One file each: format_*.c. */
extern const struct layer_format format_estargz, format_zstd_chunked, format_gzip, format_zstd,
	format_tar;

/* NULL: no such format here. */
const struct layer_format *layer_format_lookup(enum layer_format_id id);

#endif
