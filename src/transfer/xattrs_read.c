/* SPDX-License-Identifier: MIT */
#include "transfer/xattrs_read.h"

#include <errno.h>
#include <stdio.h>
#include <sys/xattr.h>

#define LIST_MAX (64u << 10) /* the kernel's own bounds */
#define VALUE_MAX (64u << 10)

static bool starts(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

/* What means something on another machine. Labels, measurements and signatures of this one, and
 * the overlay's bookkeeping, do not. */
static bool is_kept(const char *name)
{
	if (starts(name, "trusted."))
		return !starts(name, "trusted.overlay.");
	if (starts(name, "user."))
		return !starts(name, "user.overlay.");
	if (starts(name, "security."))
		return strcmp(name, "security.selinux") && strcmp(name, "security.ima") &&
		       strcmp(name, "security.evm");
	return !strcmp(name, "system.posix_acl_access") ||
	       !strcmp(name, "system.posix_acl_default");
}

/* A descriptor opened with O_PATH has no attributes of its own; its link in /proc leads to the
 * file itself, also where that is a symlink. */
static void proc_path(int fd, char out[static 40])
{
	snprintf(out, 40, "/proc/self/fd/%d", fd);
}

static ssize_t list(int fd, char *names, size_t n)
{
	ssize_t got = flistxattr(fd, names, n);
	char path[40];

	if (got >= 0 || errno != EBADF)
		return got < 0 ? -errno : got;
	proc_path(fd, path);
	got = listxattr(path, names, n);
	return got < 0 ? -errno : got;
}

static ssize_t get(int fd, const char *name, void *value, size_t n)
{
	ssize_t got = fgetxattr(fd, name, value, n);
	char path[40];

	if (got >= 0 || errno != EBADF)
		return got < 0 ? -errno : got;
	proc_path(fd, path);
	got = getxattr(path, name, value, n);
	return got < 0 ? -errno : got;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct tar_xattr *)a)->name, ((const struct tar_xattr *)b)->name);
}

static int value_read(int fd, struct xattrs *x, const char *name)
{
	ssize_t n;
	int r = buf_reserve(&x->bytes, VALUE_MAX);

	if (r < 0)
		return r;
	n = get(fd, name, x->bytes.data + x->bytes.len, VALUE_MAX);
	if (n == -ENODATA || n == -EOPNOTSUPP) /* gone since it was listed */
		return 0;
	if (n < 0)
		return (int)n;
	/* GNU tar writes and restores both; umoci, podman and what else reads by Go take an empty
	 * value as none, and "%3D" in a name as it stands. */
	if (!n || strchr(name, '=')) {
		x->dropped++;
		return 0;
	}
	/* Values move while the buffer grows: an offset until all are here. */
	x->list[x->n++] = (struct tar_xattr){
		.name = name, .value = (const uint8_t *)x->bytes.len, .len = (size_t)n};
	x->bytes.len += (size_t)n;
	return 0;
}

int xattrs_read(int fd, struct xattrs *x)
{
	char probe[1];
	ssize_t n = list(fd, probe, 0);
	size_t count = 0;
	int r = 0;

	x->n = x->bytes.len = 0;
	x->dropped = 0;
	if (n == -EOPNOTSUPP || n == -ENOENT || !n) /* ENOENT: there is no /proc to ask by */
		return 0;
	if (n < 0)
		return (int)n;
	if (!x->names && !(x->names = malloc(LIST_MAX)))
		return -ENOMEM;
	n = list(fd, x->names, LIST_MAX);
	if (n < 0)
		return (int)n;
	for (char *p = x->names; p < x->names + n; p += strlen(p) + 1)
		count++;
	free(x->list);
	x->list = calloc(count + 1, sizeof(*x->list));
	if (!x->list)
		return -ENOMEM;
	for (char *p = x->names; p < x->names + n && r >= 0; p += strlen(p) + 1)
		if (is_kept(p))
			r = value_read(fd, x, p);
	for (size_t i = 0; i < x->n; i++)
		x->list[i].value = x->bytes.data + (size_t)x->list[i].value;
	if (x->n > 1)
		qsort(x->list, x->n, sizeof(*x->list), by_name);
	return r;
}

void xattrs_fini(struct xattrs *x)
{
	free(x->list);
	free(x->names);
	buf_fini(&x->bytes);
	*x = XATTRS_INIT;
}
