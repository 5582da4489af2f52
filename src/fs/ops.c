/* SPDX-License-Identifier: MIT */
/*
 * Metadata operations: each looks up the mapped index and replies. Nothing is remembered between
 * requests, so forget has nothing to forget, and any process that maps the same index could answer
 * the next request.
 */
#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "fs/fs_impl.h"

static struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* The index is ours and checked; when the disk damaged it all the same, the file is unusable. */
static int reply_errno(int r)
{
	return r == -EBADMSG ? EUCLEAN : -r;
}

static void stat_fill(const struct fs *f, const struct erofs_inode *ino, struct stat *st)
{
	*st = (struct stat){
		.st_ino = nid_to_ino(f->p.image, ino->nid),
		.st_mode = ino->mode,
		.st_nlink = ino->nlink,
		.st_uid = ino->uid,
		.st_gid = ino->gid,
		.st_size = (off_t)ino->size,
		.st_blksize = 4096,
		.st_blocks = (blkcnt_t)(align_up(ino->size, 4096) / 512),
		.st_rdev = makedev(ino->rdev_major, ino->rdev_minor),
		.st_mtim = {.tv_sec = ino->mtime_s, .tv_nsec = ino->mtime_ns},
	};
	st->st_atim = st->st_ctim = st->st_mtim;
}

static void entry_fill(const struct fs *f, const struct erofs_inode *ino,
		       struct fuse_entry_param *e)
{
	*e = (struct fuse_entry_param){.ino = nid_to_ino(f->p.image, ino->nid),
				       .generation = 1,
				       .attr_timeout = FS_FOREVER,
				       .entry_timeout = FS_FOREVER};
	stat_fill(f, ino, &e->attr);
}

void fs_op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *f = userdata;

	conn->want |= conn->capable &
		      (FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
		       FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_NO_OPEN_SUPPORT |
		       FUSE_CAP_NO_OPENDIR_SUPPORT | FUSE_CAP_EXPORT_SUPPORT);
	/* Always with attributes, never guessing; splice lost every measurement. */
	conn->want &= ~(unsigned)(FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_SPLICE_READ |
				  FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
				  FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_WRITEBACK_CACHE);
	conn->max_read = FS_READ_MAX; /* as the mount option says */
	conn->max_readahead = FS_READ_MAX;
	conn->max_background = 256;
	conn->congestion_threshold = 192;
	f->no_open = conn->capable & FUSE_CAP_NO_OPEN_SUPPORT;
	f->no_opendir = conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *f = fs_of(req);
	struct fuse_entry_param e = {.entry_timeout = FS_FOREVER};
	struct erofs_inode dir, ino;
	uint64_t nid;
	int r = erofs_inode_get(f->p.image, ino_to_nid(f->p.image, parent), &dir);

	counter_add(&f->p.counters->lookups, 1);
	if (strlen(name) > NAME_LEN_MAX) {
		fuse_reply_err(req, ENAMETOOLONG);
		return;
	}
	if (r >= 0 && !strcmp(name, ".")) /* by a file handle: of any type */
		nid = dir.nid;
	else if (r >= 0)
		r = erofs_lookup(f->p.image, &dir, name, strlen(name), &nid);
	if (r == EROFS_NO_ENTRY) { /* ino 0: remember that it is not there */
		fuse_reply_entry(req, &e);
		return;
	}
	if (r >= 0)
		r = erofs_inode_get(f->p.image, nid, &ino);
	if (r < 0) {
		fuse_reply_err(req, reply_errno(r));
		return;
	}
	entry_fill(f, &ino, &e);
	fuse_reply_entry(req, &e);
}

void fs_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	fuse_reply_none(req);
}

void fs_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);
	struct erofs_inode inode;
	struct stat st;
	int r = erofs_inode_get(f->p.image, ino_to_nid(f->p.image, ino), &inode);

	if (r < 0) {
		fuse_reply_err(req, reply_errno(r));
		return;
	}
	stat_fill(f, &inode, &st);
	fuse_reply_attr(req, &st, FS_FOREVER);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *f = fs_of(req);
	struct erofs_inode inode;
	char text[4097];
	size_t n = 0;
	int r = erofs_inode_get(f->p.image, ino_to_nid(f->p.image, ino), &inode);

	if (r >= 0)
		r = erofs_readlink(f->p.image, &inode, text, &n);
	if (r < 0) {
		fuse_reply_err(req, reply_errno(r));
		return;
	}
	text[n] = 0;
	fuse_reply_readlink(req, text);
}

static size_t dirent_add(fuse_req_t req, struct fs *f, char *buf, size_t room,
			 const struct erofs_dirent *d, bool plus, int *ret)
{
	static const mode_t types[8] = {0,	 S_IFREG, S_IFDIR,  S_IFCHR,
					S_IFBLK, S_IFIFO, S_IFSOCK, S_IFLNK};
	struct fuse_entry_param e;
	struct erofs_inode ino;
	char name[256];

	memcpy(name, d->name, d->name_len);
	name[d->name_len] = 0;
	if (!plus) {
		struct stat st = {.st_ino = nid_to_ino(f->p.image, d->nid),
				  .st_mode = d->type < 8 ? types[d->type] : 0};

		return fuse_add_direntry(req, buf, room, name, &st, (off_t)d->next);
	}
	*ret = erofs_inode_get(f->p.image, d->nid, &ino);
	if (*ret < 0)
		return 0;
	entry_fill(f, &ino, &e);
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		e.ino = 0; /* no look-up is counted for these */
	return fuse_add_direntry_plus(req, buf, room, name, &e, (off_t)d->next);
}

