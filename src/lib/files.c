/* SPDX-License-Identifier: MIT */
/*
 * Paths, listings and reads of an opened image, for callers without a mount.
 */
#include "lib/image.h"

#include <stdio.h>
#include <sys/stat.h>

#define SYMLINKS_MAX 40

static void stat_fill(const struct erofs_inode *ino, struct morsel_stat *ret)
{
	*ret = (struct morsel_stat){
		.ino = ino->nid,
		.size = ino->size,
		.mtime_s = ino->mtime_s,
		.mtime_ns = ino->mtime_ns,
		.mode = ino->mode,
		.uid = ino->uid,
		.gid = ino->gid,
		.nlink = ino->nlink,
		.rdev_major = ino->rdev_major,
		.rdev_minor = ino->rdev_minor,
	};
}

int image_inode_get(struct morsel_image *img, uint64_t ino, struct erofs_inode *ret,
		    struct error *err)
{
	int r = context_check(img->m, err);

	if (r >= 0)
		r = erofs_inode_get(&img->fs, ino, ret);
	return r == -EBADMSG ? error_set(err, -EINVAL, "inode %llu is not in %s",
					 (unsigned long long)ino, img->rv.ref->text)
			     : r;
}

static int index_damaged(const char *path, struct error *err)
{
	return error_set(err, -EBADMSG,
			 "%s: the image's index is damaged; run \"morsel cache verify\"", path);
}

/* Puts a symlink's text before what is left of the path, which is empty or begins with a slash. */
static int path_splice(const struct erofs *fs, const struct erofs_inode *link, const char *rest,
		       char **path)
{
	char text[4096], *joined;
	size_t n;
	int r = erofs_readlink(fs, link, text, &n);

	if (r < 0)
		return r;
	if (asprintf(&joined, "%.*s%s", (int)n, text, rest) < 0)
		return -ENOMEM;
	free(*path);
	*path = joined;
	return 0;
}

/* "." and ".." need no care: they are ordinary entries of every directory, and the root's ".." is
 * the root. */
int image_path_walk(const struct erofs *fs, const char *path, unsigned flags,
		    struct erofs_inode *ret)
{
	_cleanup_(freep) char *own = strdup(path);
	const char *p = own;
	struct erofs_inode dir, next;
	unsigned links = 0;
	int r = erofs_inode_get(fs, fs->root_nid, &dir);

	if (!own)
		return -ENOMEM;
	while (r >= 0) {
		size_t n;
		uint64_t nid;

		p += strspn(p, "/");
		n = strcspn(p, "/");
		if (!n && p > own && p[-1] == '/' && !S_ISDIR(dir.mode))
			return -ENOTDIR;
		if (!n)
			break;
		r = erofs_lookup(fs, &dir, p, n, &nid);
		if (r == EROFS_NO_ENTRY)
			return -ENOENT;
		if (r < 0 || (r = erofs_inode_get(fs, nid, &next)) < 0)
			return r;
		p += n;
		if (!S_ISLNK(next.mode) || ((flags & MORSEL_NOFOLLOW) && !*p)) {
			dir = next;
			continue;
		}
		if (++links > SYMLINKS_MAX)
			return -ELOOP;
		r = path_splice(fs, &next, p, &own);
		p = own;
		if (r >= 0 && *p == '/')
			r = erofs_inode_get(fs, fs->root_nid, &dir);
	}
	if (r >= 0)
		*ret = dir;
	return r;
}

static int path_resolve(struct morsel_image *img, const char *path, unsigned flags,
			struct erofs_inode *ret, struct error *err)
{
	int r = context_check(img->m, err);

	if (r >= 0)
		r = image_path_walk(&img->fs, path, flags, ret);
	switch (r) {
	case -ENOENT:
		return error_set(err, r, "%s: no such file in %s", path, img->rv.ref->text);
	case -ENOTDIR: /* for scripts the same: it is not there */
		return error_set(err, -ENOENT,
				 "%s: no such file in %s (a component is not a directory)", path,
				 img->rv.ref->text);
	case -ELOOP:
		return error_set(err, -EPERM, "%s: more than %d symlinks in %s", path, SYMLINKS_MAX,
				 img->rv.ref->text);
	case -EBADMSG:
		return index_damaged(path, err);
	default:
		return r;
	}
}

