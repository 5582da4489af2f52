/* SPDX-License-Identifier: MIT */
/**
 * @file
 * morsel: container images as files, straight from a registry, fetched as they are read.
 *
 * A program makes one context (struct morsel: a cache directory, connections, credentials), opens
 * images with it, and lists, reads or mounts them:
 *
 *     struct morsel_options o;
 *     struct morsel_error err = {0};
 *     struct morsel *m;
 *     struct morsel_image *img;
 *     struct morsel_stat st;
 *     char buf[4096];
 *     size_t n;
 *
 *     morsel_options_init(&o);
 *     if (morsel_new(&o, &m, &err) < 0 ||
 *         morsel_image_open(m, "docker.io/library/debian:12", &img, &err) < 0 ||
 *         morsel_image_stat(img, "/etc/os-release", 0, &st, &err) < 0 ||
 *         morsel_image_read(img, st.ino, 0, buf, sizeof(buf), &n, &err) < 0)
 *             fprintf(stderr, "%s\n", err.text);
 *
 * Errors. Every function that can fail returns 0 when done and a negative errno when not, and
 * then has one line of text in *err (err may be NULL). The errno is the class of the error:
 *
 *     -EINVAL the caller's mistake (a bad reference, option or path)
 *     -ENOENT no such image, tag, path or mount      -EACCES not allowed to
 *     -ENETUNREACH, -ECONNREFUSED, -ECONNRESET, -EHOSTUNREACH, -ETIMEDOUT, -EPROTO  network
 *     -EBADMSG corrupt: a digest does not match      -EPERM, -E2BIG refused by policy or a limit
 *     -ENOTSUP a format that is not supported        -ECANCELED morsel_cancel() was called
 *
 * Outputs (ret_...) are written only on success. Strings and arrays that a function returns
 * through a pointer to a pointer belong to the caller, who frees them with free(3).
 *
 * Threads. A context and an image may be used by many threads at once. Create a context after
 * fork(2), not before: it starts threads. Nothing here changes signal handlers, except
 * morsel_mount() while it serves.
 *
 * Verification. Bytes are handed out only after a digest anchored in the image's manifest matched;
 * else the call fails with -EBADMSG or -EIO. There is no way to turn that off.
 *
 * Options structs start with their size, so that they can grow: always use the _init function.
 */
#ifndef MORSEL_H
#define MORSEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MORSEL_API __attribute__((visibility("default")))

/** What went wrong, on the caller's stack. Set code to 0 before the first call. */
struct morsel_error {
	int code;	/**< negative errno, or 0 */
	char text[768]; /**< one line: what, where, why, what to do */
};

/** The exit code of a program whose call failed with this negative errno; see morsel(1). */
MORSEL_API int morsel_exit_code(int code);
/** "0.1.0" */
MORSEL_API const char *morsel_version(void);

/* ---- the context ---------------------------------------------------------------------------- */

/** When a tag is looked up at the registry. References by digest never are. */
enum morsel_pull {
	MORSEL_PULL_NEWER, /**< ask; when the registry can't be reached use what the cache knows */
	MORSEL_PULL_MISSING, /**< ask only for tags that the cache does not know */
	MORSEL_PULL_ALWAYS,  /**< ask, and fail when the registry can't be reached */
	MORSEL_PULL_NEVER,   /**< only what the cache knows */
};

enum morsel_log_level {
	MORSEL_LOG_ERROR,
	MORSEL_LOG_WARN,
	MORSEL_LOG_INFO,
	MORSEL_LOG_DEBUG,
	MORSEL_LOG_TRACE,
};

/** How far a long call has come. Totals grow while more becomes known. */
struct morsel_progress {
	const char *phase;    /**< "resolve", "index", "merge" */
	uint64_t done_bytes;  /**< compressed bytes streamed so far */
	uint64_t total_bytes; /**< of all layers that have to be streamed; 0 = not known */
	uint32_t layers_done; /**< layers that are ready, of those that were not at the start */
	uint32_t layers_total;
};

struct morsel_options {
	size_t size;	       /**< of this struct; set by morsel_options_init() */
	const char *cache_dir; /**< NULL: $XDG_CACHE_HOME/morsel or ~/.cache/morsel; root:
				  /var/cache/morsel */
	uint64_t cache_bytes;  /**< bound of the cache; 0 = 10 GiB */
	const char *platform;  /**< "os/arch[/variant]"; NULL = this machine's */
	const char *authfile;  /**< NULL: the places podman and docker use */
	bool insecure;	       /**< plain HTTP */
	bool tls_noverify;     /**< TLS without verification of the peer */
	bool offline;	       /**< never dial */
	enum morsel_pull pull;
	uint64_t max_entries;	   /**< files an image may have; 0 = 1,000,000 */
	uint64_t read_deadline_ns; /**< after which a read fails with -EIO; 0 = 30 s */
	enum morsel_log_level log_level;
	/** Messages that have no caller to go to. Any thread; one line. NULL = silence. */
	void (*log)(void *userdata, enum morsel_log_level level, const char *line);
	/** From the thread that called, about ten times a second. NULL = not wanted. */
	void (*progress)(void *userdata, const struct morsel_progress *p);
	void *userdata; /**< for both */
};

MORSEL_API void morsel_options_init(struct morsel_options *o);

struct morsel;

/** Opens the cache (creating it) and prepares connections; dials nothing. o and its strings are
 * copied. */
MORSEL_API int morsel_new(const struct morsel_options *o, struct morsel **ret,
			  struct morsel_error *err);
/** Images must be closed before. Accepts NULL. */
MORSEL_API void morsel_free(struct morsel *m);
/** Makes running and later calls of this context fail with -ECANCELED soon. Async-signal-safe. */
MORSEL_API void morsel_cancel(struct morsel *m);

