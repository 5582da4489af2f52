/* SPDX-License-Identifier: MIT */
/* The cache's root: found or made, judged, cleaned of what dead processes left. */
#include "cache/cache_impl.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/userns.h"

#define VERSION_BYTES_MAX 64
#define SPOOL_SHARE 2 /* of the cache's bound: one blob's */
#define SPOOL_MEMORY_MAX (UINT64_C(64) << 20)
#define TAG_TEXT                                                                                   \
	"Signature: 8a477f597d28d172789f06886806bc55\n"                                            \
	"# This directory is a cache of morsel and may be removed at any time.\n"

const char *const cache_subdir_names[SUB_COUNT] = {
	[SUB_BLOBS_SHA256] = "blobs/sha256",
	[SUB_BLOBS_SHA512] = "blobs/sha512",
	[SUB_LAYERS] = "layers",
	[SUB_IMAGES] = "images/sha256",
	[SUB_REFS] = "refs",
	[SUB_MEMBERS] = "members",
	[SUB_TMP] = "tmp",
};

/* ---- which directory ---- */

static char *home_dir(void)
{
	const char *home = getenv("HOME");
	struct passwd pw, *found = NULL;
	char buf[4096];

	if (home && *home == '/')
		return strdup(home);
	if (getpwuid_r(userns_outer_uid(geteuid()), &pw, buf, sizeof(buf), &found) || !found ||
	    found->pw_dir[0] != '/')
		return NULL;
	return strdup(found->pw_dir);
}

static int default_dir(char **ret, struct error *err)
{
	const char *xdg = getenv("XDG_CACHE_HOME");
	_cleanup_(freep) char *home = NULL;
	int r;

	if (xdg && *xdg == '/')
		r = asprintf(ret, "%s/morsel", xdg);
	else if (!geteuid() && userns_is_initial())
		r = asprintf(ret, "/var/cache/morsel");
	else if ((home = home_dir()))
		r = asprintf(ret, "%s/.cache/morsel", home);
	else
		return error_set(
			err, -ENOENT,
			"no place for a cache: neither HOME nor XDG_CACHE_HOME is set; name one "
			"with --cache-dir");
	return r < 0 ? -ENOMEM : 0;
}

static int make_with_parents(const char *dir)
{
	_cleanup_(freep) char *path = strdup(dir);

	if (!path)
		return -ENOMEM;
	for (char *p = path; (p = strchr(p + 1, '/'));) {
		*p = 0;
		if (mkdir(path, 0700) < 0 && errno != EEXIST && errno != EACCES && errno != EROFS)
			return -errno;
		*p = '/';
	}
	return mkdir(dir, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

/* ---- is it ours? ---- */

/* Whoever could write here could make us serve what he likes: that includes a user's cache that
 * root is asked to use. */
static int audit(const struct cache *c, struct error *err)
{
	struct stat st;

	if (fstat(c->root_fd, &st) < 0)
		return error_set_errno(err, -errno, "cache directory %s", c->dir);
	if (st.st_uid != geteuid())
		return error_set(
			err, -EACCES,
			"cache directory %s belongs to user %u, this program runs as %u; choose "
			"another one with --cache-dir",
			c->dir, (unsigned)st.st_uid, (unsigned)geteuid());
	if (st.st_mode & 022)
		return error_set(
			err, -EACCES,
			"cache directory %s may be written by others; chmod 700 it, or choose "
			"another one with --cache-dir",
			c->dir);
	return 0;
}

static bool version_is_ours(const char *text, size_t len)
{
	char want[32];
	int n = snprintf(want, sizeof(want), "morsel cache %d\n", CACHE_FORMAT_VERSION);

	return len == (size_t)n && !memcmp(text, want, len);
}

/* 0, CACHE_MISS when there is none yet, -ENOTSUP. */
static int version_check(struct cache *c, struct error *err)
{
	_cleanup_(freep) char *text = NULL;
	size_t len;
	int r = seam_read_file(c->seam, c->root_fd, "version", VERSION_BYTES_MAX, &text, &len);

	if (r == -ENOENT)
		return CACHE_MISS;
	if (r >= 0 && version_is_ours(text, len))
		return 0;
	return error_set(
		err, -ENOTSUP,
		"cache %s was written by another version of morsel; empty it with \"morsel cache "
		"clear\", or choose another one with --cache-dir",
		c->dir);
}

int cache_version_write(struct cache *c)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "morsel cache %d\n", CACHE_FORMAT_VERSION), r;

	r = seam_write_file(c->seam, c->root_fd, "CACHEDIR.TAG", TAG_TEXT, strlen(TAG_TEXT));
	if (r >= 0)
		r = seam_write_file(c->seam, c->root_fd, "version", text, (size_t)n);
	return r;
}

/* ---- opening ---- */