int morsel_image_stat(struct morsel_image *img, const char *path, unsigned flags,
		      struct morsel_stat *ret, struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;
	struct erofs_inode ino;
	int r = flags & ~MORSEL_NOFOLLOW
			? error_set(&err, -EINVAL, "%s: unknown flags 0x%x", path, flags)
			: path_resolve(img, path, flags, &ino, &err);

	if (r >= 0)
		stat_fill(&ino, ret);
	return error_publish(r, &err, ret_err);
}

static int list_entry(struct morsel_image *img, const struct erofs_dirent *d,
		      int (*fn)(void *userdata, const char *name, const struct morsel_stat *st),
		      void *userdata)
{
	char name[NAME_LEN_MAX + 1];
	struct erofs_inode ino;
	struct morsel_stat st;
	int r;

	if ((d->name_len == 1 && d->name[0] == '.') ||
	    (d->name_len == 2 && !memcmp(d->name, "..", 2)))
		return 0;
	r = erofs_inode_get(&img->fs, d->nid, &ino);
	if (r < 0)
		return r;
	stat_fill(&ino, &st);
	memcpy(name, d->name, d->name_len);
	name[d->name_len] = 0;
	return fn(userdata, name, &st);
}

int morsel_image_list(struct morsel_image *img, const char *path,
		      int (*fn)(void *userdata, const char *name, const struct morsel_stat *st),
		      void *userdata, struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;
	struct erofs_inode dir;
	struct erofs_dirent d = {0};
	int r = path_resolve(img, path, 0, &dir, &err);

	if (r >= 0 && !S_ISDIR(dir.mode))
		r = error_set(&err, -ENOTDIR, "%s: not a directory in %s", path, img->rv.ref->text);
	while (r >= 0 && (r = context_check(img->m, &err)) >= 0) {
		r = erofs_readdir(&img->fs, &dir, d.next, &d);
		if (r == EROFS_END)
			return 0;
		if (r < 0) {
			index_damaged(path, &err);
			break;
		}
		r = list_entry(img, &d, fn, userdata);
		if (r)
			return r < 0 ? error_publish(r, &err, ret_err) : r;
	}
	return error_publish(r, &err, ret_err);
}

int morsel_image_readlink(struct morsel_image *img, uint64_t ino, char *buf, size_t n,
			  struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;
	struct erofs_inode inode;
	char text[4096];
	size_t len = 0;
	int r = image_inode_get(img, ino, &inode, &err);

	if (r >= 0 && !S_ISLNK(inode.mode))
		r = error_set(&err, -EINVAL, "inode %llu is not a symlink",
			      (unsigned long long)ino);
	if (r >= 0)
		r = erofs_readlink(&img->fs, &inode, text, &len);
	if (r >= 0 && len >= n)
		r = error_set(&err, -ERANGE, "the symlink's text has %zu bytes", len);
	if (r >= 0) {
		memcpy(buf, text, len);
		buf[len] = 0;
	}
	return error_publish(r, &err, ret_err);
}

/* One contiguous piece: a device range, or a hole. */
static int read_piece(struct morsel_image *img, const struct erofs_inode *ino, uint64_t off,
		      uint8_t *buf, size_t n, uint64_t *ret_n, struct error *err)
{
	uint64_t dev_off, len;
	uint32_t device;
	int r = erofs_map(&img->fs, ino, off, n, &device, &dev_off, &len);

	if (r < 0)
		return index_damaged("read", err);
	*ret_n = len;
	if (r == EROFS_HOLE) {
		memset(buf, 0, len);
		return 0;
	}
	return reader_read(img->reader, device, dev_off, buf, len, &img->m->cancelled, err);
}

int morsel_image_read(struct morsel_image *img, uint64_t ino, uint64_t off, void *buf, size_t n,
		      size_t *ret_n, struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;
	struct erofs_inode inode;
	uint64_t done = 0, len = 0;
	int r = image_inode_get(img, ino, &inode, &err);

	if (r >= 0 && !S_ISREG(inode.mode))
		r = error_set(&err, S_ISDIR(inode.mode) ? -EISDIR : -EINVAL,
			      "inode %llu is not a regular file", (unsigned long long)ino);
	if (r >= 0 && off < inode.size)
		n = min_u64(n, inode.size - off);
	else
		n = 0;
	while (r >= 0 && done < n) {
		r = read_piece(img, &inode, off + done, (uint8_t *)buf + done, n - done, &len,
			       &err);
		done += r < 0 ? 0 : len;
	}
	if (r >= 0)
		*ret_n = done;
	return error_publish(r, &err, ret_err);
}
