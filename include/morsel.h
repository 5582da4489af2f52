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
 *     -EBADMSG corrupt: a digest does not match, or the format is wrong
 *     -EUCLEAN a configuration or credential file that makes no sense
 *     -EPERM, -E2BIG refused by policy or a limit
 *     -ENOTSUP a format that is not supported        -ECANCELED morsel_cancel() was called
 *
 * Outputs (ret_...) are written only on success. Strings and arrays that a function returns
 * through a pointer to a pointer belong to the caller, who frees them with free(3).
 *
 * Threads. A context and an image may be used by many threads at once; only morsel_free() and
 * morsel_image_close() want that nobody else does any more. Create a context after fork(2), not
 * before: it starts threads. Nothing here installs signal handlers; morsel_mount() blocks three
 * signals while it serves (see there), and who may meet a limit on the size of files (setrlimit(2),
 * RLIMIT_FSIZE) ignores SIGXFSZ. Callbacks may call back into the library, except where they
 * say otherwise; they must not longjmp(3), throw or call pthread_exit(3).
 *
 * Processes. Layers are parsed by the program morsel-indexer, a child that is started and reaped
 * inside a call; a host that waits for any child (waitpid(-1)) or ignores SIGCHLD would take its
 * exit status away. It is looked for beside the library, then where it is installed relative to
 * the library, then in the libexec directory of the build; never in $PATH.
 *
 * Cancelling. morsel_cancel() ends what a context does, for good: everything that runs or is called
 * later fails with -ECANCELED within about 0.2 s. Opening alone can be given up from its progress
 * callback. To cancel one piece of work and not others give it a context of its own: contexts on
 * one cache directory, also in other processes, share what is kept and what is being fetched.
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
	/** "resolve", "index", "merge"; "push": reading and sending directories, or sending blobs;
	 * "extract": writing files to disk; "copy": blobs to a layout; "check": what
	 * is in the cache */
	const char *phase;
	/** index: compressed bytes streamed so far; push of directories: bytes of files read, of an
	 * image: bytes of blobs sent; extract: bytes of files written; check: bytes on disk */
	uint64_t done_bytes;
	uint64_t total_bytes; /**< how many there will be; 0 = not known */
	/** Layers that are ready, of those that were not at the start; push, copy: blobs; extract:
	 * files; check: items
	 */
	uint32_t layers_done;
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
	/** From the thread that made the call that lasts: once at the start of each phase, and
	 * about ten times a second while bytes move. p is valid during the call. A value other
	 * than 0 gives this call up: it fails with -ECANCELED, the context goes on.
	 * NULL = not wanted. */
	int (*progress)(void *userdata, const struct morsel_progress *p);
	void *userdata; /**< for both; borrowed */
	/** Manifest digest that every reference is taken to mean, whatever its tag or index names:
	 * for who goes on with an image that was opened before. NULL = what the reference says. */
	const char *digest;
};

/** Sets the size and every default. */
MORSEL_API void morsel_options_init(struct morsel_options *o);

/** A context: a cache directory, connections, credentials, worker threads. */
struct morsel;

/**
 * Opens the cache (creating it) and prepares connections; dials nothing.
 *
 * @param o    from morsel_options_init(); it and its strings are copied
 * @param ret  the context, for morsel_free()
 * @param err  what went wrong; may be NULL, here and everywhere
 * @return 0; -EINVAL for an option's value; -EACCES and other errnos for the cache directory
 */
MORSEL_API int morsel_new(const struct morsel_options *o, struct morsel **ret,
			  struct morsel_error *err);
/** Ends its threads and connections. Its images must be closed and its mounts ended before.
 * Accepts NULL. */
MORSEL_API void morsel_free(struct morsel *m);
/** Makes running and later calls of this context fail with -ECANCELED soon; morsel_mount() unmounts
 * first. There is no way back. Any thread; async-signal-safe. */
MORSEL_API void morsel_cancel(struct morsel *m);
/** Whether morsel_cancel() was called: for loops of one's own between calls. Async-signal-safe. */
MORSEL_API bool morsel_cancelled(const struct morsel *m);

