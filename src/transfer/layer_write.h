/* SPDX-License-Identifier: MIT */
/*
 * A directory becomes the bytes of a layer: walked in byte order of its paths, written as a pax
 * archive, cut into members that decompress alone, compressed on all cores and handed to a sink in
 * order. Memory is bounded whatever the size of the tree; nothing is spooled.
 *
 * The bytes depend on the tree, the source's and the parameters' fields that say so, and the
 * versions of the codec libraries; never on the machine, the number of threads, the time or the
 * member cache. Who needs the same bytes again (an upload that has to be resumed) calls again.
 *
 * Does not upload, make manifests or configs, or know references.
 */
#ifndef MORSEL_TRANSFER_LAYER_WRITE_H
#define MORSEL_TRANSFER_LAYER_WRITE_H

#include <stdatomic.h>
#include "base/buf.h"
#include "base/digest.h"
#include "base/log.h"

struct cache;

enum layer_compression {
	LAYER_COMPRESS_ESTARGZ, /* gzip members, table of contents, footer; the default */
	LAYER_COMPRESS_ZSTD_CHUNKED,
	LAYER_COMPRESS_GZIP, /* many members, no table */
	LAYER_COMPRESS_ZSTD, /* many frames, no table */
	LAYER_COMPRESS_NONE, /* tar */
};

/* "estargz" "zstd:chunked" "gzip" "zstd" "none"; -EINVAL with the five named. */
int layer_compression_parse(const char *text, enum layer_compression *ret, struct error *err);
const char *layer_compression_name(enum layer_compression c);

/* What becomes the layer. All of it is borrowed, for the time of the call. */
struct layer_source {
	int root_fd;	       /* of the directory, O_RDONLY | O_DIRECTORY */
	const char *root_name; /* for messages */
	/* Where in the image it goes: "" or NULL is the root, "opt/app" (a leading "/" may stand)
	 * makes the directory's own entry "opt/app/". "opt/" is not written: it may be a lower
	 * layer's. */
	const char *prefix;
	/* Patterns in the grammar of .dockerignore, applied after the ignore file's. */
	const char *const *excludes;
	size_t n_excludes;
	/* The ignore file: its text, or, when that is NULL and use_ignore_file is set, the file
	 * ".dockerignore" at the directory's root, if there is one. */
	const char *ignore_text, *ignore_name; /* name: for messages */
	size_t ignore_len;
	bool use_ignore_file;
	bool set_owner; /* --owner: all entries get uid and gid */
	uint32_t uid, gid;
	bool allow_changed; /* a file that changes while it is read is a warning, not an error */
	bool clamp_mtime;   /* SOURCE_DATE_EPOCH: mtimes later than it become it */
	int64_t mtime_max_s;
	/* One more file at the root of the image, 0644, of the owner given or 0:0, with the mtime
	 * mtime_max_s if that is set, else 0; NULL: none. A file of the directory with this path
	 * is left out. */
	const char *extra_name;
	const void *extra_data;
	size_t extra_len;
	/* Paths inside the image, in the order in which they are to come first: layer_order.h
	 * reads them from lists and access profiles. Those that are not in the tree are ignored. */
	const char *const *first;
	size_t n_first;
};

#define LAYER_CHUNK_DEFAULT (1u << 20)
#define LAYER_CHUNK_MIN 4096u
#define LAYER_CHUNK_MAX (8u << 20)

struct layer_progress {
	uint64_t entries;   /* written so far */
	uint64_t raw_bytes; /* of the tar stream */
	uint64_t out_bytes; /* of the blob */
};

/* What layer_look() of layer_seen.h has seen. */
struct layer_look {
	struct digest digest; /* of the headers and of what else decides, not of contents */
	bool text;	      /* all names are UTF-8 */
};

/* How. Zero everywhere is the default. */
struct layer_params {
	enum layer_compression compression;
	/* gzip 1..12, zstd 1..19; 0: the default of the format. -EINVAL outside of it. */
	int level;
	uint32_t chunk_size; /* bytes; 0: LAYER_CHUNK_DEFAULT; -EINVAL outside MIN..MAX */
	unsigned threads;    /* that compress; 0: as many as the process may use */
	/* Where compressed members are kept and found again; NULL: nowhere. */
	struct cache *cache;
	/* With a cache: what the layer becomes is kept there by this. NULL: it is not. */
	const struct layer_look *look;
	const struct log *log;	    /* warnings (sockets, what can't be kept); may be NULL */
	const _Atomic bool *cancel; /* looked at often: true ends the call with -ECANCELED */
	/* Called by the calling thread, at most some hundred times a second; may be NULL. */
	void (*progress)(void *userdata, const struct layer_progress *p);
	void *userdata;
};

/* Where the bytes go, in order, from the calling thread. < 0 ends the call and is returned. */
struct layer_sink {
	int (*write)(void *userdata, const void *data, size_t n, struct error *err);
	void *userdata;
};

#define LAYER_ANNOTATIONS_MAX 4

struct layer_annotation {
	const char *key; /* static */
	char value[DIGEST_TEXT_MAX];
};

struct layer_result {
	struct digest digest; /* of the blob */
	uint64_t size;
	struct digest diff_id; /* of the tar stream, as every unpacker sees it */
	uint64_t raw_size;
	/* What was asked for, or, where the tree has names that are not UTF-8, which no table of
	 * contents can hold, the plain format of the same codec. */
	enum layer_compression compression;
	const char *media_type; /* OCI; static */
	struct layer_annotation annotations[LAYER_ANNOTATIONS_MAX];
	size_t n_annotations;
	/* What is in it. */
	uint64_t entries, files, file_bytes, hardlinks;
	uint64_t sockets, dropped_xattrs; /* left out, with a warning */
	uint64_t members, members_cached; /* compressed members, and those from the cache */
	uint64_t bytes_cached;		  /* compressed bytes that came from the cache */
	/* Where the time went; compress and hash are sums over the threads that work on it. */
	uint64_t wall_ns, read_ns, compress_ns, hash_ns, sink_ns;
};

/* -EINVAL (level, chunk size, prefix, patterns), -ESTALE (a file changed while it was read: named),
 * -ECANCELED, -ENOMEM, the sink's, and what the file system said
 * (the path is named; -EACCES for a file that may not be read). */
int layer_write(const struct layer_params *params, const struct layer_source *source,
		const struct layer_sink *sink, struct layer_result *ret, struct error *err);

/* Walks without reading contents: what a progress bar needs to know beforehand. */
struct layer_estimate {
	uint64_t entries, raw_bytes; /* of the tar stream, to within its headers */
};
int layer_estimate(const struct layer_source *source, const _Atomic bool *cancel,
		   struct layer_estimate *ret, struct error *err);

/* The media type of a compression's blobs; static. */
const char *layer_media_type(enum layer_compression c);

#endif
