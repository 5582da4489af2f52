/* SPDX-License-Identifier: MIT */
/*
 * Where a tree is built and how it gets its name. Normally beside the destination, under a name
 * nobody knows, and one rename at the end. What is itself a mount point, a symlink to a directory,
 * or in a directory that this user can't write, can only be filled from inside: the tree is built
 * in a directory there, and its entries are moved up at the end. So are those that are to be
 * merged with what is there: nothing is copied then any more, nothing is followed, and every name
 * shows what it had or what it gets.
 */
#include "transfer/extract_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#ifndef STATX_ATTR_MOUNT_ROOT
#define STATX_ATTR_MOUNT_ROOT 0x2000
#endif

static int fail(const struct place *pl, int code, struct error *err, const char *what)
{
	return error_set_errno(err, code, "%s: %s", pl->dest, what);
}

/* ---- what is there ---- */

/* Splits dest into the directory that holds it and its name there, which has none for "/", "." and
 * "..". */
static int parent_open(struct place *pl, struct error *err)
{
	_cleanup_(freep) char *dir = strdup(pl->dest);
	char *end, *slash;

	if (!dir)
		return -ENOMEM;
	for (end = dir + strlen(dir); end > dir + 1 && end[-1] == '/';)
		*--end = 0;
	slash = strrchr(dir, '/');
	pl->name = strdup(slash ? slash + 1 : dir);
	if (!pl->name)
		return -ENOMEM;
	if (!*pl->name || !strcmp(pl->name, ".") || !strcmp(pl->name, "..")) {
		free(pl->name);
		pl->name = NULL;
		return *pl->dest ? 0 : error_set(err, -EINVAL, "the directory has no name");
	}
	if (slash)
		slash[slash == dir] = 0;
	pl->parent_fd = open(slash ? dir : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (pl->parent_fd < 0)
		return fail(pl, -errno, err, "can't open the directory it would be in");
	stage_sweep(pl->parent_fd);
	return 0;
}

static bool only_from_inside(const struct place *pl)
{
	struct statx sx;
	struct stat st;

	if (!pl->name || fstatat(pl->parent_fd, pl->name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    S_ISLNK(st.st_mode))
		return true;
	return statx(pl->dest_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &sx) < 0 ||
	       sx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

static int dest_open(struct place *pl, bool overwrite, struct error *err)
{
	struct stat st;
	int r = parent_open(pl, err);

	if (r < 0)
		return r;
	pl->dest_fd = open(pl->dest, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (pl->dest_fd < 0 && errno == ENOENT && pl->name) {
		if (fstatat(pl->parent_fd, pl->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return 0;
		return error_set(err, -EEXIST, "%s: it is a symlink to nothing", pl->dest);
	}
	if (pl->dest_fd < 0)
		return fail(pl, -errno, err, "can't open it");
	stage_sweep(pl->dest_fd);
	pl->inside = only_from_inside(pl);
	r = beneath_holds_something(pl->dest_fd);
	if (r < 0)
		return fail(pl, r, err, "can't list it");
	if (r && !overwrite)
		return error_set(
			err, -EPERM,
			"%s: the directory is not empty; --overwrite merges the image into it",
			pl->dest);
	pl->merge = r || pl->inside;
	return 0;
}

int extract_check(const char *dest, bool overwrite, struct error *err)
{
	struct place pl = PLACE_INIT(dest);
	int r = dest_open(&pl, overwrite, err);

	place_fini(&pl);
	return r;
}

/* ---- the directory to build in ---- */

static int given_take(struct place *pl, int dest_fd, struct error *err)
{
	pl->inside = pl->merge = pl->keep = true;
	pl->dest_fd = fcntl(dest_fd, F_DUPFD_CLOEXEC, 3);
	if (pl->dest_fd < 0)
		return fail(pl, -errno, err, "can't open it");
	stage_sweep(pl->dest_fd);
	return 0;
}

int place_open(struct place *pl, const char *dest, const struct extract_options *o,
	       struct error *err)
{
	int r;

	*pl = PLACE_INIT(dest);
	r = o->dest_fd >= 0 ? given_take(pl, o->dest_fd, err) : dest_open(pl, o->overwrite, err);
	if (r < 0)
		return r;
	r = stage_open(&pl->stage, pl->inside ? pl->dest_fd : pl->parent_fd, o->seam);
	if (pl->dest_fd >= 0 && !pl->inside && (r == -EACCES || r == -EPERM || r == -EROFS)) {
		pl->inside = pl->merge = true;
		r = stage_open(&pl->stage, pl->dest_fd, o->seam);
	}
	return r < 0 ? fail(pl, r, err, "can't make a directory to build it in") : 0;
}

void place_fini(struct place *pl)
{
	stage_fini(&pl->stage);
	closep(&pl->dest_fd);
	closep(&pl->parent_fd);
	free(pl->name);
	*pl = PLACE_INIT(NULL);
}

/* ---- merging ---- */

struct merging {
	struct place *pl;
	struct plan *plan;
	struct beneath from, to;
	dev_t dev; /* of the destination */
	struct error *err;
};

static int merge_fail(struct merging *mg, int code, const char *path, const char *what)
{
	return error_set_errno(mg->err, code, "%.300s/%.300s: %s", mg->pl->dest, path, what);
}

/* What has the name of a node now. 0; 1: nothing. */
static int there_get(struct merging *mg, const char *path, const char **ret_name, struct stat *ret)
{
	int r = beneath_parent(&mg->to, path, ret_name);

	if (r < 0)
		return merge_fail(mg, r, path, "can't open the directory it is in");
	if (!fstatat(mg->to.fd, *ret_name, ret, AT_SYMLINK_NOFOLLOW))
		return 0;
	return errno == ENOENT ? 1 : merge_fail(mg, -errno, path, "can't look at it");
}

static int check_kind(struct merging *mg, const struct plan_node *node, const char *path,
		      mode_t there)
{
	if (node->is_dir && !S_ISDIR(there))
		return error_set(mg->err, -ENOTDIR, "%.300s/%.300s: it exists, and is no directory",
				 mg->pl->dest, path);
	if (!node->is_dir && S_ISDIR(there))
		return error_set(mg->err, -EISDIR,
				 "%.300s/%.300s: a file can't replace the directory there",
				 mg->pl->dest, path);
	return 0;
}

static int check_one(struct merging *mg, struct plan_node *node, const char *path)
{
	const char *name;
	struct stat st;
	int fd, r = there_get(mg, path, &name, &st);

	node->merged = !r && node->is_dir && S_ISDIR(st.st_mode);
	if (!r && mg->pl->keep)
		r = check_kind(mg, node, path, st.st_mode);
	if (r || !S_ISDIR(st.st_mode))
		return r < 0 ? r : 0;
	if (st.st_dev != mg->dev)
		return error_set(mg->err, -EXDEV,
				 "%.300s/%.300s: another filesystem is mounted there; what it is "
				 "to hold must be copied there by itself",
				 mg->pl->dest, path);
	if (node->is_dir)
		return 0;
	fd = beneath_open(mg->to.fd, name, O_PATH);
	r = fd < 0 ? fd : beneath_holds_something(fd);
	closep(&fd);
	if (r < 0)
		return merge_fail(mg, r, path, "can't look at it");
	return r ? error_set(mg->err, -EPERM,
			     "%.300s/%.300s: it is a directory that holds something, and the image "
			     "has a file there; remove it first",
			     mg->pl->dest, path)
		 : 0;
}

/* NOREPLACE where the filesystem knows that. */
static int move_new(struct merging *mg, const char *name)
{
	if (!renameat2(mg->from.fd, name, mg->to.fd, name, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	return renameat(mg->from.fd, name, mg->to.fd, name) < 0 ? -errno : 0;
}

static int move_over(struct merging *mg, const struct plan_node *node, const struct stat *st,
		     const char *name)
{
	if (!node->is_dir && !S_ISDIR(st->st_mode))
		return renameat(mg->from.fd, name, mg->to.fd, name) < 0 ? -errno : 0;
	/* the old one is removed with the directory that the new one was built in */
	if (node->is_dir && !renameat2(mg->from.fd, name, mg->to.fd, name, RENAME_EXCHANGE))
		return 0;
	if (unlinkat(mg->to.fd, name, node->is_dir ? 0 : AT_REMOVEDIR) < 0)
		return -errno;
	return move_new(mg, name);
}

/* What it is to have in the end is set when all is in it. */
static int entries_allow(int fd, const char *name, const struct stat *st)
{
	if (!geteuid() || geteuid() != st->st_uid || (st->st_mode & 0300) == 0300)
		return 0;
	return fchmodat(fd, name, (st->st_mode & 07777) | 0300, AT_SYMLINK_NOFOLLOW) < 0 ? -errno
											 : 0;
}

static int move_one(struct merging *mg, struct plan_node *node, const char *path)
{
	const char *name;
	struct stat st;
	int r = there_get(mg, path, &name, &st);

	node->merged = !r && node->is_dir && S_ISDIR(st.st_mode);
	if (node->merged) {
		r = entries_allow(mg->to.fd, name, &st);
		return r < 0 ? merge_fail(mg, r, path, "can't be written to") : 0;
	}
	if (r < 0 || node->absent)
		return r < 0 ? r : 0;
	if (!r && mg->pl->keep) { /* it came after the check */
		r = check_kind(mg, node, path, st.st_mode);
		if (r < 0)
			return r;
	}
	if (beneath_parent(&mg->from, path, &name) < 0)
		return merge_fail(mg, -EIO, path, "what was built is gone");
	r = r ? move_new(mg, name) : move_over(mg, node, &st, name);
	return r < 0 ? merge_fail(mg, r, path, "can't be put there") : 0;
}

/* Whatever is in a directory that was there before; the rest moved with its parent. */
static int merge_each(struct place *pl, struct plan *p,
		      int (*fn)(struct merging *mg, struct plan_node *node, const char *path),
		      struct error *err)
{
	struct merging mg = {.pl = pl,
			     .plan = p,
			     .from = BENEATH_INIT(pl->stage.fd),
			     .to = BENEATH_INIT(pl->dest_fd),
			     .err = err};
	struct stat st;
	int r = fstat(pl->dest_fd, &st) < 0 ? fail(pl, -errno, err, "can't look at it") : 0;

	mg.dev = st.st_dev;
	p->nodes[0].merged = true;
	for (uint32_t i = 1; i < p->n && r >= 0; i++) {
		char path[PATH_LEN_MAX + 1];

		p->nodes[i].merged = false;
		if (!p->nodes[i].kept || !p->nodes[p->nodes[i].parent].merged)
			continue;
		plan_path(p, i, path);
		r = fn(&mg, &p->nodes[i], path);
	}
	beneath_fini(&mg.from);
	beneath_fini(&mg.to);
	return r;
}

int place_check_merge(struct place *pl, struct plan *p, struct error *err)
{
	return pl->merge ? merge_each(pl, p, check_one, err) : 0;
}

/* Who is not root can give a directory another parent only while he may write to it. */
static int tree_move(const struct place *pl, unsigned flags)
{
	const struct stage *st = &pl->stage;
	struct stat sb;
	int r;

	if (!renameat2(st->box_fd, STAGE_TREE, pl->parent_fd, pl->name, flags))
		return 0;
	if (errno != EACCES || fstat(st->fd, &sb) < 0 || sb.st_mode & S_IWUSR ||
	    fchmod(st->fd, sb.st_mode | S_IWUSR) < 0)
		return -errno;
	r = renameat2(st->box_fd, STAGE_TREE, pl->parent_fd, pl->name, flags) < 0 ? -errno : 0;
	return fchmod(st->fd, sb.st_mode) < 0 && !r ? -errno : r;
}

int place_commit(struct place *pl, struct plan *p, struct error *err)
{
	struct stat st;
	int r;

	if (pl->merge) {
		r = fstat(pl->dest_fd, &st) < 0 ? -errno : entries_allow(pl->dest_fd, ".", &st);
		return r < 0 ? fail(pl, r, err, "can't be written to")
			     : merge_each(pl, p, move_one, err);
	}
	/* over an empty directory and nothing else */
	r = tree_move(pl, pl->dest_fd >= 0 ? 0 : RENAME_NOREPLACE);
	if ((r == -EINVAL || r == -ENOSYS) && pl->dest_fd < 0 &&
	    !mkdirat(pl->parent_fd, pl->name, 0700))
		r = tree_move(pl, 0);
	if (r < 0)
		return fail(pl, r, err, "the finished tree can't take its name");
	closep(&pl->stage.fd); /* no longer what is to be cleared */
	pl->stage.fd = -1;
	return 0;
}