/** What went between a context and registries so far. */
struct morsel_traffic {
	uint64_t requests;	 /**< HTTP requests, with retries and redirects */
	uint64_t received_bytes; /**< of their bodies */
	uint64_t sent_bytes;
};
/** Any thread, any time; a request counts when it has ended. */
MORSEL_API void morsel_traffic(const struct morsel *m, struct morsel_traffic *ret);

/* ---- images --------------------------------------------------------------------------------- */

/** An opened image: its merged index in memory, and a reader of contents. Keeps a tag's image when
 * the tag moves on. */
struct morsel_image;

/**
 * Opens an image: resolves the reference, indexes the layers that this cache has not seen (a small
 * read for eStargz and zstd:chunked, one verified pass over a plain layer), merges them.
 *
 * Blocks while that lasts; the progress callback is called from here.
 *
 * @param m    must outlive the image
 * @param ref  "[docker://][host[:port]/]path[:tag][@digest]", "oci:DIR[:NAME]",
 *             "oci-archive:FILE[:NAME]" or "docker-archive:FILE[:NAME]"; see morsel(1)
 * @param ret  the image, for morsel_image_close()
 * @return 0; -EINVAL for a bad reference; -ENOENT, -EACCES and network errors from the registry;
 *         -EBADMSG, -EPERM, -E2BIG, -ENOTSUP for what it holds; -ECANCELED
 */
MORSEL_API int morsel_image_open(struct morsel *m, const char *ref, struct morsel_image **ret,
				 struct morsel_error *err);
/** No read, listing or mount of it may run. Accepts NULL. */
MORSEL_API void morsel_image_close(struct morsel_image *img);
/** "sha256:...": of the image's manifest. Borrowed: valid until the image is closed. */
MORSEL_API const char *morsel_image_digest(const struct morsel_image *img);

/** What an image says of a file. Owners are numbers of the image, not mapped to anything. */
struct morsel_stat {
	uint64_t ino;	   /**< for morsel_image_read(); the inode number that a mount shows */
	uint64_t size;	   /**< bytes */
	int64_t mtime_s;   /**< seconds since 1970, may be negative */
	uint32_t mtime_ns; /**< 0 .. 999,999,999 */
	uint32_t mode;	   /**< st_mode with the type bits */
	uint32_t uid, gid;
	uint32_t nlink;
	uint32_t rdev_major, rdev_minor;
};

#define MORSEL_NOFOLLOW 1u /**< do not follow a symlink in the last component */

/**
 * Looks a path up. Does not fetch: the index is in memory.
 *
 * @param path   bytes, with or without a leading '/'; "" is the root. Symlinks are followed inside
 *               the image, at most 40
 * @param flags  0 or MORSEL_NOFOLLOW
 * @return 0; -EINVAL: other flags; -ENOENT, also when a component is not a directory; -EPERM for
 * too many symlinks; -EBADMSG
 */
MORSEL_API int morsel_image_stat(struct morsel_image *img, const char *path, unsigned flags,
				 struct morsel_stat *ret, struct morsel_error *err);
/**
 * Lists a directory. Does not fetch.
 *
 * @param path      as for morsel_image_stat()
 * @param fn        called from this thread for each entry, without "." and "..", in byte order;
 * name (at most 255 bytes, of any encoding) and st are valid during the call, st does not follow
 * symlinks. A value other than 0 ends the listing and is returned: choose a positive one, as
 * negative ones are errors and fill in err
 * @param userdata  for fn
 * @return 0; what fn returned; -ENOENT, -ENOTDIR, -EPERM, -EBADMSG
 */
MORSEL_API int morsel_image_list(struct morsel_image *img, const char *path,
				 int (*fn)(void *userdata, const char *name,
					   const struct morsel_stat *st),
				 void *userdata, struct morsel_error *err);
/** Text of the symlink with this inode number, terminated with a zero byte. buf has n bytes; 4096
 * always suffice. 0; -EINVAL: not a symlink of this image; -ERANGE: n is too small; -EBADMSG. */
MORSEL_API int morsel_image_readlink(struct morsel_image *img, uint64_t ino, char *buf, size_t n,
				     struct morsel_error *err);
