/* SPDX-License-Identifier: MIT */
#include "transfer/tree_walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/dir.h"
#include "image/path.h"
#include "transfer/names.h"
#include "transfer/xattrs_read.h"

struct tree_walk {
	const struct tree_walk_options *o;
	char path[PATH_LEN_MAX + 1]; /* in the image, of what is being looked at */
	size_t len;
	unsigned depth;
	struct names inodes; /* device and number -> first name, of files with several */
	struct names early;  /* paths that came before their turn */
	struct xattrs xattrs;
	char link[LINK_LEN_MAX + 1];
	uint64_t sockets, dropped_xattrs;
};

/* One directory on the way down. One that is ignored is written when something in it is not. */
struct level {
	struct level *up; /* NULL: the root */
	int fd;
	struct stat st;
	size_t len; /* of its path */
	bool written;
};

struct inode_key {
	uint64_t dev, ino;
};

/* The path below the directory that is walked. */
static const char *in_tree(const struct tree_walk *w)
{
	return path_below(w->path, w->o->prefix);
}

static int fail(struct tree_walk *w, int code, struct error *err, const char *what)
{
	return error_set_errno(err, code, "%s/%s: %s", w->o->root_name, in_tree(w), what);
}

static bool cancelled(const struct tree_walk *w)
{
	return w->o->cancel && atomic_load_explicit(w->o->cancel, memory_order_relaxed);
}

/* ---- one entry ---- */

static void header_of(const struct tree_walk *w, const struct stat *st, struct tar_header *h)
{
	*h = (struct tar_header){
		.path = w->path,
		.mode = st->st_mode,
		.uid = w->o->set_owner ? w->o->uid : st->st_uid,
		.gid = w->o->set_owner ? w->o->gid : st->st_gid,
		.mtime_s = st->st_mtim.tv_sec,
		.mtime_ns = (uint32_t)st->st_mtim.tv_nsec,
		.size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0,
		.xattrs = w->xattrs.list,
		.n_xattrs = w->xattrs.n,
	};
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		h->rdev_major = major(st->st_rdev);
		h->rdev_minor = minor(st->st_rdev);
	}
	if (w->o->clamp_mtime && h->mtime_s >= w->o->mtime_max_s) {
		h->mtime_s = w->o->mtime_max_s;
		h->mtime_ns = 0;
	}
}

/* A name more of a file that came already: true, and h is a link to it. */
static int link_to_first(struct tree_walk *w, const struct stat *st, struct tar_header *h)
{
	struct inode_key key = {st->st_dev, st->st_ino};
	const char *first;

	if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
		return 0;
	first = names_get(&w->inodes, &key, sizeof(key));
	if (!first)
		return names_add(&w->inodes, &key, sizeof(key), w->path);
	h->mode = S_IFREG | (h->mode & 07777);
	h->link = first;
	h->size = 0;
	h->n_xattrs = 0;
	return 0;
}

static int symlink_read(struct tree_walk *w, int fd, struct tar_header *h, struct error *err)
{
	ssize_t n = readlinkat(fd, "", w->link, sizeof(w->link));

	if (n < 0)
		return fail(w, -errno, err, "can't read the symlink");
	if ((size_t)n >= sizeof(w->link) || !n)
		return fail(w, -E2BIG, err, "a symlink with a longer text than images can have");
	w->link[n] = 0;
	h->link = w->link;
	return 0;
}

static int unchanged(struct tree_walk *w, const struct stat *st, int fd, struct error *err)
{
	struct stat now;

	if (fstat(fd, &now) < 0)
		return fail(w, -errno, err, "can't look at the file");
	if (now.st_size == st->st_size && now.st_mtim.tv_sec == st->st_mtim.tv_sec &&
	    now.st_mtim.tv_nsec == st->st_mtim.tv_nsec &&
	    now.st_ctim.tv_sec == st->st_ctim.tv_sec && now.st_ctim.tv_nsec == st->st_ctim.tv_nsec)
		return 0;
	if (!w->o->allow_changed)
		return error_set(err, -ESTALE,
				 "%s/%s changed while it was read: run it again when nobody writes "
				 "there, or allow it with --allow-changed",
				 w->o->root_name, in_tree(w));
	log_write(w->o->log, LOG_WARN, "%s/%s changed while it was read", w->o->root_name,
		  in_tree(w));
	return 0;
}

