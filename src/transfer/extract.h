/* SPDX-License-Identifier: MIT */
/*
 * An image's merged tree, or parts of it, as files on a disk: for pull, which makes a directory,
 * and for cp, which adds to one.
 *
 *   extract_plan.c  which names: the index walked once, patterns applied, hardlinks grouped
 *   extract.c       the work: threads that each take a directory and make what is in it
 *   extract_fetch.c reads layers that are far away from front to back
 *   extract_node.c  makes one file, symlink or device, and gives it its attributes
 *   place.c         where: how what was built gets its name at the end
 *   stage.c         the directory to build in, and what killed processes left of theirs
 *   beneath.c       names that never lead out of a directory
 *
 * Everything is built in a directory of mode 0700 that no other user can enter, so that nobody can
 * put anything in the way; it gets its name when all of it is there. Contents come from the
 * reader, verified. Does not open images, fetch, or parse anything.
 */
#ifndef MORSEL_TRANSFER_EXTRACT_H
#define MORSEL_TRANSFER_EXTRACT_H

#include "cache/reader.h"
#include "image/erofs_read.h"
#include "transfer/ignore.h"

/* What can't be made without privileges; counted and named, never fatal. */
enum extract_kind { EXTRACT_OWNERS, EXTRACT_DEVICES, EXTRACT_XATTRS, EXTRACT_KINDS };

#define EXTRACT_NAMES_MAX 100 /* of each kind */

struct extract_left_out {
	uint64_t n;
	char *names[EXTRACT_NAMES_MAX]; /* owned; the first ones */
	uint32_t n_names;
};

struct extract_result {
	uint64_t files, directories, others; /* made; a hardlink is a file of its own here */
	uint64_t bytes;			     /* of contents, each inode once */
	uint64_t cloned_bytes;		     /* of these, shared with the cache's file */
	struct extract_left_out left_out[EXTRACT_KINDS];
};
void extract_result_fini(struct extract_result *r);

struct extract_progress {
	uint64_t done_bytes, total_bytes;
	uint64_t files_done, files_total;
};

/* What is made. */
struct extract_root {
	uint64_t nid;
	const char *name; /* in the destination; "": a directory that becomes the destination */
};

struct extract_options {
	const struct seam *seam;
	const struct erofs *fs;
	struct reader *reader;
	/* Layers whose contents are not all there are read from their start to their end beside
	 * the work when everything is wanted: in the blob's order that takes few requests. */
	struct layer *const *layers; /* n_layers, as the reader has them */
	uint32_t n_layers;
	const struct extract_root *roots; /* one without a name, or some with different names */
	uint32_t n_roots;
	/* The first one's path in the image, "" or "a/b": patterns are matched with it. */
	const char *root_path;
	const struct ignore_list *include, *exclude; /* NULL = everything, nothing */
	bool overwrite;				     /* the destination may hold something */
	/* -1; else a directory that is added to, whatever it holds, borrowed. What is there keeps
	 * its kind then: a directory is no file's place, nor the other way round. */
	int dest_fd;
	const atomic_bool *cancel;
	/* From the calling thread about ten times a second; != 0: give up. May be NULL. */
	int (*progress)(void *userdata, const struct extract_progress *p);
	void *userdata;
};

/* Whether there could be a tree at dest, before anything is fetched. -EPERM: something is there
 * and may not be overwritten; -ENOTDIR; -ENOENT: no directory to make it in. */
int extract_check(const char *dest, bool overwrite, struct error *err);

/* Makes the tree. dest: its path, for messages only where there is a dest_fd. Nothing is left after
 * an error, but for what had been merged into an existing directory when the merge itself failed.
 * *ret is for extract_result_fini(), also then.
 * -ENOENT: no name matches; -ECANCELED; -EBADMSG; -ENOSPC and other errnos of the destination. */
int extract_run(const struct extract_options *o, const char *dest, struct extract_result *ret,
		struct error *err);

#endif