static void readdir_common(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
	struct fs *f = fs_of(req);
	struct erofs_dirent d = {.next = (uint64_t)off};
	struct erofs_inode dir;
	size_t used = 0;
	char *buf = fs_thread_buffer();
	int r = buf ? erofs_inode_get(f->p.image, ino_to_nid(f->p.image, ino), &dir) : -ENOMEM;

	size = min_u64(size, FS_READ_MAX);
	while (r >= 0) {
		size_t n;

		r = erofs_readdir(f->p.image, &dir, d.next, &d);
		if (r)
			break;
		n = dirent_add(req, f, buf + used, size - used, &d, plus, &r);
		if (r < 0 || n > size - used)
			break;
		used += n;
	}
	if (r < 0 && !used)
		fuse_reply_err(req, reply_errno(r));
	else
		fuse_reply_buf(req, buf, used);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	readdir_common(req, ino, size, off, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			   struct fuse_file_info *fi)
{
	readdir_common(req, ino, size, off, true);
}

/* Once answered ENOSYS, the kernel opens files and directories by itself, and keeps what it has
 * cached. One that does not know how gets an ordinary answer. */
void fs_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);

	if ((fi->flags & O_ACCMODE) != O_RDONLY)
		fuse_reply_err(req, EROFS);
	else if (f->no_open)
		fuse_reply_err(req, ENOSYS);
	else {
		fi->keep_cache = 1;
		fuse_reply_open(req, fi);
	}
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);

	if (f->no_opendir) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	fi->keep_cache = fi->cache_readdir = 1;
	fuse_reply_open(req, fi);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *f = fs_of(req);
	struct statvfs st = {.f_bsize = 4096,
			     .f_frsize = 4096,
			     .f_blocks = f->used_blocks,
			     .f_files = f->p.image->inode_count,
			     .f_namemax = 255,
			     .f_fsid = le64_get(f->p.image->uuid),
			     .f_flag = ST_RDONLY};

	fuse_reply_statfs(req, &st);
}

static bool xattr_is_hidden(const struct fs *f, const char *name)
{
	if (!strncmp(name, "trusted.overlay.", 16))
		return true;
	return !f->p.suid && !strcmp(name, "security.capability");
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fs *f = fs_of(req);
	struct erofs_inode inode;
	char *buf = fs_thread_buffer();
	size_t n = 0;
	int r;

	if (!f->p.image->has_xattrs) { /* the kernel never asks again */
		fuse_reply_err(req, ENOSYS);
		return;
	}
	r = buf ? erofs_inode_get(f->p.image, ino_to_nid(f->p.image, ino), &inode) : -ENOMEM;
	if (r >= 0 && xattr_is_hidden(f, name))
		r = EROFS_NO_ENTRY;
	else if (r >= 0)
		r = erofs_getxattr(f->p.image, &inode, name, buf, min_u64(size, FS_READ_MAX), &n);
	if (r)
		fuse_reply_err(req, r == EROFS_NO_ENTRY ? ENODATA
				    : r == EROFS_RANGE	? ERANGE
							: reply_errno(r));
	else if (!size)
		fuse_reply_xattr(req, n);
	else
		fuse_reply_buf(req, buf, n);
}

static size_t list_filter(const struct fs *f, char *list, size_t n)
{
	size_t kept = 0;

	for (size_t at = 0; at < n;) {
		size_t len = strlen(list + at) + 1;

		if (!xattr_is_hidden(f, list + at)) {
			memmove(list + kept, list + at, len);
			kept += len;
		}
		at += len;
	}
	return kept;
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fs *f = fs_of(req);
	struct erofs_inode inode;
	char *buf = fs_thread_buffer();
	size_t n = 0;
	int r;

	if (!f->p.image->has_xattrs) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	r = buf ? erofs_inode_get(f->p.image, ino_to_nid(f->p.image, ino), &inode) : -ENOMEM;
	if (r >= 0)
		r = erofs_listxattr(f->p.image, &inode, buf, FS_READ_MAX, &n);
	if (r) {
		fuse_reply_err(req, r == EROFS_RANGE ? E2BIG : reply_errno(r));
		return;
	}
	n = list_filter(f, buf, n);
	if (!size)
		fuse_reply_xattr(req, n);
	else if (n > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, buf, n);
}

const struct fuse_lowlevel_ops fs_ops = {
	.init = fs_op_init,
	.lookup = op_lookup,
	.forget = fs_op_forget,
	.forget_multi = fs_op_forget_multi,
	.getattr = op_getattr,
	.readlink = op_readlink,
	.open = fs_op_open,
	.opendir = op_opendir,
	.read = fs_op_read,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.statfs = op_statfs,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
};
