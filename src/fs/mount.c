/* SPDX-License-Identifier: MIT */
/*
 * Permissions: root's mounts and those with allow_other have default_permissions, so the image's
 * modes and owners count as on any disk. A user's own mount does not, also when he is called root
 * in a user namespace: nobody else can enter it, and its owner may read everything, as in an
 * unpacked copy of his. The files there belong to users that he is not.
 */
#include "fs/mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_opt.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/userns.h"
#include "fs/control.h"
#include "fs/fusermount.h"
#include "fs/handover.h"
#include "fs/kernel_mount.h"

#define LOCK_TRIES 500
#define LOCK_PAUSE_NS (20 * NS_PER_MS)

static int already_mounted(const char *path, struct error *err)
{
	return error_set(err, -EBUSY,
			 "can't mount on %s: morsel has mounted an image there; morsel umount it "
			 "first",
			 path);
}

static bool is_morsel_mount(const char *path)
{
	struct mount_info m;

	return mountinfo_lookup(path, &m) >= 0 && mountinfo_is_ours(&m);
}

/* A mount of ours is seen before its directory is touched: its server may hang or be dead. */
static int mountpoint_check(const char *dir, char path[static PATH_MAX], struct error *err)
{
	struct stat st;

	if (path_resolve(dir, path, NULL) >= 0 && is_morsel_mount(path))
		return already_mounted(path, err);
	if (!realpath(dir, path))
		return error_set_errno(err, -errno, "can't mount on %s", dir);
	if (is_morsel_mount(path))
		return already_mounted(path, err);
	if (stat(path, &st) < 0)
		return error_set_errno(err, -errno, "can't mount on %s", path);
	if (!S_ISDIR(st.st_mode))
		return error_set(err, -ENOTDIR, "can't mount on %s: it is not a directory", path);
	return 0;
}

static int device_check(const char *path, struct error *err)
{
	if (access("/dev/fuse", F_OK) < 0)
		return error_set(err, -ENODEV,
				 "can't mount on %s: there is no /dev/fuse; load the kernel's "
				 "module fuse",
				 path);
	if (access("/dev/fuse", R_OK | W_OK) < 0)
		return error_set(err, -EACCES,
				 "can't mount on %s: you may not open /dev/fuse; ask for mode 0666 "
				 "on it",
				 path);
	return 0;
}

/* Of those that mount on one directory at once, one shall win and the others be told. The lock is
 * one of the user's own, held for a moment; without it (-1) things go on as well. */
static int mount_lock(const struct seam *s)
{
	char path[PATH_MAX];
	_cleanup_(closep) int fd = -1;

	if (control_dir_make(path, sizeof(path), NULL) < 0)
		return -1;
	strncat(path, "/mount.lock", sizeof(path) - strlen(path) - 1);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return steal_fd(&fd);
		s->sleep_until(s, s->monotonic_ns(s) + LOCK_PAUSE_NS);
	}
	return -1;
}

/* The kernel's default_permissions: see the top. Root of a user namespace is its owner. */
static bool modes_count(const struct fs_params *p)
{
	return p->allow_other || (!geteuid() && userns_is_initial());
}

static int root_mount(const struct fs_params *p, const char *path, struct error *err)
{
	_cleanup_(closep) int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	unsigned long flags = MS_RDONLY | (p->suid ? 0 : MS_NOSUID) | (p->dev ? 0 : MS_NODEV) |
			      (p->noexec ? MS_NOEXEC : 0);
	char options[160];

	if (fd < 0)
		return error_set_errno(err, -errno, "can't mount on %s: /dev/fuse", path);
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=%u,group_id=%u,max_read=%u%s%s", fd, getuid(),
		 getgid(), FS_READ_MAX, modes_count(p) ? ",default_permissions" : "",
		 p->allow_other ? ",allow_other" : "");
	if (!mount(p->fsname, path, "fuse.morsel", flags, options))
		return steal_fd(&fd);
	if (errno == EPERM)
		return error_set(err, -EPERM,
				 "can't mount on %s: the kernel does not let this root mount; a "
				 "container needs CAP_SYS_ADMIN for that",
				 path);
	return error_set_errno(err, -errno, "can't mount on %s", path);
}

