/* SPDX-License-Identifier: MIT */
/*
 * Tables of contents as stargz and containers/storage write them: JSON {"version": 1, "entries":
 * [...]}, read entry by entry without keeping the document. What is said here is what a mount
 * shows; the bytes a chunk's digest promises are checked when they are read.
 *
 * Field lists: stargz-snapshotter's docs/estargz.md, containers/storage's
 * docs/containers-storage-zstd-chunked.md. Pure.
 */
#ifndef MORSEL_IMAGE_TOC_H
#define MORSEL_IMAGE_TOC_H

#include "image/tar.h"

/* Room for what an entry says, filled by the reader; strings are borrowed during the callback. */
struct toc_entry {
	struct buf name, link, type;
	struct buf chunk_type;		 /* containers/storage: "zeros", or nothing */
	struct tar_overrides attributes; /* xattrs only */
	uint64_t size, offset, inner_offset, chunk_offset, chunk_size;
	uint64_t end_offset; /* containers/storage: of a file's last byte in the blob */
	uint32_t mode, uid, gid, dev_major, dev_minor;
	int64_t mtime_s;
	uint32_t mtime_ns;
	struct digest digest, chunk_digest; /* algo 0 = absent */
};

struct toc_reader;
int toc_reader_new(int (*entry)(void *userdata, const struct toc_entry *e, struct error *err),
		   void *userdata, struct toc_reader **ret);
/* -EBADMSG: not such a document. -EILSEQ: a name was not UTF-8 once, so the table has lost it. */
int toc_reader_feed(struct toc_reader *t, const void *data, size_t n, struct error *err);
int toc_reader_finish(struct toc_reader *t, struct error *err);
void toc_reader_free(struct toc_reader *t);
DEFINE_CLEANUP(struct toc_reader *, toc_reader_free)

#endif
