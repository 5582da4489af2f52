/* SPDX-License-Identifier: MIT */
/*
 * The parent's side of the indexer: the exec'd, sandboxed helper program that turns a layer's
 * bytes into flat tables. A crash, an escape attempt or an endless loop there costs one layer.
 *
 *   parent                                  morsel-indexer FORMAT BLOB_BYTES DATA_END MAX_ENTRIES
 *     bytes  --- pipe, fd 0 --------------->  reads
 *            <-- data file, fd 3 (O_WRONLY) -  file contents (plain formats)
 *            <-- table file, fd 4 (O_WRONLY) - header + sections (image/layer_index.h)
 *            <-- pipe, fd 2 ----------------   one line of error text, "ERRNO text"
 *     exit status 0 or 1
 *
 * The helper has no network, no credentials, no environment, rlimits, no_new_privs and a seccomp
 * filter that allows little more than read, pwrite and memory. The parent hashes what it writes
 * into the pipe and validates the tables; it trusts nothing the helper says.
 *
 * One thread per indexer object. Does not fetch: the caller feeds.
 */
#ifndef MORSEL_IMAGE_INDEXER_H
#define MORSEL_IMAGE_INDEXER_H

#include "image/layer_format.h"

struct indexer_params {
	enum layer_format_id format;
	uint64_t blob_bytes, data_end, max_entries;
	int data_fd;  /* borrowed; -1 for TOC formats */
	int table_fd; /* borrowed; opened read-write by the caller, who maps it afterwards */
	const char *helper_path; /* NULL: image/indexer_path.h says where */
};

struct indexer;
int indexer_start(const struct indexer_params *params, struct indexer **ret, struct error *err);
/* Blocks while the pipe is full. A helper that died gives its own error. */
int indexer_feed(struct indexer *ix, const void *data, size_t n, struct error *err);
/* Closes the pipe, waits for the helper, reports its error. The object is done but not freed. */
int indexer_finish(struct indexer *ix, struct error *err);
/* Kills a helper that still runs, reaps it. Accepts NULL. */
void indexer_free(struct indexer *ix);
DEFINE_CLEANUP(struct indexer *, indexer_free)

#endif
