/* SPDX-License-Identifier: MIT */
/*
 * A strict, incremental tar reader: bytes pushed in any slicing, entries and their contents called
 * out. It is the authority for names, sizes and attributes of a layer.
 *
 * Reads V7, ustar, GNU (long names, old sparse, base-256) and pax (x and g records, sparse 0.0, 0.1
 * and 1.0, SCHILY.xattr). What two readers could understand differently is refused.
 * Does not merge, does not keep contents, does no I/O. The formats are those of POSIX.1-2001
 * pax(1) and the GNU tar manual, "Basic Tar Format".
 */
#ifndef MORSEL_IMAGE_TAR_H
#define MORSEL_IMAGE_TAR_H

#include "image/path.h"

#define TAR_HEADERS_MAX (1u << 20) /* bytes of one long name or one set of pax records */
#define TAR_EXTENTS_MAX 65536u

struct tar_extent {
	uint64_t off, len; /* in the file */
};

struct tar_entry {
	struct layer_entry meta; /* mode, owner, times, size, rdev, flags; no offsets */
	const char *path;	 /* cleaned */
	size_t path_len;
	const char *link; /* symlink: raw text; hardlink: cleaned target path */
	size_t link_len;
	const uint8_t *xattrs; /* in the layer heap's form */
	size_t xattr_len;
	const struct tar_extent *extents; /* where data is; one extent [0, size) unless sparse */
	size_t n_extents;
	uint64_t stream_off; /* of the first content byte in the tar stream */
};

struct tar_callbacks {
	/* All pointers are valid during the call only. < 0 stops the walk and is returned. */
	int (*entry)(void *userdata, const struct tar_entry *e);
	/* Content of the last entry, at its offset in the file; holes are left out. */
	int (*data)(void *userdata, uint64_t file_off, const void *data, size_t n,
		    uint64_t stream_off);
	int (*end_entry)(void *userdata);
	void *userdata;
};

struct tar_walk;
int tar_walk_new(const struct tar_callbacks *cb, struct tar_walk **ret);
/* -EBADMSG, -E2BIG, -ENOTSUP with the entry named; then the walk must not be fed again. */
int tar_walk_feed(struct tar_walk *w, const void *data, size_t n, struct error *err);
/* The stream ended. -EBADMSG when it was in the middle of something. */
int tar_walk_finish(struct tar_walk *w, struct error *err);
/* Extended attributes that were left out because no index can hold or should show them. */
uint64_t tar_walk_dropped_xattrs(const struct tar_walk *w);
void tar_walk_free(struct tar_walk *w);
DEFINE_CLEANUP(struct tar_walk *, tar_walk_free)

/* ---- shared by the files of the reader ---- */

/* What pax records, GNU long headers and sparse maps said about the next entry. */
struct tar_overrides {
	struct buf path, link;		 /* of pax records; len 0 = absent */
	struct buf long_path, long_link; /* GNU's; likewise */
	struct buf xattrs;		 /* heap form; a name stands there once */
	uint16_t n_xattrs;
	uint64_t dropped_xattrs;
	bool has_size, has_uid, has_gid, has_mtime;
	uint64_t size;
	uint32_t uid, gid;
	int64_t mtime_s;
	uint32_t mtime_ns;
	/* GNU.sparse */
	uint8_t sparse_major, sparse_minor;
	bool has_sparse_map, has_sparse_size;
	uint64_t sparse_size;
	struct buf sparse_name;
	struct buf extents; /* of struct tar_extent */
	bool sparse_pending_off;
	uint64_t sparse_off;
};

void tar_overrides_reset(struct tar_overrides *o);
/* Nothing was said that waits for an entry. */
bool tar_overrides_empty(const struct tar_overrides *o);
void tar_overrides_fini(struct tar_overrides *o);
/* One complete body of an 'x' header; takes the place of an earlier one's records. */
int tar_pax_parse(const void *body, size_t n, struct tar_overrides *o, struct error *err);
/* One extended attribute into o->xattrs, or into the count of dropped ones. -EBADMSG, -E2BIG. */
int tar_xattr_add(struct tar_overrides *o, const char *name, size_t n, const void *value,
		  size_t value_len, struct error *err);
int tar_extent_add(struct buf *extents, uint64_t off, uint64_t len, struct error *err);
/* An octal or base-256 number field. -EBADMSG. */
int tar_number(const uint8_t *field, size_t n, int64_t *ret);

#endif