/* ---- images --------------------------------------------------------------------------------- */

struct morsel_image;

/**
 * Opens an image: resolves the reference, indexes the layers that this cache has not seen (a small
 * read for eStargz, one verified pass over a plain layer), merges them.
 *
 * @param ref  "[docker://][host[:port]/]path[:tag][@digest]" or "oci:DIR[:NAME]"
 */
MORSEL_API int morsel_image_open(struct morsel *m, const char *ref, struct morsel_image **ret,
				 struct morsel_error *err);
/** Accepts NULL. */
MORSEL_API void morsel_image_close(struct morsel_image *img);
/** "sha256:...": of the image's manifest. Borrowed. */
MORSEL_API const char *morsel_image_digest(const struct morsel_image *img);

struct morsel_stat {
	uint64_t ino;  /**< for morsel_image_read(); the inode number that a mount shows */
	uint64_t size; /**< bytes */
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint32_t mode; /**< st_mode with the type bits */
	uint32_t uid, gid;
	uint32_t nlink;
	uint32_t rdev_major, rdev_minor;
};

#define MORSEL_NOFOLLOW 1u /**< do not follow a symlink in the last component */

/** Paths have or lack a leading '/'. Symlinks are followed inside the image, at most 40. */
MORSEL_API int morsel_image_stat(struct morsel_image *img, const char *path, unsigned flags,
				 struct morsel_stat *ret, struct morsel_error *err);
/** Calls fn for each entry of a directory, without "." and "..", in byte order; a value other than
 * 0 ends the listing and is returned. name is valid during the call. */
MORSEL_API int morsel_image_list(struct morsel_image *img, const char *path,
				 int (*fn)(void *userdata, const char *name,
					   const struct morsel_stat *st),
				 void *userdata, struct morsel_error *err);
/** Text of the symlink, terminated. buf of 4096 bytes always suffices; -ERANGE when n does not. */
MORSEL_API int morsel_image_readlink(struct morsel_image *img, uint64_t ino, char *buf, size_t n,
				     struct morsel_error *err);
/** Reads up to n bytes at off; fewer only at the end of the file (*ret_n = 0: at or past it).
 * Blocks while they are fetched. */
MORSEL_API int morsel_image_read(struct morsel_image *img, uint64_t ino, uint64_t off, void *buf,
				 size_t n, size_t *ret_n, struct morsel_error *err);

/** What the image is, as JSON (see morsel-inspect(1)), without indexing or reading contents. */
MORSEL_API int morsel_inspect(struct morsel *m, const char *ref, char **ret_json,
			      struct morsel_error *err);

/* ---- mounts --------------------------------------------------------------------------------- */

/** What is fetched before it is read, while nobody reads; one or more of these. */
enum morsel_prefetch {
	MORSEL_PREFETCH_NONE = 1,
	MORSEL_PREFETCH_LANDMARK = 2, /**< what the image's builder says is used at once */
	MORSEL_PREFETCH_ORDER = 4,    /**< what earlier mounts of the image read, in their order */
	MORSEL_PREFETCH_ALL = 8,      /**< everything, after that */
};

struct morsel_mount_options {
	size_t size;
	bool allow_other; /**< other users may look; brings default_permissions */
	bool suid, dev;	  /**< root only */
	unsigned threads; /**< 0 = default */
	/** Called once, when the mount answers. */
	void (*ready)(void *userdata);
	void *userdata;
	unsigned prefetch; /**< of enum morsel_prefetch; 0 = LANDMARK and ORDER */
	/** A file with one path a line, leading '/' or not, fetched first; what is not a file of
	 * the image is left out. NULL = none. Read when the mount is made. */
	const char *prefetch_list;
	uint64_t prefetch_bytes_per_s; /**< at most; 0 = what the link gives while nobody reads */
};

MORSEL_API void morsel_mount_options_init(struct morsel_mount_options *o);
/** Mounts and serves, in the calling thread, until the directory is unmounted, SIGINT, SIGTERM or
 * SIGHUP comes, or morsel_cancel() is called. o may be NULL. */
MORSEL_API int morsel_mount(struct morsel_image *img, const char *dir,
			    const struct morsel_mount_options *o, struct morsel_error *err);
/** Unmounts and waits until the server has ended. lazy: even when in use. */
MORSEL_API int morsel_umount(const char *dir, bool lazy, struct morsel_error *err);
/** What a mount has done so far, as JSON (see morsel-stat(1)). Only for its owner, and root. */
MORSEL_API int morsel_mount_stat(const char *dir, char **ret_json, struct morsel_error *err);

/* ---- the cache ------------------------------------------------------------------------------ */

/** Directory, limit, use by kind; as JSON. */
MORSEL_API int morsel_cache_info(struct morsel *m, char **ret_json, struct morsel_error *err);
/** Every item; as JSON. */
MORSEL_API int morsel_cache_list(struct morsel *m, char **ret_json, struct morsel_error *err);
/** Re-hashes everything and removes what is damaged; as JSON, whose "damaged" counts the items that
 * were. What was removed is fetched again when it is needed. */
MORSEL_API int morsel_cache_verify(struct morsel *m, char **ret_json, struct morsel_error *err);
/** Evicts least recently used contents until at most target_bytes are used. */
MORSEL_API int morsel_cache_prune(struct morsel *m, uint64_t target_bytes, uint64_t *ret_freed,
				  struct morsel_error *err);
/** Removes everything that no process has open. */
MORSEL_API int morsel_cache_clear(struct morsel *m, uint64_t *ret_freed, struct morsel_error *err);

#ifdef __cplusplus
}
#endif

#endif
