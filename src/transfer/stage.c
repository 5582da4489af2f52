/* SPDX-License-Identifier: MIT */
/*
 * What is swept must have been made here, whoever may rename things in the directory it is in: only
 * its owner can have put a STAGE_TREE, and nothing else, into a directory of mode 0700. Between
 * mkdir(2) and flock(2) somebody who sweeps can take a new one away; its maker notices, and makes
 * another.
 */
#include "transfer/stage.h"

#include <errno.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/dir.h"
#include "transfer/beneath.h"

#define PREFIX ".morsel-pull."
#define ID_DIGITS 16
#define TRIES 16

/* ---- making ---- */

/* 1: swept away. */
static int box_lock(struct stage *st)
{
	struct stat mine, named;

	if (flock(st->box_fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return 1;
	if (fstat(st->box_fd, &mine) < 0 ||
	    fstatat(st->at_fd, st->name, &named, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 1 : -errno;
	return mine.st_ino != named.st_ino || mine.st_dev != named.st_dev;
}

/* Opened and found to be what was made: empty and ours. 1: swept away. */
static int box_open(struct stage *st)
{
	struct stat sb;
	int r;

	st->box_fd = openat(st->at_fd, st->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (st->box_fd < 0 || fstat(st->box_fd, &sb) < 0)
		return errno == ENOENT ? 1 : -errno;
	r = beneath_holds_something(st->box_fd);
	if (r == -ENOENT)
		return 1;
	if (r || sb.st_uid != geteuid())
		return r < 0 ? r : -EEXIST;
	return box_lock(st);
}

/* Nothing is inherited from what it is in: ACLs, a setgid bit. */
static int tree_make(struct stage *st)
{
	(void)!fremovexattr(st->box_fd, "system.posix_acl_default");
	(void)!fremovexattr(st->box_fd, "system.posix_acl_access");
	if (fchmod(st->box_fd, 0700) < 0 || mkdirat(st->box_fd, STAGE_TREE, 0700) < 0)
		return -errno;
	st->fd = openat(st->box_fd, STAGE_TREE, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return st->fd < 0 ? -errno : 0;
}

int stage_open(struct stage *st, int at_fd, const struct seam *s)
{
	int r = 1;

	*st = STAGE_INIT;
	st->at_fd = at_fd;
	for (int i = 0; i < TRIES && r > 0; i++) {
		uint64_t id;

		closep(&st->box_fd);
		st->box_fd = -1;
		s->random(s, &id, sizeof(id));
		snprintf(st->name, sizeof(st->name), PREFIX "%016llx", (unsigned long long)id);
		if (mkdirat(at_fd, st->name, 0700) < 0) {
			st->name[0] = 0;
			return -errno;
		}
		r = box_open(st);
	}
	if (!r)
		return tree_make(st);
	if (r < 0 && r != -EEXIST) /* else it is somebody else's by now */
		unlinkat(at_fd, st->name, AT_REMOVEDIR);
	closep(&st->box_fd);
	st->box_fd = -1;
	st->name[0] = 0;
	return r < 0 ? r : -EAGAIN;
}

void stage_clear(struct stage *st)
{
	if (!st->name[0])
		return;
	if (st->fd >= 0)
		(void)!fchmod(st->fd, 0700);
	beneath_clear(st->box_fd);
	unlinkat(st->at_fd, st->name, AT_REMOVEDIR);
	st->name[0] = 0;
}

void stage_fini(struct stage *st)
{
	stage_clear(st);
	closep(&st->fd);
	closep(&st->box_fd);
	*st = STAGE_INIT;
}

/* ---- sweeping ---- */

static bool name_is_ours(const char *name)
{
	size_t n = sizeof(PREFIX) - 1;

	return !strncmp(name, PREFIX, n) && strspn(name + n, "0123456789abcdef") == ID_DIGITS &&
	       !name[n + ID_DIGITS];
}

static bool holds_a_tree_at_most(int dir_fd)
{
	_cleanup_(closedirp) DIR *dir = dir_open(dir_fd, ".");
	bool yes = dir != NULL;
	const struct dirent *d;

	while (yes && (d = dir_next(dir)))
		yes = !strcmp(d->d_name, STAGE_TREE);
	return yes;
}

static void left_remove(int at_fd, const char *name)
{
	_cleanup_(closep) int fd =
		openat(at_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 0777) != 0700 ||
	    flock(fd, LOCK_EX | LOCK_NB) < 0 || !holds_a_tree_at_most(fd))
		return;
	beneath_clear(fd);
	unlinkat(at_fd, name, AT_REMOVEDIR);
}

void stage_sweep(int dir_fd)
{
	_cleanup_(closedirp) DIR *dir = dir_open(dir_fd, ".");
	const struct dirent *d;

	while (dir && (d = dir_next(dir)))
		if (name_is_ours(d->d_name))
			left_remove(dir_fd, d->d_name);
}