/**
 * Reads contents of a regular file. Blocks while they are fetched, at most the context's
 * read_deadline_ns; many threads may read at once, and ask once for what they share.
 *
 * @param ino    from struct morsel_stat of this image
 * @param off    in bytes
 * @param buf    of n bytes; on failure its contents are undefined
 * @param ret_n  bytes read: n, or fewer at the end of the file; 0 at or past it
 * @return 0; -EISDIR, -EINVAL: not a regular file, or none of this image; -EIO, -EBADMSG and
 * network errors: they can't be had, or not verified; -ECANCELED
 */
MORSEL_API int morsel_image_read(struct morsel_image *img, uint64_t ino, uint64_t off, void *buf,
				 size_t n, size_t *ret_n, struct morsel_error *err);

/**
 * Shows the extended attributes of a file. Does not fetch.
 *
 * @param ino       from struct morsel_stat of this image
 * @param fn        called from this thread for each; name ("user.x") and value (n bytes, at most
 *                  65535) are valid during the call. A value other than 0 ends that and is
 * returned: choose a positive one. security.capability is among them, trusted.overlay.* not
 * @param userdata  for fn
 * @return 0; what fn returned; -EINVAL: not of this image; -EBADMSG; -E2BIG: names of more than 64
 * KiB
 */
MORSEL_API int morsel_image_xattrs(struct morsel_image *img, uint64_t ino,
				   int (*fn)(void *userdata, const char *name, const void *value,
					     size_t n),
				   void *userdata, struct morsel_error *err);

/** What the image is, without indexing or reading contents. *ret_json: one JSON object, see
 * morsel-inspect(1), for free(3). Errors as for morsel_image_open(). */
MORSEL_API int morsel_inspect(struct morsel *m, const char *ref, char **ret_json,
			      struct morsel_error *err);

/**
 * Lists the tags of a repository, or the names of the images in an OCI layout or an archive, in the
 * order in which the registry (the directory, the file) has them. Asks page by page; the cache has
 * no part in it. A next page on another host is not followed.
 *
 * @param repo      a reference; a tag or digest in it does not matter
 * @param ret_tags  on success a NULL-terminated array; each string and the array are for free(3)
 * @return 0; -EINVAL, -ENOENT (no such repository), -EACCES and network errors; -EPERM: the list
 * goes on at another host; -EPROTO: it never ends; -E2BIG: more than 1000 pages; -ECANCELED
 */
MORSEL_API int morsel_tags(struct morsel *m, const char *repo, char ***ret_tags,
			   struct morsel_error *err);

/* ---- pulling -------------------------------------------------------------------------------- */

struct morsel_pull_options {
	size_t size; /**< of this struct; set by morsel_pull_options_init() */
	/** NULL-terminated patterns as .dockerignore has them, matched with paths of the image
	 * (no leading '/'): only what matches, or is below a directory that does, is made, with the
	 * directories on the way there. NULL or empty = everything. Borrowed during the call. */
	const char *const *include;
	const char *const *exclude; /**< the same; what matches is left out whatever include says */
	/** This directory of the image becomes DIR; nothing outside of it is made. Symlinks are
	 * followed inside the image. NULL = the root. */
	const char *strip_prefix;
	bool overwrite; /**< merge into a directory that holds something */
};

/** Sets the size and every default. */
MORSEL_API void morsel_pull_options_init(struct morsel_pull_options *o);
/**
 * Writes an image's files to a directory: all that a mount shows, with owners, modes, times to the
 * nanosecond, hardlinks, devices, extended attributes and holes. Layers that have an index of their
 * own are fetched only as far as they are wanted.
 *
 * The directory appears whole or not at all. It must not exist, or be empty; with overwrite what
 * it holds stays, but for names that the image has too: files are replaced, directories get the
 * image's attributes, and nothing there is followed. A directory that holds something where the
 * image has a file is refused before anything is done. Owners, devices and extended attributes
 * that this user can't make are left out and reported. What processes of this user that were killed
 * have left beside dir is removed.
 *
 * Blocks; the progress callback of the context is called from here.
 *
 * @param ref       as for morsel_image_open()
 * @param dir       the directory; the one it is in must exist
 * @param o         from morsel_pull_options_init(), or NULL
 * @param ret_json  one JSON object, see morsel-pull(1), for free(3); NULL = not wanted
 * @return 0; -EPERM: dir holds something; -ENOENT: nothing matches, or a directory is missing;
 *         what morsel_image_open() returns; -EBADMSG, -ECANCELED, -ENOSPC and other errnos
 */
