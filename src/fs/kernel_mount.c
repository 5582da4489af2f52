/* SPDX-License-Identifier: MIT */
/*
 * fsopen(2) and its like, never mount(8), which would put a loop device in between, nor mount(2),
 * whose options are one page. Files are named /proc/self/fd/N: the values are short, and whatever
 * happens to their names meanwhile, these are the files that were opened by digest.
 *
 * The mount table shows what was given as the source: a symlink of ours in the directory for
 * control sockets, which exists for the moment of mounting. It ends in KERNEL_SOURCE_SUFFIX, and by
 * that, and by being root's, the mount is known as ours.
 */
#include "fs/kernel_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "fs/control.h"
#include "fs/mount.h"

#define VALUE_MAX 255 /* of fsconfig(2) */

struct context {
	int fd;
	int code; /* -errno of the first thing that failed; 0 */
};

static void set(struct context *c, const char *key, const char *value)
{
	if (!c->code && fsconfig(c->fd, FSCONFIG_SET_STRING, key, value, 0) < 0)
		c->code = -errno;
}

static void set_number(struct context *c, const char *key, unsigned long n)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", n);
	set(c, key, text);
}

static void context_open(struct context *c, const char *type)
{
	c->fd = fsopen(type, FSOPEN_CLOEXEC);
	c->code = c->fd < 0 ? -errno : 0;
	if (!c->code && fsconfig(c->fd, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0)
		c->code = -errno;
}

/* The mount, attached to nothing yet; closes the context. */
static int context_mount(struct context *c, unsigned attributes)
{
	int fd = -1;

	if (!c->code && fsconfig(c->fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		c->code = -errno;
	if (!c->code) {
		fd = fsmount(c->fd, FSMOUNT_CLOEXEC, attributes);
		c->code = fd < 0 ? -errno : 0;
	}
	closep(&c->fd);
	return c->code ? c->code : fd;
}

/* ---- the devices that we serve ---- */

int devices_mount(int *ret_dir, struct error *err)
{
	_cleanup_(closep) int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	struct context c;
	int dir;

	if (fd < 0)
		return error_set_errno(err, -errno, "/dev/fuse");
	context_open(&c, "fuse");
	set(&c, "source", "morsel");
	set(&c, "subtype", "morsel");
	set_number(&c, "fd", (unsigned long)fd);
	set(&c, "rootmode", "40000");
	set_number(&c, "user_id", getuid());
	set_number(&c, "group_id", getgid());
	set_number(&c, "max_read", FS_READ_MAX);
	dir = context_mount(&c, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
					MOUNT_ATTR_NOEXEC);
	if (dir < 0)
		return error_set_errno(err, dir, "can't mount the layers' devices");
	*ret_dir = dir;
	return steal_fd(&fd);
}

/* ---- the image ---- */

static void device_name(const struct fs_kernel *k, uint32_t i, int devices_dir, char *ret, size_t n)
{
	if (k->device_fds[i] >= 0)
		snprintf(ret, n, "/proc/self/fd/%d", k->device_fds[i]);
	else
		snprintf(ret, n, "/proc/self/fd/%d/%u", devices_dir, i);
}

static int image_mount(const struct fs_kernel *k, const char *source, int devices_dir,
		       unsigned attributes)
{
	struct context c;
	char name[64];

	context_open(&c, "erofs");
	set(&c, "source", source);
	for (uint32_t i = 0; i < k->n_devices; i++) {
		device_name(k, i, devices_dir, name, sizeof(name));
		set(&c, "device", name);
	}
	return context_mount(&c, attributes);
}

int kernel_mount_unseen(const struct fs_kernel *k)
{
	char source[32];

	snprintf(source, sizeof(source), "/proc/self/fd/%d", k->image_fd);
	return image_mount(k, source, -1, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
}

/* The newest: mounts of others at the same time would only get what they don't mind. */
static void image_readahead_raise(void)
{
	char name[32];
	unsigned long newest = 0;

	if (mount_newest_bdi("erofs-", &newest)) {
		snprintf(name, sizeof(name), "erofs-%lu", newest);
		mount_readahead_raise(name);
	}
}

static int source_link(const struct fs_kernel *k, char path[static VALUE_MAX], struct error *err)
{
	char dir[PATH_MAX], target[32];
	int r = control_dir_make(dir, sizeof(dir), err);

	if (r < 0)
		return r;
	if (snprintf(path, VALUE_MAX, "%s/%s" KERNEL_SOURCE_SUFFIX, dir, k->name) >= VALUE_MAX)
		return error_set_errno(err, -ENAMETOOLONG, "%s", dir);
	snprintf(target, sizeof(target), "/proc/self/fd/%d", k->image_fd);
	unlink(path);
	return symlink(target, path) < 0 ? error_set_errno(err, -errno, "%s", path) : 0;
}

int kernel_mount(const struct fs_params *p, int devices_dir, const char *path, struct error *err)
{
	unsigned attributes = MOUNT_ATTR_RDONLY | (p->suid ? 0 : MOUNT_ATTR_NOSUID) |
			      (p->dev ? 0 : MOUNT_ATTR_NODEV) | (p->noexec ? MOUNT_ATTR_NOEXEC : 0);
	char source[VALUE_MAX];
	int fd, r = source_link(p->kernel, source, err);

	if (r < 0)
		return r;
	fd = image_mount(p->kernel, source, devices_dir, attributes);
	unlink(source);
	if (fd < 0)
		return error_set(err, -ENOTSUP,
				 "can't mount on %s: this kernel does not mount the image: %s; "
				 "use --backend fuse",
				 path, strerror(-fd));
	image_readahead_raise();
	r = move_mount(fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
	close(fd);
	return r < 0 ? error_set_errno(err, r, "can't mount on %s", path) : 0;
}
