/* SPDX-License-Identifier: MIT */
/*
 * One file and its attributes. As cp -a: who may not give files away owns what is made and gets no
 * setuid and setgid bits; what is not allowed is counted.
 */
#include "transfer/extract_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/sparse.h"

#define HOLE_BYTES_MIN SPARSE_BLOCK /* runs of zeros that stay holes */
#define CLONE_BYTES_MIN (16u << 10) /* smaller files are written faster than shared */

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

static int xattr_set(const struct target *t, const char *name, const void *value, size_t n)
{
	char path[NAME_LEN_MAX + 40];

	if (t->fd >= 0)
		return fsetxattr(t->fd, name, value, n, 0) < 0 ? -errno : 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", t->dir_fd, t->name);
	return lsetxattr(path, name, value, n, 0) < 0 ? -errno : 0;
}

/* Those that a filesystem, or this user, does not take are left out. */
static int xattrs_set(struct extract_worker *w, uint32_t node, const struct erofs_inode *ino,
		      const struct target *t)
{
	const struct erofs *fs = w->x->o->fs;
	bool refused = false;
	size_t n = 0;
	int r = erofs_listxattr(fs, ino, w->list, XATTR_INODE_MAX, &n);

	for (size_t at = 0; !r && at < n; at += strlen(w->list + at) + 1) {
		const char *name = w->list + at;
		size_t len = 0;

		if (!strncmp(name, "trusted.overlay.", 16))
			continue;
		r = erofs_getxattr(fs, ino, name, w->value, XATTR_INODE_MAX, &len);
		if (r)
			break;
		r = xattr_set(t, name, w->value, len);
		if (r == -EPERM || r == -EACCES || r == -ENOTSUP || r == -E2BIG || r == -ERANGE) {
			refused = true;
			r = 0;
		} else if (r < 0)
			return extract_fail_at(w->x, r, node, "can't set an extended attribute");
	}
	if (r)
		return extract_fail_at(w->x, -EBADMSG, node,
				       "its extended attributes in the image's index are damaged");
	if (refused)
		extract_leave_out(w->x, EXTRACT_XATTRS, node);
	return 0;
}

static int mode_set(const struct target *t, mode_t mode)
{
	int r = t->fd >= 0 ? fchmod(t->fd, mode)
			   : fchmodat(t->dir_fd, t->name, mode, AT_SYMLINK_NOFOLLOW);

	return r < 0 ? -errno : 0;
}

/* In this order: a new owner clears capabilities and special bits, writing changes times. owned:
 * the file may have another owner than new ones get. */
static int attributes_set(struct extract_worker *w, uint32_t node, const struct erofs_inode *ino,
			  const struct target *t, bool owned)
{
	struct timespec times[2] = {{ino->mtime_s, ino->mtime_ns}, {ino->mtime_s, ino->mtime_ns}};
	struct extract *x = w->x;
	mode_t mode = ino->mode & 07777;
	int r = 0;

	if (owned || ino->uid != x->uid || ino->gid != x->gid)
		r = owner_set(t, ino->uid, ino->gid);
	if (r == -EPERM || r == -EINVAL) {
		(void)!owner_set(t, (uid_t)-1, ino->gid);
		mode &= 01777;
		extract_leave_out(x, EXTRACT_OWNERS, node);
	} else if (r < 0)
		return extract_fail_at(x, r, node, "can't set its owner");
	r = x->o->fs->has_xattrs && ino->xattr_bytes ? xattrs_set(w, node, ino, t) : 0;
	if (r < 0)
		return r;
	if (!S_ISLNK(ino->mode)) {
		r = mode_set(t, mode);
		if (r == -EPERM && mode & S_ISVTX) /* some filesystems' users may not set it */
			r = mode_set(t, mode & ~(mode_t)S_ISVTX);
		if (r < 0)
			return extract_fail_at(x, r, node, "can't set its mode");
	}
	r = t->fd >= 0 ? futimens(t->fd, times)
		       : utimensat(t->dir_fd, t->name, times, AT_SYMLINK_NOFOLLOW);
	return r < 0 ? extract_fail_at(x, -errno, node, "can't set its time") : 0;
}

int extract_directory_finish(struct extract_worker *w, uint32_t node, int fd)
{
	struct target t = {.fd = fd};
	struct erofs_inode ino;

	if (erofs_inode_get(w->x->o->fs, w->x->plan.nodes[node].nid, &ino) < 0)
		return extract_fail_at(w->x, -EBADMSG, node, "the image's index is damaged");
	return attributes_set(w, node, &ino, &t, w->x->plan.nodes[node].merged);
}

/* ---- contents ---- */

/* False: it has to be written. */
static bool piece_clone(struct extract *x, uint32_t device, uint64_t dev_off, uint64_t n, int fd,
			uint64_t off, uint64_t *end)
{
	int r;

	if (atomic_load_explicit(&x->no_clone, memory_order_relaxed))
		return false;
	r = reader_clone(x->o->reader, device, dev_off, n, fd, off);
	if (r < 0)
		atomic_store_explicit(&x->no_clone, true, memory_order_relaxed);
	if (r)
		return false;
	*end = off + align_up(n, DEVICE_BLOCK);
	atomic_fetch_add_explicit(&x->cloned_bytes, n, memory_order_relaxed);
	return true;
}