MORSEL_API int morsel_pull(struct morsel *m, const char *ref, const char *dir,
			   const struct morsel_pull_options *o, char **ret_json,
			   struct morsel_error *err);

/**
 * Copies files and trees of an image as cp -a does: into dest when that is a directory, else the
 * only path becomes dest. With all that morsel_pull() writes; what dest holds stays, but for files
 * that the image has too, which are replaced, and directories, which get the image's attributes. A
 * symlink there is replaced or refused, never followed (dest itself may be one).
 *
 * Everything is made and verified in a directory of its own before the first name changes.
 *
 * @param paths     n of them, n >= 1, as for morsel_image_stat(): symlinks are followed. Each
 * becomes its last component in dest; the root, and what ends in "/.", stands for what it holds,
 * and must be the only path
 * @param dest      a directory, or a new name in one
 * @param ret_json  as for morsel_pull()
 * @return 0; -EINVAL: dest is not the directory that several paths need, or two of them have one
 *         name; -ENOENT; -EISDIR, -ENOTDIR: a directory is where a file must be, or the other way
 *         round; -EXDEV: another filesystem is mounted where a directory must be; what
 *         morsel_image_open() returns; -EBADMSG, -ECANCELED, -ENOSPC and other errnos
 */
MORSEL_API int morsel_copy(struct morsel *m, const char *ref, const char *const *paths, size_t n,
			   const char *dest, char **ret_json, struct morsel_error *err);

#define MORSEL_ALL_PLATFORMS 1u /**< of an index: all of it, not one platform's image */

/**
 * Copies an image as it is into an OCI layout directory: manifest, config and layers byte for byte,
 * each verified. Blobs that the layout has are not fetched; the cache has no part in it.
 *
 * @param layout    "DIR[:NAME]"; DIR is made when it is missing (its parent is not), a layout there
 *                  is added to. Without a name it is the tag of ref; an image of that name is
 *                  replaced
 * @param flags     0 or MORSEL_ALL_PLATFORMS
 * @param ret_json  one JSON object, see morsel-pull(1), for free(3); NULL = not wanted
 * @return 0; -EEXIST: DIR holds something else; -ENOTSUP: no such platform; -EBADMSG, -ECANCELED,
 *         network errors and errnos of DIR. A layout that this call began is removed then
 */
MORSEL_API int morsel_pull_layout(struct morsel *m, const char *ref, const char *layout,
				  unsigned flags, char **ret_json, struct morsel_error *err);

/* ---- mounts --------------------------------------------------------------------------------- */

/** What is fetched before it is read, while nobody reads; one or more of these. */
enum morsel_prefetch {
	MORSEL_PREFETCH_NONE = 1,
	MORSEL_PREFETCH_LANDMARK = 2, /**< what the image's builder says is used at once */
	MORSEL_PREFETCH_ORDER = 4,    /**< what earlier mounts of the image read, in their order */
	MORSEL_PREFETCH_ALL = 8,      /**< everything, after that */
};

/** Who answers for a mount. */
enum morsel_backend {
	MORSEL_BACKEND_FUSE,   /**< this library, by FUSE */
	MORSEL_BACKEND_KERNEL, /**< the kernel's EROFS, which reads layers that are whole by itself,
				  and asks this library for the contents of others; root only.
				  Other users may look, as the image's modes say */
	MORSEL_BACKEND_AUTO,   /**< the kernel where it can, and where allow_other is set; else FUSE
				*/
};

