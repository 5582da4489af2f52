/* SPDX-License-Identifier: MIT */
/*
 * What one layer holds: the flat tables that the indexer writes, the cache keeps, the merge and
 * the readers use. All little-endian, fixed-width records; offsets into a heap instead of
 * pointers; so a validated file is used as it is mapped.
 *
 *   entries   what the tar stream (or the table of contents) said, in its order, names cleaned
 *   chunks    device range -> digest: the unit that is verified, kept and evicted
 *   spans     compressed range -> decoder state: the unit that is fetched and decompressed
 *   windows   gzip dictionaries of spans, each zstd-compressed, addressed by spans
 *
 * The layer's *device* is its sparse `data` file: contents of regular files, each starting on a
 * 4 KiB border, in the order of the compressed stream; the gaps up to the border are zero. A
 * device range that no chunk covers (those gaps, holes of sparse files) is zeros by definition.
 *
 * Invariants, all checked by layer_index_validate() before anything trusts a table:
 *  - header counts and section sizes fit the file exactly (the heap is padded to a multiple of 8);
 *    reserved fields are zero
 *  - entry paths are clean: no leading, trailing or double '/', no "." or ".." component, no NUL,
 *    components <= 255 and paths <= 4095 bytes, depth <= 1024; "" is the root, only as a directory
 *  - the root is not whited out; ENTRY_OPAQUE only on directories or on ENTRY_OPAQUE_MARK records
 *  - regular entries with content: data_off is 4 KiB aligned, data_off + size <= device_bytes
 *  - chunks are sorted by dev_off, do not overlap, 1 <= len <= CHUNK_MAX; sorted also by
 *    (span, span_off); span <= span_last < n_spans
 *  - spans are sorted: in_off < in_end <= blob size, in_off ascending; spans of one gzip stream
 *    may share a byte (bits != 0), so in_off >= previous in_end - 1
 *  - windows of spans lie inside the window heap
 * Not checked, because nothing depends on it: that a whiteout's path names what it deletes (no
 * ".wh." left in it), and that the contents of two files do not overlap on the device.
 *
 * Does no I/O and no decoding of layer bytes; knows nothing about where the tables are stored.
 */
#ifndef MORSEL_IMAGE_LAYER_INDEX_H
#define MORSEL_IMAGE_LAYER_INDEX_H

#include "base/buf.h"
#include "base/digest.h"

#define LAYER_INDEX_MAGIC UINT64_C(0x315844494c53524d) /* "MRSLIDX1" */
#define DEVICE_BLOCK 4096u
#define CHUNK_MAX (8u << 20)	       /* bytes; what others' chunks may be */
#define CHUNK_OWN (256u << 10)	       /* bytes; how we cut contents that come without chunks */
#define DEVICE_MAX (UINT64_C(1) << 42) /* bytes a layer's device may have: 4 TiB */
#define NAME_LEN_MAX 255u
#define PATH_LEN_MAX 4095u
#define LINK_LEN_MAX 4095u
#define PATH_DEPTH_MAX 1024u
#define XATTR_INODE_MAX (64u << 10) /* bytes of names and values of one entry */
#define ENTRIES_DEFAULT_MAX 1000000u

enum layer_format_id {
	LAYER_ESTARGZ = 1,
	LAYER_GZIP = 2,
	LAYER_ZSTD_CHUNKED = 3,
	LAYER_ZSTD = 4,
	LAYER_TAR = 5,
};

enum {			      /* layer_entry.flags */
       ENTRY_WHITEOUT = 1,    /* path is deleted from lower layers; no other field matters */
       ENTRY_OPAQUE = 2,      /* children of this path in lower layers are hidden */
       ENTRY_OPAQUE_MARK = 4, /* only that: from ".wh..wh..opq"; says nothing about attributes */
       ENTRY_HARDLINK = 8,    /* link_off names the target's path; size, data, attributes unused */
       ENTRY_HIDDEN = 16,     /* AUFS plumbing (".wh..wh.plnk/..."): only a hardlink target */
};

/* 96 bytes */
struct layer_entry {
	uint32_t path_off; /* into the heap */
	uint16_t path_len;
	uint16_t link_len; /* symlink text (raw) or hardlink target (cleaned path) */
	uint32_t link_off;
	uint32_t xattr_off; /* heap: xattr_count x {u16 name_len, u16 0, u32 value_len, name, value}
			     */
	uint32_t xattr_len; /* bytes of all of them, unpadded */
	uint16_t xattr_count;
	uint16_t flags;
	uint32_t mode; /* st_mode with the type bits; 07777 and type only */
	uint32_t uid, gid;
	uint32_t rdev_major, rdev_minor;
	int64_t mtime_s;
	uint32_t mtime_ns; /* < 1e9 */
	uint32_t reserved;
	uint64_t size;	   /* logical bytes of a regular file; symlinks: link_len; else 0 */
	uint64_t data_off; /* device offset of a regular file's content; 0 when size is 0 */
	uint64_t reserved2[2];
};
static_assert(sizeof(struct layer_entry) == 96, "on-disk record");

/* 80 bytes. The chunk's bytes are found by decoding from `span`, skipping span_off decoded bytes
 * and taking len, possibly running on into the following spans up to span_last. */
