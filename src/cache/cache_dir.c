/* SPDX-License-Identifier: MIT */
/* The cache's root: found or made, judged, cleaned of what dead processes left. */
#include "cache/cache_impl.h"

#include <dirent.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#define VERSION_TEXT "morsel cache 1\n"
#define TAG_TEXT                                                                                   \
	"Signature: 8a477f597d28d172789f06886806bc55\n# A cache of morsel; it may be deleted at "  \
	"any time.\n"

static const char *const subdirs[] = {"blobs",	"blobs/sha256",	 "blobs/sha512", "layers",
				      "images", "images/sha256", "refs",	 "tmp"};

static char *default_dir(void)
{
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	struct passwd *pw;
	char *dir = NULL;
	int r;

	if (!geteuid() && !(xdg && *xdg == '/'))
		return strdup("/var/cache/morsel");
	if (xdg && *xdg == '/') {
		r = asprintf(&dir, "%s/morsel", xdg);
		return r < 0 ? NULL : dir;
	}
	if (!home || *home != '/') {
		pw = getpwuid(geteuid());
		home = pw ? pw->pw_dir : "/tmp";
	}
	r = asprintf(&dir, "%s/.cache/morsel", home);
	return r < 0 ? NULL : dir;
}

static void make_parents(char *dir)
{
	for (char *p = dir + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		mkdir(dir, 0755);
		*p = '/';
	}
}

/* Others must not be able to put things in: what the cache holds is not all verified again. */
static int audit(struct cache *c, struct error *err)
{
	struct stat st;

	if (fstat(c->dir_fd, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid())
		return error_set(err, -EACCES,
				 "the cache directory %s belongs to user %u, not to you; "
				 "choose another one with --cache-dir",
				 c->dir, st.st_uid);
	if (st.st_mode & 022)
		return error_set(err, -EACCES,
				 "others may write the cache directory %s; chmod 700 it", c->dir);
	return 0;
}

static int version_check(struct cache *c, struct error *err)
{
	_cleanup_(freep) char *text = NULL;
	size_t n;
	int r = seam_read_file(c->seam, c->dir_fd, "version", 100, &text, &n);

	if (r == -ENOENT) {
		r = seam_write_file(c->seam, c->dir_fd, "version", VERSION_TEXT,
				    strlen(VERSION_TEXT));
		if (r >= 0)
			r = seam_write_file(c->seam, c->dir_fd, "CACHEDIR.TAG", TAG_TEXT,
					    strlen(TAG_TEXT));
		return r;
	}
	if (r < 0)
		return r;
	if (strcmp(text, VERSION_TEXT))
		return error_set(err, -ENOTSUP,
				 "the cache %s was written by another version of morsel; remove it "
				 "or choose another one with --cache-dir",
				 c->dir);
	return 0;
}

static int subdirs_make(struct cache *c)
{
	for (size_t i = 0; i < ARRAY_SIZE(subdirs); i++)
		if (mkdirat(c->dir_fd, subdirs[i], 0700) < 0 && errno != EEXIST)
			return -errno;
	return 0;
}

/* A staging directory is locked by who fills it; one that can be locked has lost its owner. */
static void tmp_clean(struct cache *c)
{
	int fd = openat(c->dir_fd, "tmp", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;

	if (!d) {
		closep(&fd);
		return;
	}
	while ((e = readdir(d))) {
		int dir;

		if (e->d_name[0] == '.')
			continue;
		dir = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (dir < 0) {
			unlinkat(fd, e->d_name, 0);
			continue;
		}
		if (!flock(dir, LOCK_EX | LOCK_NB))
			cache_remove_dir(c, fd, e->d_name);
		close(dir);
	}
	closedir(d);
}

static void boot_id_read(struct cache *c)
{
	_cleanup_(closep) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	struct digest d;
	char text[64];
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text)) : 0;

	digest_of(DIGEST_SHA256, text, n > 0 ? (size_t)n : 0, &d);
	memcpy(c->boot_id, d.bytes, sizeof(c->boot_id));
}

static int dir_prepare(struct cache *c, struct error *err)
{
	int r;

	make_parents(c->dir);
	if (mkdir(c->dir, 0700) < 0 && errno != EEXIST) {
		cache_warn_memory(c, -errno, c->dir);
		return 0; /* dir_fd stays -1: everything in memory */
	}
	c->dir_fd = c->seam->openat(c->seam, AT_FDCWD, c->dir, O_RDONLY | O_DIRECTORY, 0);
	if (c->dir_fd < 0)
		return error_set_errno(err, c->dir_fd, "can't open the cache directory %s", c->dir);
	r = audit(c, err);
	if (r < 0)
		return r;
	r = faccessat(c->dir_fd, ".", W_OK, AT_EACCESS) < 0 ? -errno : 0;
	if (r >= 0) {
		r = version_check(c, err);
		if (r == -ENOTSUP)
			return r;
	}
	if (r >= 0)
		r = subdirs_make(c);
	if (r < 0) {
		c->read_only = true;
		cache_warn_memory(c, r, c->dir);
		return 0;
	}
	tmp_clean(c);
	return 0;
}

int cache_open(const struct cache_options *o, struct cache **ret, struct error *err)
{
	_cleanup_(cache_closep) struct cache *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	*c = (struct cache){.seam = o->seam,
			    .log = o->log,
			    .dir_fd = -1,
			    .size_bytes = o->size_bytes ? o->size_bytes : CACHE_SIZE_DEFAULT};
	pthread_mutex_init(&c->evict_lock, NULL);
	c->dir = o->dir ? strdup(o->dir) : default_dir();
	if (!c->dir)
		return -ENOMEM;
	boot_id_read(c);
	r = dir_prepare(c, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(c);
	return 0;
}

void cache_close(struct cache *c)
{
	if (!c)
		return;
	closep(&c->dir_fd);
	pthread_mutex_destroy(&c->evict_lock);
	free(c->dir);
	free(c);
}

const char *cache_dir(const struct cache *c)
{
	return c->dir;
}

int cache_open_file(struct cache *c, int dir_fd, const char *name, int flags)
{
	_cleanup_(closep) int fd =
		c->seam->openat(c->seam, dir_fd, name, flags | O_NOFOLLOW | O_NONBLOCK, 0600);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
		return -EINVAL;
	return steal_fd(&fd);
}

int cache_dir_sync(struct cache *c, int dir_fd)
{
	return c->seam->fsync(c->seam, dir_fd);
}

void cache_remove_dir(struct cache *c, int parent_fd, const char *name)
{
	int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;

	if (!d) {
		closep(&fd);
		c->seam->unlinkat(c->seam, parent_fd, name, 0);
		return;
	}
	while ((e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			c->seam->unlinkat(c->seam, fd, e->d_name, 0);
	closedir(d);
	c->seam->unlinkat(c->seam, parent_fd, name, AT_REMOVEDIR);
}

void cache_warn_memory(struct cache *c, int code, const char *what)
{
	char text[128];

	if (log_limit_pass(&c->memory_warning, c->seam->monotonic_ns(c->seam), 60 * NS_PER_S))
		log_write(c->log, LOG_WARN,
			  "the cache can't keep data (%s: %s); it is held in memory instead", what,
			  strerror_r(-code, text, sizeof(text)));
}
