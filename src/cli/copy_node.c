/* SPDX-License-Identifier: MIT */
/*
 * As cp -a: who may not give files away owns the copies and gets no setuid and setgid bits;
 * extended attributes are set where that is allowed.
 */
#include "cli/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define HOLE_BYTES 4096u /* runs of zeros that stay holes */

/* ---- attributes ---- */

struct target { /* fd, or a name in a directory that can't be opened itself */
	int fd, dir_fd;
	const char *name;
};

static int owner_set(const struct target *t, uid_t uid, gid_t gid)
{
	int r = t->fd >= 0 ? fchown(t->fd, uid, gid)
			   : fchownat(t->dir_fd, t->name, uid, gid, AT_SYMLINK_NOFOLLOW);

	return r < 0 ? -errno : 0;
}

static int xattr_set(void *userdata, const char *name, const void *value, size_t n)
{
	const struct target *t = userdata;
	char path[80];

	/* what is not allowed here is left out, as cp -a does */
	if (t->fd >= 0)
		return (void)!fsetxattr(t->fd, name, value, n, 0), 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", t->dir_fd, t->name);
	return (void)!lsetxattr(path, name, value, n, 0), 0;
}

/* In this order: a new owner clears capabilities and special bits, writing changes times. */
static int attributes_set(struct copy *cp, const struct copy_node *node, const struct target *t)
{
	struct timespec times[2] = {{node->st.mtime_s, node->st.mtime_ns},
				    {node->st.mtime_s, node->st.mtime_ns}};
	struct morsel_error err = {0};
	mode_t mode = node->st.mode & 07777;
	int r = owner_set(t, node->st.uid, node->st.gid);

	if (r == -EPERM || r == -EINVAL) {
		(void)!owner_set(t, (uid_t)-1, node->st.gid);
		mode &= 01777;
	} else if (r < 0)
		return copy_fail(cp, r, node->path, "can't set its owner");
	r = morsel_image_xattrs(cp->img, node->st.ino, xattr_set, (void *)t, &err);
	if (r < 0)
		return copy_fail_image(cp, r, &err);
	if (t->fd >= 0)
		r = fchmod(t->fd, mode);
	else if (!S_ISLNK(node->st.mode))
		r = fchmodat(t->dir_fd, t->name, mode, 0);
	if (r < 0)
		return copy_fail(cp, -errno, node->path, "can't set its mode");
	r = t->fd >= 0 ? futimens(t->fd, times)
		       : utimensat(t->dir_fd, t->name, times, AT_SYMLINK_NOFOLLOW);
	return r < 0 ? copy_fail(cp, -errno, node->path, "can't set its time") : 0;
}

/* ---- directories ---- */