/* Between the reading of its directory and its own. */
static int gone(struct tree_walk *w, const char *what, struct error *err)
{
	if (!w->o->allow_changed)
		return error_set(err, -ESTALE,
				 "%s/%s %s while the directory was read: run it again when nobody "
				 "writes there, or allow it with --allow-changed",
				 w->o->root_name, in_tree(w), what);
	log_write(w->o->log, LOG_WARN, "%s/%s %s while the directory was read", w->o->root_name,
		  in_tree(w), what);
	return 0;
}

static int attributes_read(struct tree_walk *w, int fd, struct error *err)
{
	int r = w->o->contents ? xattrs_read(fd, &w->xattrs) : 0;

	if (r < 0)
		return fail(w, r, err, "can't read its extended attributes");
	if (w->xattrs.dropped)
		log_write(w->o->log, LOG_WARN,
			  "%s/%s: %llu extended attributes that unpackers of images lose (empty, "
			  "or with a \"=\" in the name) are left out",
			  w->o->root_name, in_tree(w), (unsigned long long)w->xattrs.dropped);
	w->dropped_xattrs += w->xattrs.dropped;
	return 0;
}

/* fd: open for reading, or O_PATH for what is neither file nor directory. */
static int entry_write(struct tree_walk *w, const struct stat *st, int fd, struct error *err)
{
	struct tar_header h;
	bool read;
	int r = attributes_read(w, fd, err);

	if (r < 0)
		return r;
	header_of(w, st, &h);
	if (S_ISCHR(st->st_mode) && !st->st_rdev)
		return error_set(
			err, -ENOTSUP,
			"%s/%s is a character device 0:0, by which overlayfs marks what is "
			"deleted; images can't hold it: leave it out with --exclude",
			w->o->root_name, in_tree(w));
	if (S_ISLNK(st->st_mode))
		r = symlink_read(w, fd, &h, err);
	if (r >= 0)
		r = link_to_first(w, st, &h);
	if (r < 0)
		return r;
	read = S_ISREG(st->st_mode) && !h.link && h.size && w->o->contents;
	r = w->o->entry(w->o->userdata, &h, read ? fd : -1, err);
	return r < 0 || !read ? r : unchanged(w, st, fd, err);
}

static int level_write(struct tree_walk *w, struct level *l, struct error *err)
{
	char cut;
	int r;

	if (!l || l->written)
		return 0;
	r = level_write(w, l->up, err);
	if (r < 0)
		return r;
	l->written = true;
	cut = w->path[l->len];
	w->path[l->len] = 0;
	if (!names_get(&w->early, w->path, l->len))
		r = entry_write(w, &l->st, l->fd, err);
	w->path[l->len] = cut;
	return r;
}

/* ---- one name ---- */

static int path_push(struct tree_walk *w, const char *name, struct error *err)
{
	size_t n = strlen(name), sep = w->len != 0;

	if (w->len + sep + n > PATH_LEN_MAX || w->depth >= PATH_DEPTH_MAX)
		return error_set(err, -E2BIG,
				 "%s/%.200s...: a path of more than %u bytes or %u directories, "
				 "which readers of images refuse",
				 w->o->root_name, in_tree(w), PATH_LEN_MAX, PATH_DEPTH_MAX);
	if (sep)
		w->path[w->len++] = '/';
	memcpy(w->path + w->len, name, n + 1);
	w->len += n;
	w->depth++;
	return 0;
}

static void path_pop(struct tree_walk *w, size_t len)
{
	w->len = len;
	w->path[len] = 0;
	w->depth--;
}

/* Opened for reading when it is a file or a directory, else as a mere place; -1 for what nobody
 * wants to look into. What it is may have changed since the directory was read, but not any more
 * after this. */