/* Root, and who has root's right in a user namespace of his. Others need fusermount3. */
static bool mounts_itself(void)
{
	return !geteuid() || userns_may_mount();
}

static int user_mount(const struct fs_params *p, const char *path, struct error *err)
{
	_cleanup_(freep) char *fsname = NULL;
	char text[160], *options = NULL;
	int r;

	snprintf(text, sizeof(text), "ro,nosuid,nodev,subtype=morsel,max_read=%u%s%s", FS_READ_MAX,
		 p->noexec ? ",noexec" : "",
		 p->allow_other ? ",allow_other,default_permissions" : "");
	if (asprintf(&fsname, "fsname=%s", p->fsname) < 0) {
		fsname = NULL;
		return -ENOMEM;
	}
	r = fuse_opt_add_opt(&options, text) || fuse_opt_add_opt_escaped(&options, fsname);
	r = r ? -ENOMEM : fusermount_mount(path, options, err);
	free(options);
	return r;
}

void mount_readahead_raise(const char *bdi)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "/sys/class/bdi/%s/read_ahead_kb", bdi);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, "1024", 4) < 0) /* then it stays at 128 KiB: slower, not wrong */
		errno = 0;
	close(fd);
}

/* From here on whatever of ours is mounted there is taken away when we are killed. */
static int handover_announce(struct morsel_handover *h, const char *path, struct error *err)
{
	int r;

	if (!h)
		return 0;
	strcpy(h->s.path, path);
	h->s.mounting = true;
	r = handover_tell(h, -1, -1);
	return r < 0 ? error_set_errno(err, r, "can't reach the supervisor") : 0;
}

bool mount_newest_bdi(const char *prefix, unsigned long *ret)
{
	DIR *d = opendir("/sys/class/bdi");
	struct dirent *e;
	bool found = false;

	while (d && (e = readdir(d))) {
		unsigned long n;

		if (strncmp(e->d_name, prefix, strlen(prefix)) != 0)
			continue;
		n = strtoul(e->d_name + strlen(prefix), NULL, 10);
		*ret = found && *ret > n ? *ret : n;
		found = true;
	}
	if (d)
		closedir(d);
	return found;
}

int mount_make(const struct fs_params *p, int devices_dir, char path[static PATH_MAX],
	       struct mount_info *ret, struct error *err)
{
	_cleanup_(closep) int lock = -1;
	_cleanup_(closep) int fd = -1;
	char bdi[32];
	int r = mountpoint_check(p->mountpoint, path, err);

	if (r >= 0 && !p->kernel)
		r = device_check(path, err);
	if (r < 0)
		return r;
	lock = mount_lock(p->seam);
	if (is_morsel_mount(path))
		return already_mounted(path, err);
	r = handover_announce(p->handover, path, err);
	if (r < 0)
		return r;
	if (p->kernel)
		r = kernel_mount(p, devices_dir, path, err);
	else
		r = fd = mounts_itself() ? root_mount(p, path, err) : user_mount(p, path, err);
	if (r < 0)
		return r;
	r = mountinfo_lookup(path, ret);
	if (r < 0)
		mount_remove(path, true, NULL);
	else if (!mountinfo_is_ours(ret)) /* somebody was quick to mount on top */
		r = -EBUSY;
	if (r < 0)
		return error_set_errno(err, r, "can't mount on %s: looking it up afterwards", path);
	if (p->kernel)
		return 0;
	snprintf(bdi, sizeof(bdi), "%u:%u", major(ret->dev), minor(ret->dev));
	mount_readahead_raise(bdi);
	return steal_fd(&fd);
}

int mount_remove(const char *path, bool lazy, struct error *err)
{
	if (!mounts_itself())
		return fusermount_umount(path, lazy, err);
	if (!umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)))
		return 0;
	return errno == EBUSY ? -EBUSY : error_set_errno(err, -errno, "can't unmount %s", path);
}