struct layer_chunk {
	uint64_t dev_off;
	uint64_t span_off;
	uint32_t len;
	uint32_t span;
	uint32_t span_last;
	uint32_t flags;	    /* 0 */
	uint8_t digest[32]; /* sha256 of the len decoded bytes */
	uint64_t reserved[2];
};
static_assert(sizeof(struct layer_chunk) == 80, "on-disk record");

/* 40 bytes */
struct layer_span {
	uint64_t in_off; /* first compressed byte needed; with bits != 0 the one holding them */
	uint64_t in_end; /* first compressed byte not needed */
	uint64_t
		out_off; /* position in the decompressed layer; 0 where that is unknown (estargz) */
	uint64_t window_off; /* into the window heap */
	uint32_t window_len; /* zstd-compressed bytes; 0 = no dictionary: a gzip member starts here
			      */
	uint8_t bits;	     /* top bits of the byte at in_off that belong to the block, 0..7 */
	uint8_t reserved[3];
};
static_assert(sizeof(struct layer_span) == 40, "on-disk record");

/* 192 bytes: the start of the indexer's output stream. Sections follow in the order of the
 * counts: entries, heap, chunks, spans, windows; no padding between. */
struct layer_index_header {
	uint64_t magic;
	uint32_t format; /* enum layer_format_id */
	uint32_t flags;	 /* 0 */
	uint64_t n_entries, heap_bytes, n_chunks, n_spans, window_bytes;
	uint64_t device_bytes;	 /* multiple of DEVICE_BLOCK */
	uint64_t blob_bytes;	 /* compressed bytes seen, or the blob size for a TOC */
	uint64_t prefetch_end;	 /* compressed offset of the prefetch landmark, else 0 */
	uint64_t dropped_xattrs; /* not representable or not shown: counted for inspect */
	uint8_t diff_id[32];	 /* sha256 of the decompressed stream; zero for a TOC */
	uint8_t reserved[72];
};
static_assert(sizeof(struct layer_index_header) == 192, "on-disk record");

/* Borrowed, validated view over one contiguous index, or over separately mapped sections. */
struct layer_index {
	struct layer_index_header header;
	const struct layer_entry *entries;
	const uint8_t *heap;
	const struct layer_chunk *chunks;
	const struct layer_span *spans;
	const uint8_t *windows;
};

/* Splits one contiguous stream (header + sections) and checks every invariant above. bytes is
 * borrowed and must be 8-byte aligned. -EBADMSG, -E2BIG (max_entries). Pure; fuzzed. */
int layer_index_validate(const void *bytes, size_t len, uint64_t max_entries,
			 struct layer_index *ret, struct error *err);
/* Only the tables a reader needs: chunks, spans and windows against header counts. */
int layer_index_validate_reader(const struct layer_index *index, struct error *err);

/* First chunk that ends after dev_off (n_chunks when none). Binary search. */
uint64_t layer_index_chunk_at(const struct layer_index *index, uint64_t dev_off);

/* Calls fn for each xattr of an entry, in table order. Only on validated tables. */
struct layer_xattr {
	const char *name; /* not terminated */
	const uint8_t *value;
	uint32_t name_len, value_len;
};
/* *pos starts at 0; false when there are no more. */
bool layer_entry_next_xattr(const struct layer_index *index, const struct layer_entry *e,
			    uint32_t *pos, struct layer_xattr *ret);

/* Builds the tables in memory, for the indexer and for tests. Paths given are cleaned already. */
struct layer_builder;
int layer_builder_new(enum layer_format_id format, uint64_t max_entries,
		      struct layer_builder **ret);
/* Copies path, link and xattr bytes (as in the heap) into the heap and appends the record; the
 * *_off and *_len fields of e are filled in here. -E2BIG over max_entries or a 4 GiB heap. */
int layer_builder_add_entry(struct layer_builder *b, const struct layer_entry *e, const void *path,
			    size_t path_len, const void *link, size_t link_len, const void *xattrs,
			    size_t xattr_len);
int layer_builder_add_chunk(struct layer_builder *b, const struct layer_chunk *c);
/* window: uncompressed dictionary (<= 32 KiB), NULL for none. Fills window_off and window_len. */
int layer_builder_add_span(struct layer_builder *b, const struct layer_span *s, const void *window,
			   size_t window_len);
/* The span last added may be given its end later, when the next one starts. */
struct layer_span *layer_builder_last_span(struct layer_builder *b); /* NULL: none */
/* By index, for what is only known later (where a chunk's bytes are in the spans). */
struct layer_span *layer_builder_span(struct layer_builder *b, uint64_t i);
struct layer_chunk *layer_builder_chunk(struct layer_builder *b, uint64_t i);
struct layer_entry *layer_builder_entry(struct layer_builder *b, uint64_t i);
struct layer_index_header *layer_builder_header(struct layer_builder *b); /* for totals */
/* Writes header and sections to a descriptor, or to a buffer. */
int layer_builder_write(struct layer_builder *b, int fd);
int layer_builder_write_buf(struct layer_builder *b, struct buf *ret);
void layer_builder_free(struct layer_builder *b);
DEFINE_CLEANUP(struct layer_builder *, layer_builder_free)

#endif