struct morsel_mount_options {
	size_t size;	  /**< of this struct; set by morsel_mount_options_init() */
	bool allow_other; /**< other users may look; brings default_permissions */
	bool suid, dev;	  /**< root only */
	unsigned threads; /**< 0 = default */
	/** Called once, when the mount answers, from a thread that serves it: must not touch the
	 * mount's files, nor unmount it, and should return soon. */
	void (*ready)(void *userdata);
	void *userdata;
	unsigned prefetch; /**< of enum morsel_prefetch; 0 = LANDMARK and ORDER */
	/** A file with one path a line, leading '/' or not, fetched first; what is not a file of
	 * the image is left out. NULL = none. Read when the mount is made. */
	const char *prefetch_list;
	uint64_t prefetch_bytes_per_s; /**< at most; 0 = what the link gives while nobody reads */
	bool noexec;		       /**< no program can be run from it */
	bool no_signals;	       /**< leave SIGINT, SIGTERM and SIGHUP alone */
	struct morsel_handover *handover; /**< of morsel_supervise(), or NULL; borrowed */
	enum morsel_backend backend;
};

MORSEL_API void morsel_mount_options_init(struct morsel_mount_options *o);
/**
 * Mounts and serves, in the calling thread and some of its own, until the directory is unmounted
 * (by anybody, also by morsel_umount() in another thread), morsel_cancel() is called, or, without
 * no_signals, SIGINT, SIGTERM or SIGHUP comes. These three are blocked in the calling thread
 * meanwhile and restored at the end; in a program with other threads block them there too, or set
 * no_signals. When it returns, nothing is mounted any more; what was in use has been detached.
 *
 * The threads of a program that serves a mount must not wait for each other through it.
 *
 * @param img  must stay open meanwhile; it can be read, and mounted elsewhere, at the same time
 * @param dir  an existing directory
 * @param o    from morsel_mount_options_init(), or NULL
 * @return 0 when it was unmounted or a signal came; -ECANCELED; -EBUSY: an image is mounted there;
 *         -ENOTDIR, -EACCES, -EPERM, -ENODEV: it can't be mounted on; -ENOTSUP: not by this backend
 */
MORSEL_API int morsel_mount(struct morsel_image *img, const char *dir,
			    const struct morsel_mount_options *o, struct morsel_error *err);
/** What a supervisor holds for a server, and what the server before left to it. */
struct morsel_handover;
/** Digest of the image that is mounted, for morsel_options.digest: NULL in a server that mounts
 * it, not NULL in one that takes it over. Borrowed. */
MORSEL_API const char *morsel_handover_digest(const struct morsel_handover *h);

struct morsel_supervise_options {
	size_t size; /**< of this struct; set by morsel_supervise_options_init() */
	/** Called in a child process: opens the image and calls morsel_mount() with h. What it
	 * returns is the child's exit code. */
	int (*serve)(void *userdata, struct morsel_handover *h);
	/** Called in this process once, when the mount answers. NULL = not wanted. */
	void (*ready)(void *userdata);
	/** As in struct morsel_options, for what the supervisor has to say. NULL = silence. */
	void (*log)(void *userdata, enum morsel_log_level level, const char *line);
	void *userdata; /**< for all three; borrowed */
};

MORSEL_API void morsel_supervise_options_init(struct morsel_supervise_options *o);
/**
 * Has a mount served by a child process, and by another when that is killed: whoever reads only
 * notices a pause (Linux >= 6.9; older kernels: the mount is taken away). Returns when a server has
 * ended by itself, after SIGINT, SIGTERM or SIGHUP, which are passed on, or when servers die again
 * and again; nothing is mounted then. When the caller is killed, the server unmounts and ends.
 *
 * For programs, not for hosts of threads: it forks, and must be called while the process has one
 * thread, hence before any context is made. The three signals and SIGCHLD are blocked meanwhile.
 *
 * @param o              from morsel_supervise_options_init(), with serve set
 * @param ret_exit_code  of the last server
 * @return 0; -ECHILD: it was killed and there will be no other; -ENOTSUP: this kernel can't go on
 *         with another; -EAGAIN, -ENOMEM: no process could be made
 */
MORSEL_API int morsel_supervise(const struct morsel_supervise_options *o, int *ret_exit_code,
				struct morsel_error *err);