/* One piece of the file from the cache. *ret_n: its length; *end: of what was written so far. */
static int piece_copy(struct extract_worker *w, const struct erofs_inode *ino, uint64_t off, int fd,
		      uint64_t *ret_n, uint64_t *end, struct error *err)
{
	struct extract *x = w->x;
	uint64_t dev_off;
	uint32_t device;
	int r = erofs_map(x->o->fs, ino, off, min_u64(ino->size - off, EXTRACT_PIECE), &device,
			  &dev_off, ret_n);

	if (r == EROFS_HOLE)
		return 0;
	if (r < 0)
		return error_set(err, -EBADMSG,
				 "the image's index is damaged; run \"morsel cache verify\"");
	if (ino->size >= CLONE_BYTES_MIN && piece_clone(x, device, dev_off, *ret_n, fd, off, end))
		return 0;
	r = reader_read(x->o->reader, device, dev_off, w->buf, *ret_n, x->o->cancel, err);
	if (r < 0)
		return r;
	if (ino->size >= CLONE_BYTES_MIN && piece_clone(x, device, dev_off, *ret_n, fd, off, end))
		return 0; /* verified only now */
	return sparse_write(x->o->seam, fd, w->buf, *ret_n, off, HOLE_BYTES_MIN, end);
}

static int contents_copy(struct extract_worker *w, uint32_t node, const struct erofs_inode *ino,
			 int fd)
{
	struct extract *x = w->x;
	uint64_t end = 0, n = 0;
	int r = 0;

	for (uint64_t off = 0; off < ino->size; off += n) {
		struct error err = ERROR_INIT;

		r = extract_stopped(x);
		if (r < 0)
			return r;
		r = piece_copy(w, ino, off, fd, &n, &end, &err);
		if (r < 0 && err.code)
			return extract_fail(x, r, &err);
		if (r < 0)
			return extract_fail_at(x, r, node, "can't write it");
		atomic_fetch_add_explicit(&x->done_bytes, n, memory_order_relaxed);
	}
	if (end != ino->size)
		r = x->o->seam->ftruncate(x->o->seam, fd, ino->size);
	return r < 0 ? extract_fail_at(x, r, node, "can't write it") : 0;
}

/* ---- files ---- */

static int regular_make(struct extract_worker *w, uint32_t node, const struct erofs_inode *ino,
			int dir_fd, const char *name)
{
	struct target t = {.fd = openat(dir_fd, name,
					O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
					0600)};
	int r;

	if (t.fd < 0)
		return extract_fail_at(w->x, -errno, node, "can't make it");
	r = contents_copy(w, node, ino, t.fd);
	if (r >= 0)
		r = attributes_set(w, node, ino, &t, false);
	if (close(t.fd) < 0 && r >= 0)
		r = extract_fail_at(w->x, -errno, node, "can't write it");
	return r;
}

static int special_make(struct extract_worker *w, uint32_t node, const struct erofs_inode *ino,
			int dir_fd, const char *name)
{
	struct target t = {.fd = -1, .dir_fd = dir_fd, .name = name};
	char text[LINK_LEN_MAX + 2];
	size_t n = 0;
	int r;

	if (S_ISLNK(ino->mode)) {
		r = erofs_readlink(w->x->o->fs, ino, text, &n);
		if (r < 0)
			return extract_fail_at(w->x, -EBADMSG, node,
					       "the image's index is damaged");
		text[n] = 0;
		r = symlinkat(text, dir_fd, name);
	} else {
		r = mknodat(dir_fd, name, (ino->mode & S_IFMT) | 0600,
			    makedev(ino->rdev_major, ino->rdev_minor));
	}
	if (r < 0 && errno == EPERM && (S_ISCHR(ino->mode) || S_ISBLK(ino->mode))) {
		w->x->plan.nodes[node].absent = true;
		extract_leave_out(w->x, EXTRACT_DEVICES, node);
		return 0;
	}
	if (r < 0)
		return extract_fail_at(w->x, -errno, node, "can't make it");
	return attributes_set(w, node, ino, &t, false);
}

int extract_node_make(struct extract_worker *w, uint32_t node, int dir_fd)
{
	struct erofs_inode ino;
	char name[NAME_LEN_MAX + 1];
	int r;

	plan_name(&w->x->plan, node, name);
	if (erofs_inode_get(w->x->o->fs, w->x->plan.nodes[node].nid, &ino) < 0)
		return extract_fail_at(w->x, -EBADMSG, node, "the image's index is damaged");
	r = S_ISREG(ino.mode) ? regular_make(w, node, &ino, dir_fd, name)
			      : special_make(w, node, &ino, dir_fd, name);
	atomic_fetch_add_explicit(&w->x->files_done, 1, memory_order_relaxed);
	return r;
}