/* Nothing is made through a link. What stands in the way is met again by subdir_open(). */
static int subdir_make(struct cache *c, const char *path)
{
	_cleanup_(closep) int parent = -1;
	const char *slash = strchr(path, '/');
	char name[32];

	if (slash) {
		snprintf(name, sizeof(name), "%.*s", (int)(slash - path), path);
		if (mkdirat(c->root_fd, name, 0700) < 0 && errno != EEXIST)
			return -errno;
		parent = cache_open_dir(c, c->root_fd, name);
		if (parent < 0)
			return 0;
		path = slash + 1;
	}
	return mkdirat(slash ? parent : c->root_fd, path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int subdir_open(struct cache *c, const char *path, int *ret)
{
	_cleanup_(closep) int parent = -1;
	const char *slash = strchr(path, '/');
	char name[32];
	int fd;

	if (!slash)
		fd = cache_open_dir(c, c->root_fd, path);
	else {
		snprintf(name, sizeof(name), "%.*s", (int)(slash - path), path);
		parent = cache_open_dir(c, c->root_fd, name);
		fd = parent < 0 ? parent : cache_open_dir(c, parent, slash + 1);
	}
	if (fd < 0)
		return fd;
	*ret = fd;
	return 0;
}

/* Anything but "there is none" where a directory of ours should stand was put there by somebody. */
static int subdirs_open(struct cache *c, struct error *err)
{
	for (size_t i = 0; i < SUB_COUNT; i++) {
		int r;

		if (c->writable && (r = subdir_make(c, cache_subdir_names[i])) < 0) {
			c->writable = false;
			cache_disk_failed(c, r);
		}
		r = subdir_open(c, cache_subdir_names[i], &c->sub_fd[i]);
		if (r < 0 && (r != -ENOENT || c->writable))
			return error_set_errno(err, r == -EBADMSG ? -EACCES : r,
					       r == -EMFILE || r == -ENFILE
						       ? "can't open %s in the cache %s"
						       : "%s in the cache %s is not a directory of "
							 "ours; remove it",
					       cache_subdir_names[i], c->dir);
	}
	return 0;
}

static void boot_id_read(struct cache *c)
{
	_cleanup_(closep) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char text[64];
	struct digest d;
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text));

	if (n > 0) {
		digest_of(DIGEST_SHA256, text, (size_t)n, &d);
		memcpy(c->boot_id, d.bytes, sizeof(c->boot_id));
	} else /* without one every bit is a claim for every later process */
		c->seam->random(c->seam, c->boot_id, sizeof(c->boot_id));
}

static int root_open(struct cache *c, bool any_version, struct error *err)
{
	int made = make_with_parents(c->dir), r;

	c->root_fd = c->seam->openat(c->seam, AT_FDCWD, c->dir, O_RDONLY | O_DIRECTORY, 0);
	if (c->root_fd < 0) {
		if (made < 0 && c->root_fd == -ENOENT) {
			cache_disk_failed(c, made);
			return 0; /* everything in memory */
		}
		return error_set_errno(err, c->root_fd, "cache directory %s", c->dir);
	}
	r = audit(c, err);
	if (r >= 0)
		r = version_check(c, err);
	if (r == -ENOTSUP && any_version)
		r = 0;
	if (r < 0)
		return r;
	c->writable = faccessat(c->root_fd, ".", W_OK, AT_EACCESS) == 0;
	if (!c->writable)
		cache_disk_failed(c, -errno);
	if (c->writable && r == CACHE_MISS && (r = cache_version_write(c)) < 0) {
		c->writable = false;
		cache_disk_failed(c, r);
	}
	r = subdirs_open(c, err);
	if (r >= 0 && c->writable)
		cache_tmp_clean(c);
	return r;
}

int cache_open(const struct cache_options *o, struct cache **ret, struct error *err)
{
	_cleanup_(cache_closep) struct cache *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->seam = o->seam;
	c->log = o->log;
	c->cancel = o->cancel;
	c->limit_bytes = o->size_bytes ? o->size_bytes : CACHE_SIZE_DEFAULT;
	c->root_fd = -1;
	for (size_t i = 0; i < SUB_COUNT; i++)
		c->sub_fd[i] = -1;
	memory_init(&c->memory, MEMORY_BYTES_MAX);
	pthread_mutex_init(&c->layers_lock, NULL);
	r = o->dir ? ((c->dir = strdup(o->dir)) ? 0 : -ENOMEM) : default_dir(&c->dir, err);
	if (r < 0)
		return r;
	boot_id_read(c);
	r = root_open(c, o->any_version, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(c);
	return 0;
}

void cache_close(struct cache *c)
{
	if (!c)
		return;
	assert(!c->layers);
	for (size_t i = 0; i < SUB_COUNT; i++)
		closep(&c->sub_fd[i]);
	closep(&c->root_fd);
	memory_fini(&c->memory);
	pthread_mutex_destroy(&c->layers_lock);
	free(c->dir);
	free(c);
}

const char *cache_dir(const struct cache *c)
{
	return c->dir;
}

int cache_spool_open(struct cache *c, uint64_t bytes)
{
	int fd = -EROFS;

	if (bytes > c->limit_bytes / SPOOL_SHARE)
		return -EFBIG;
	if (cache_disk_ok(c))
		fd = c->seam->openat(c->seam, c->sub_fd[SUB_TMP], ".", O_RDWR | O_TMPFILE, 0600);
	if (fd >= 0 || bytes > SPOOL_MEMORY_MAX)
		return fd;
	fd = memfd_create("morsel-spool", MFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