static int name_open(int dir_fd, const char *name, bool contents, struct stat *st, int *ret)
{
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, opened;
	_cleanup_(closep) int fd = -1;
	struct stat again;

	*ret = -1;
	if (!contents) {
		if (fstatat(dir_fd, name, st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		if (!S_ISDIR(st->st_mode) && !S_ISLNK(st->st_mode))
			return 0;
	}
	fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, st) < 0)
		return -errno;
	if (!S_ISDIR(st->st_mode) && (!S_ISREG(st->st_mode) || !contents)) {
		*ret = steal_fd(&fd);
		return 0;
	}
	opened = openat(dir_fd, name, flags | (S_ISDIR(st->st_mode) ? O_DIRECTORY : 0));
	if (opened < 0)
		return -errno;
	if (fstat(opened, &again) < 0 || again.st_dev != st->st_dev || again.st_ino != st->st_ino ||
	    (again.st_mode & S_IFMT) != (st->st_mode & S_IFMT)) {
		close(opened);
		return -ESTALE;
	}
	*st = again;
	*ret = opened;
	return 0;
}

static bool is_ignored(const struct tree_walk *w)
{
	return w->o->ignore && *in_tree(w) && ignore_matches(w->o->ignore, in_tree(w));
}

static int dir_walk(struct tree_walk *w, struct level *l, struct error *err);

static int name_enter(struct tree_walk *w, struct level *up, int fd, const struct stat *st,
		      bool ignored, struct error *err)
{
	struct level l = {.up = up, .fd = fd, .st = *st, .len = w->len};
	int r;

	if (!S_ISDIR(st->st_mode)) {
		r = ignored ? 0 : level_write(w, up, err);
		return r < 0 || ignored || names_get(&w->early, w->path, w->len)
			       ? r
			       : entry_write(w, st, fd, err);
	}
	if (ignored && !ignore_may_take_back(w->o->ignore, in_tree(w)))
		return 0;
	r = ignored ? 0 : level_write(w, &l, err);
	return r < 0 ? r : dir_walk(w, &l, err);
}

static int name_visit(struct tree_walk *w, struct level *up, const char *name, struct error *err)
{
	_cleanup_(closep) int fd = -1;
	size_t len = w->len;
	struct stat st;
	bool ignored;
	int r = path_push(w, name, err);

	if (r < 0)
		return r;
	ignored = is_ignored(w);
	if (!ignored || ignore_may_take_back(w->o->ignore, in_tree(w))) {
		r = name_open(up->fd, name, w->o->contents && !ignored, &st, &fd);
		if (r == -ENOENT || r == -ESTALE || r == -ELOOP)
			r = gone(w, r == -ENOENT ? "disappeared" : "became something else", err);
		else if (r < 0)
			r = fail(w, r, err, "can't open it");
		else if (S_ISSOCK(st.st_mode)) {
			w->sockets++;
			log_write(w->o->log, LOG_WARN, "%s/%s is a socket and is left out",
				  w->o->root_name, in_tree(w));
		} else if (!w->o->is_taken || !w->o->is_taken(w->o->userdata, w->path))
			r = name_enter(w, up, fd, &st, ignored, err);
	}
	path_pop(w, len);
	return r;
}

/* ---- directories ---- */

struct listing {
	char **names;
	size_t n, cap;
};

static void listing_fini(struct listing *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->names[i]);
	free(l->names);
}

static int listing_add(struct listing *l, const char *name)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 32;
		char **more = reallocarray(l->names, cap, sizeof(*more));

		if (!more)
			return -ENOMEM;
		l->names = more;
		l->cap = cap;
	}
	l->names[l->n] = strdup(name);
	return l->names[l->n++] ? 0 : -ENOMEM;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int listing_read(int dir_fd, struct listing *ret)
{
	_cleanup_(closedirp) DIR *d = dir_open(dir_fd, ".");
	const struct dirent *e;
	int r = d ? 0 : -errno;

	if (r < 0)
		return r;
	while (r >= 0 && (e = dir_next(d)))
		r = listing_add(ret, e->d_name);
	if (r >= 0 && errno)
		r = -errno;
	if (ret->n)
		qsort(ret->names, ret->n, sizeof(*ret->names), by_bytes);
	return r;
}