/**
 * Unmounts an image that this or another process mounted, and waits, at most 15 s, until its server
 * has ended (when this process serves it: until morsel_mount() is about to return).
 *
 * @param lazy  detach it also when it is in use, and do not wait
 * @return 0; -ENOENT: no image of ours is mounted there; -EACCES: another
 *         user's; -EBUSY; -EPERM; -ETIMEDOUT
 */
MORSEL_API int morsel_umount(const char *dir, bool lazy, struct morsel_error *err);
/** What a mount has done so far. *ret_json: one JSON object, see morsel-stat(1), for free(3). Asks
 * the server, never the directory. 0; -ENOENT: no mount of ours; -EACCES: another user's;
 * -ENOTCONN: its server is dead; -ETIMEDOUT: it does not answer for 5 s. */
MORSEL_API int morsel_mount_stat(const char *dir, char **ret_json, struct morsel_error *err);

/* ---- pushing -------------------------------------------------------------------------------- */

/** One directory that becomes one layer. */
struct morsel_push_layer {
	const char *dir;
	const char *prefix; /**< where in the image its contents are: "opt/app"; NULL or "": at the
			       root */
};

/** A small file that is made up: it stands in no directory. */
struct morsel_push_file {
	const char *path; /**< in the image, at its root: "NAME" */
	const void *data; /**< of n bytes */
	size_t n;
};

/** How an image is made. Lists end with NULL; NULL = nothing of the kind, or what a base says. */
struct morsel_push_options {
	size_t size; /**< of this struct; set by morsel_push_options_init() */
	/** "estargz" (NULL), "zstd:chunked", "gzip", "zstd", "none" */
	const char *compression;
	int level;	     /**< 0 = the compression's default */
	uint32_t chunk_size; /**< bytes that can be fetched alone; 0 = 1 MiB */
	const char *base;    /**< a reference: the image below the layers */
	/** A JSON array of strings, or words separated by blanks, quoted as for a shell. An
	 * entrypoint without a cmd drops the base's cmd. */
	const char *entrypoint, *cmd;
	const char *const *env;		/**< "NAME=VALUE" */
	const char *const *labels;	/**< "KEY=VALUE" */
	const char *const *annotations; /**< "KEY=VALUE", of the manifest */
	const char *workdir, *user, *author;
	const char *artifact_type;   /**< an OCI artifact of this media type instead of an image */
	const char *owner;	     /**< "UID[:GID]" of all files; NULL = the files' own */
	const char *const *excludes; /**< patterns of .dockerignore's grammar */
	/** NULL: ".dockerignore" in each directory, where there is one; "": none */
	const char *ignore_file;
	/** Files with a path a line, or access profiles: what comes first and is prefetched */
	const char *const *prioritize;
	bool allow_changed; /**< a file that changes while it is read is no error */
	bool has_epoch;	    /**< SOURCE_DATE_EPOCH: newer times become this, as does "created" */
	int64_t epoch_s;
	unsigned jobs;	  /**< blobs on their way at once; 0 = 4 */
	unsigned threads; /**< that compress; 0 = one a CPU */
	/** Put into the last layer, in place of a file of this name there, mode 0644, of the time
	 * epoch_s; NULL = none. */
	const struct morsel_push_file *extra;
};

MORSEL_API void morsel_push_options_init(struct morsel_push_options *o);
/**
 * Makes an image of directories and sends it to a registry, or to an OCI layout directory. Layers
 * are compressed while they are sent; the tag moves last, when all blobs are confirmed: it has
 * moved when, and only when, 0 is returned (but for -EBUSY: it names what somebody else pushed at
 * the same time). The same trees and options give the same digest everywhere.
 *
 * The context's platform is the image's. Blocks; the progress callback is called from here.
 *
 * @param layers    n of them, the lowest first
 * @param ref       where to: "[docker://][host[:port]/]path[:tag]" or "oci:DIR[:NAME]"
 * @param o         from morsel_push_options_init(), or NULL
 * @param ret_json  one JSON object, see morsel-push(1), for free(3)
 * @return 0; -EINVAL; -ENOENT, -EACCES and others for what can't be read; -ESTALE: a file changed
 *         while it was read; -EACCES and network errors from the registry; -EPERM: it leads
 *         elsewhere; -EPROTO: it does not have what it said it stored; -ECANCELED
 */