int copy_directory_make(struct copy *cp, struct copy_parent *parent, struct copy_node *node)
{
	struct stat st;
	const char *name;
	int r = copy_parent_open(cp, parent, node->path, &name);

	if (r < 0)
		return copy_fail(cp, r, node->path, "can't open the directory");
	if (*name && mkdirat(parent->fd, name, 0700) < 0) {
		if (errno != EEXIST)
			return copy_fail(cp, -errno, node->path, "can't make the directory");
		if (fstatat(parent->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
			return copy_fail(cp, -ENOTDIR, node->path, "it exists");
	}
	node->made = true;
	return 0;
}

int copy_directory_finish(struct copy *cp, struct copy_parent *parent, struct copy_node *node)
{
	struct target t = {.fd = -1};
	const char *name;
	int r = copy_parent_open(cp, parent, node->path, &name);

	if (r < 0)
		return copy_fail(cp, r, node->path, "can't open the directory");
	t.fd = openat(parent->fd, *name ? name : ".",
		      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (t.fd < 0)
		return copy_fail(cp, -errno, node->path, "can't open the directory");
	r = attributes_set(cp, node, &t);
	close(t.fd);
	return r;
}

/* ---- contents ---- */

static bool is_zero(const char *p, size_t n)
{
	return !p[0] && !memcmp(p, p + 1, n - 1);
}

static int write_at(int fd, const char *p, size_t n, uint64_t off)
{
	while (n) {
		ssize_t w = pwrite(fd, p, n, (off_t)off);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -errno;
		p += w;
		off += (uint64_t)w;
		n -= (size_t)w;
	}
	return 0;
}

/* Writes what is not zero, in runs; off is a multiple of HOLE_BYTES. */
static int sparse_write(int fd, const char *buf, size_t n, uint64_t off)
{
	for (size_t at = 0; at < n;) {
		size_t end = at;
		int r;

		while (end < n) {
			size_t len = n - end < HOLE_BYTES ? n - end : HOLE_BYTES;

			if (is_zero(buf + end, len))
				break;
			end += len;
		}
		r = write_at(fd, buf + at, end - at, off + at);
		if (r < 0)
			return r;
		at = end < n ? end + HOLE_BYTES : end; /* what is zero stays a hole */
	}
	return 0;
}

static int contents_copy(struct copy *cp, const struct copy_node *node, int fd, char *buf)
{
	struct morsel_error err = {0};

	for (uint64_t off = 0; off < node->st.size;) {
		size_t n = 0;
		int r = morsel_cancelled(cp->m) ? -ECANCELED
						: morsel_image_read(cp->img, node->st.ino, off, buf,
								    COPY_PIECE, &n, &err);

		if (r < 0)
			return copy_fail_image(cp, r, &err);
		if (!n)
			break;
		r = sparse_write(fd, buf, n, off);
		if (r < 0)
			return copy_fail(cp, r, node->path, "can't write it");
		off += n;
		atomic_fetch_add(&cp->done_bytes, n);
	}
	if (ftruncate(fd, (off_t)node->st.size) < 0)
		return copy_fail(cp, -errno, node->path, "can't write it");
	return 0;
}

static int regular_make(struct copy *cp, const struct copy_node *node, int dir_fd, const char *temp,
			char *buf)
{
	struct target t = {.fd = openat(dir_fd, temp,
					O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
					0600)};
	int r;

	if (t.fd < 0)
		return copy_fail(cp, -errno, node->path, "can't make it");
	r = contents_copy(cp, node, t.fd, buf);
	if (r >= 0)
		r = attributes_set(cp, node, &t);
	if (close(t.fd) < 0 && r >= 0)
		r = copy_fail(cp, -errno, node->path, "can't write it");
	return r;
}

/* ---- what has no contents ---- */

/* 1: a device, which is not allowed here. */
static int special_make(struct copy *cp, const struct copy_node *node, int dir_fd, const char *temp)
{
	struct target t = {.fd = -1, .dir_fd = dir_fd, .name = temp};
	struct morsel_error err = {0};
	char text[4096];
	int r;

	if (S_ISLNK(node->st.mode)) {
		r = morsel_image_readlink(cp->img, node->st.ino, text, sizeof(text), &err);
		if (r < 0)
			return copy_fail_image(cp, r, &err);
		r = symlinkat(text, dir_fd, temp);
	} else {
		r = mknodat(dir_fd, temp, (node->st.mode & S_IFMT) | 0600,
			    makedev(node->st.rdev_major, node->st.rdev_minor));
	}
	if (r < 0 && errno == EPERM && (S_ISCHR(node->st.mode) || S_ISBLK(node->st.mode)))
		return 1;
	if (r < 0)
		return copy_fail(cp, -errno, node->path, "can't make it");
	return attributes_set(cp, node, &t);
}

static void device_left_out(struct copy *cp, const struct copy_node *node)
{
	size_t used;

	pthread_mutex_lock(&cp->lock);
	used = strlen(cp->device_names);
	if (used + strlen(node->path) + 3 < sizeof(cp->device_names))
		snprintf(cp->device_names + used, sizeof(cp->device_names) - used, "%s%s",
			 used ? ", " : "", node->path);
	cp->devices++;
	pthread_mutex_unlock(&cp->lock);
}

/* Gives what was made its name, whatever had that before but a directory. */
static int name_take(struct copy *cp, struct copy_node *node, int dir_fd, const char *temp,
		     const char *name)
{
	if (renameat(dir_fd, temp, dir_fd, name) < 0)
		return copy_fail(cp, -errno, node->path, "can't replace what is there");
	node->made = true;
	return 0;
}

int copy_file(struct copy *cp, struct copy_parent *parent, struct copy_node *node, char *buf)
{
	char temp[64];
	const char *name;
	int r = copy_parent_open(cp, parent, node->path, &name);

	if (r < 0)
		return copy_fail(cp, r, node->path, "can't open the directory");
	copy_temp_name(cp, temp);
	r = S_ISREG(node->st.mode) ? regular_make(cp, node, parent->fd, temp, buf)
				   : special_make(cp, node, parent->fd, temp);
	if (r > 0) {
		device_left_out(cp, node);
		return 0;
	}
	if (r >= 0)
		r = name_take(cp, node, parent->fd, temp, name);
	if (r < 0)
		unlinkat(parent->fd, temp, 0);
	atomic_fetch_add(&cp->files_done, 1);
	return r;
}

int copy_link(struct copy *cp, struct copy_parent *parent, struct copy_node *node)
{
	const struct copy_node *first = &cp->nodes[node->first];
	struct copy_parent from = COPY_PARENT_INIT;
	const char *first_name, *name;
	char temp[64];
	int r;

	if (!first->made) { /* a device that could not be made */
		device_left_out(cp, node);
		return 0;
	}
	copy_temp_name(cp, temp);
	r = copy_parent_open(cp, &from, first->path, &first_name);
	if (r >= 0)
		r = copy_parent_open(cp, parent, node->path, &name);
	if (r >= 0 && linkat(from.fd, first_name, parent->fd, temp, 0) < 0)
		r = -errno;
	copy_parent_fini(&from);
	if (r < 0)
		return copy_fail(cp, r, node->path, "can't make the link");
	r = name_take(cp, node, parent->fd, temp, name);
	unlinkat(parent->fd, temp,
		 0); /* renaming onto another name of the same file does nothing */
	atomic_fetch_add(&cp->files_done, 1);
	return r;
}