static int dir_walk(struct tree_walk *w, struct level *l, struct error *err)
{
	_cleanup_(listing_fini) struct listing list = {0};
	int r = listing_read(l->fd, &list);

	if (r < 0)
		return fail(w, r, err, "can't read the directory");
	for (size_t i = 0; i < list.n && r >= 0; i++)
		r = cancelled(w) ? error_set(err, -ECANCELED, "interrupted")
				 : name_visit(w, l, list.names[i], err);
	return r;
}

static int root_open(struct tree_walk *w, struct level *ret, struct error *err)
{
	snprintf(w->path, sizeof(w->path), "%s", w->o->prefix);
	w->len = strlen(w->path);
	*ret = (struct level){.fd = w->o->root_fd, .len = w->len};
	if (fstat(w->o->root_fd, &ret->st) < 0)
		return error_set_errno(err, -errno, "can't look at %s", w->o->root_name);
	return 0;
}

int tree_walk_all(struct tree_walk *w, struct error *err)
{
	struct level root;
	int r = root_open(w, &root, err);

	if (r >= 0)
		r = level_write(w, &root, err);
	return r < 0 ? r : dir_walk(w, &root, err);
}

/* ---- entries before their turn ---- */

static int early_write(struct tree_walk *w, int fd, const struct stat *st, struct error *err)
{
	int r;

	if (names_get(&w->early, w->path, w->len))
		return 0;
	r = entry_write(w, st, fd, err);
	return r < 0 ? r : names_add(&w->early, w->path, w->len, "");
}

/* The directory's own entry, then the step into `rest`. */
static int early_step(struct tree_walk *w, int fd, const struct stat *st, const char *rest,
		      struct error *err)
{
	_cleanup_(closep) int next = -1;
	char name[NAME_LEN_MAX + 1];
	size_t n = strcspn(rest, "/");
	struct stat below;
	int r = 0;

	if (!*rest)
		return early_write(w, fd, st, err);
	if (n > NAME_LEN_MAX || !S_ISDIR(st->st_mode))
		return 0;
	memcpy(name, rest, n);
	name[n] = 0;
	r = name_open(fd, name, w->o->contents, &below, &next);
	if (r < 0)
		return r == -ENOENT || r == -ELOOP ? 0 : fail(w, r, err, name);
	if (S_ISSOCK(below.st_mode))
		return 0;
	r = early_write(w, fd, st, err);
	if (r >= 0)
		r = path_push(w, name, err);
	if (r < 0 || is_ignored(w) || (w->o->is_taken && w->o->is_taken(w->o->userdata, w->path)))
		return r;
	return early_step(w, next, &below, rest + n + (rest[n] == '/'), err);
}

int tree_walk_first(struct tree_walk *w, const char *path, struct error *err)
{
	char clean[PATH_LEN_MAX + 1];
	const char *below;
	struct level root;
	size_t len;
	int r;

	if (cancelled(w))
		return error_set(err, -ECANCELED, "interrupted");
	if (path_clean(path, strlen(path), clean, &len, NULL) < 0 ||
	    !(below = path_below(clean, w->o->prefix)))
		return 0; /* no name that the tree could have */
	r = root_open(w, &root, err);
	w->depth = 0;
	if (r >= 0)
		r = early_step(w, root.fd, &root.st, below, err);
	w->depth = 0;
	return r;
}

int tree_walk_new(const struct tree_walk_options *o, struct tree_walk **ret)
{
	struct tree_walk *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->o = o;
	*ret = w;
	return 0;
}

uint64_t tree_walk_sockets(const struct tree_walk *w)
{
	return w->sockets;
}

uint64_t tree_walk_dropped_xattrs(const struct tree_walk *w)
{
	return w->dropped_xattrs;
}

void tree_walk_free(struct tree_walk *w)
{
	names_fini(&w->inodes);
	names_fini(&w->early);
	xattrs_fini(&w->xattrs);
	free(w);
}