MORSEL_API int morsel_push(struct morsel *m, const struct morsel_push_layer *layers, size_t n,
			   const char *ref, const struct morsel_push_options *o, char **ret_json,
			   struct morsel_error *err);
/**
 * Copies an image, or an index with all its images, unchanged: same bytes, same digest.
 *
 * @param from  any reference, above all "oci:DIR[:NAME]"
 * @param ref   as for morsel_push()
 * @param o     jobs counts, the rest does not; or NULL
 * @return as morsel_push(); -EBADMSG: a blob is corrupt where it comes from
 */
MORSEL_API int morsel_push_image(struct morsel *m, const char *from, const char *ref,
				 const struct morsel_push_options *o, char **ret_json,
				 struct morsel_error *err);

/* ---- profiles ------------------------------------------------------------------------------- */

/** What can be recorded; several at once. */
enum morsel_profile_kind {
	MORSEL_PROFILE_CPU = 1,	   /**< where CPU time went: "cpu" ".pprof" */
	MORSEL_PROFILE_FGPROF = 2, /**< where time went, waiting included: "fgprof" ".pprof" */
	MORSEL_PROFILE_HEAP = 4,   /**< memory in use: "heap" ".pprof" */
	MORSEL_PROFILE_ALLOCS = 8, /**< memory allocated: "allocs" ".pprof" */
	MORSEL_PROFILE_TRACE = 16, /**< every request and its phases: "trace" ".out" or ".json" */
	/** What files cost whom: "access" ".pprof"; each read: "access" ".jsonl"; each fetch:
	 * "fetches" ".jsonl". */
	MORSEL_PROFILE_ACCESS = 32,
};

struct morsel_profile_options {
	size_t size;	    /**< of this struct; set by morsel_profile_options_init() */
	unsigned kinds;	    /**< of enum morsel_profile_kind */
	unsigned cpu_hz;    /**< samples a second of CPU time, at most 1000; 0 = 100 */
	bool chrome_trace;  /**< the trace in Chrome's format; else Go's */
	bool gperftools;    /**< CPU samples by libprofiler, which must be installed */
	size_t trace_bytes; /**< memory for events, under 4 GiB; 0 = 256 MiB. What is more is lost,
			       and counted */
	/** Takes a finished file of n bytes; its kind and suffix are those above, valid during the
	 * call, from the thread that called morsel_profile_stop() or morsel_mount_profile(). A
	 * value other than 0 ends that; choose a negative errno. */
	int (*file)(void *userdata, const char *kind, const char *suffix, const void *data,
		    size_t n);
	/** morsel_mount_profile() only: asked some times a second, true = it has been long enough.
	 * NULL: it never has. */
	bool (*stop)(void *userdata);
	void *userdata; /**< for both; borrowed */
};

MORSEL_API void morsel_profile_options_init(struct morsel_profile_options *o);

/** A recording of this process. */
struct morsel_profile;
/**
 * Begins to record: all threads of this process, and every mount and request it makes.
 *
 * @param o    from morsel_profile_options_init(), with kinds and file set; copied
 * @param ret  the recording, for morsel_profile_stop()
 * @return 0; -EBUSY: there is one already; -ENOTSUP: not in this build; -EINVAL; -ENOMEM
 */
MORSEL_API int morsel_profile_start(const struct morsel_profile_options *o,
				    struct morsel_profile **ret, struct morsel_error *err);
/** Has the files and layers of this image in it, by name; what they cost is counted from now on, so
 * call it right after opening the image, which may be closed before morsel_profile_stop(). 0;
 * -ENOMEM; -E2BIG: 4096 images. */
MORSEL_API int morsel_profile_image(struct morsel_profile *p, struct morsel_image *img,
				    struct morsel_error *err);
/** Ends it, gives its files to the file callback, and frees it, whatever is returned. 0; what the
 * callback returned; -ENOMEM. */
MORSEL_API int morsel_profile_stop(struct morsel_profile *p, struct morsel_error *err);
/**
 * The same for the server of a mount: blocks while that records.
 *
 * @param dir          where it is mounted; only its owner and root may do this
 * @param o            files are handed out by this process
 * @param duration_ns  how long, under an hour
 * @return 0; what the callback returned; -EBUSY: its server is recording already; -ENOTSUP;
 * -ENOENT, -EACCES, -ENOTCONN, -ETIMEDOUT as morsel_mount_stat()
 */
MORSEL_API int morsel_mount_profile(const char *dir, const struct morsel_profile_options *o,
				    uint64_t duration_ns, struct morsel_error *err);

/**
 * Sends a profile to a Pyroscope server (POST /ingest). Needs no context.
 *
 * @param url   "http[s]://[USER:PASSWORD@]HOST[:PORT][/PATH]"; the credentials go nowhere else, and
 *              into no text
 * @param name  what it is filed under: "morsel.cpu{mode=pull}"
 * @param file  a profile, compressed or not; NULL: the URL is only checked, nothing is sent
 * @param from_s, until_s  when it was recorded, in seconds since 1970
 * @return 0; -EINVAL: no such URL; -EACCES, -ENOENT, -EPROTO: what the server said; network errors;
 *         errnos of the file
 */
MORSEL_API int morsel_profile_send(const char *url, const char *name, const char *file,
				   int64_t from_s, int64_t until_s, struct morsel_error *err);

/**
 * Reads again what an access trace says was read: each process of the trace as a thread that reads
 * in its order, as fast as it can, and begins when the others have read what they had when it began
 * then. Needs no context. Must not run in the process that serves dir.
 *
 * @param file  a trace, see morsel-trace(5)
 * @param dir   what was the root of the image then; nothing outside of it is read, whatever the
 *              trace says. NULL: the trace is only checked
 * @return 0; -EINVAL: no reads; -EBADMSG, -E2BIG: no trace; errnos of the files: all others were
 *         read all the same
 */
MORSEL_API int morsel_replay(const char *file, const char *dir, struct morsel_error *err);

enum morsel_report {
	MORSEL_REPORT_PAGE, /**< HTML that needs nothing else, for a browser */
	MORSEL_REPORT_TEXT, /**< tables, for a terminal */
};

/** Says, in one line, that a file was left out. */
typedef void morsel_report_note(void *userdata, const char *line);

/**
 * Says what access traces and profiles hold: who waited for which files, where the time went, what
 * was fetched; two traces stand beside each other. Needs no context.
 *
 * @param files    n paths, n >= 1: traces (JSON lines, see morsel-trace(5)) and profiles
 * (profile.proto, compressed or not), told apart by what is in them. Beside "access_X.jsonl"
 * "fetches_X.jsonl" is read too, if it is there
 * @param note     called for each file that is left out, because it is a trace for "go tool trace"
 * or Perfetto; or NULL
 * @param ret      the report, with a zero byte behind it that *ret_len does not count; for free(3)
 * @return 0; -EINVAL: no files; -ENOENT and other errnos of the files; -ENOTSUP: all were left out;
 * -EBADMSG: one is neither, or damaged; -E2BIG
 */
MORSEL_API int morsel_profile_report(const char *const *files, size_t n, enum morsel_report kind,
				     morsel_report_note *note, void *userdata, char **ret,
				     size_t *ret_len, struct morsel_error *err);

/* ---- the cache ------------------------------------------------------------------------------ */

/* All of these are safe while other processes use the cache. JSON is for free(3). */

/** Directory, limit, use by kind; as one JSON object. */
MORSEL_API int morsel_cache_info(struct morsel *m, char **ret_json, struct morsel_error *err);
/** Every item; as JSON. */
MORSEL_API int morsel_cache_list(struct morsel *m, char **ret_json, struct morsel_error *err);
/** Re-hashes everything and removes what is damaged; as JSON, whose "damaged" counts the items that
 * were. What was removed is fetched again when it is needed. Blocks; the progress callback is
 * called from here. -ECANCELED; else as the others. */
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
