/* SPDX-License-Identifier: MIT */
#include "lib/image.h"

#define LIST_MAX ((size_t)64 << 10) /* what listxattr(2) can return at most */

static bool is_shown(const char *name)
{
	return strncmp(name, "trusted.overlay.", 16) != 0;
}

/* value_buf: LIST_MAX bytes, which is what a value has at most, too. */
static int xattrs_walk(const struct erofs *fs, const struct erofs_inode *inode, char *list,
		       char *value,
		       int (*fn)(void *userdata, const char *name, const void *value, size_t n),
		       void *userdata)
{
	size_t n = 0;
	int r = erofs_listxattr(fs, inode, list, LIST_MAX, &n);

	for (size_t at = 0; !r && at < n; at += strlen(list + at) + 1) {
		size_t len = 0;

		if (!is_shown(list + at))
			continue;
		r = erofs_getxattr(fs, inode, list + at, value, LIST_MAX, &len);
		if (r)
			return r < 0 ? r : -EBADMSG;
		r = fn(userdata, list + at, value, len);
	}
	return r == EROFS_RANGE ? -E2BIG : r;
}

int morsel_image_xattrs(struct morsel_image *img, uint64_t ino,
			int (*fn)(void *userdata, const char *name, const void *value, size_t n),
			void *userdata, struct morsel_error *ret_err)
{
	_cleanup_(freep) char *list = NULL, *value = NULL;
	struct error err = ERROR_INIT;
	struct erofs_inode inode;
	int r = image_inode_get(img, ino, &inode, &err);

	if (r >= 0 && img->fs.has_xattrs) {
		list = malloc(LIST_MAX);
		value = malloc(LIST_MAX);
		r = list && value ? xattrs_walk(&img->fs, &inode, list, value, fn, userdata)
				  : -ENOMEM;
	}
	return error_publish(r, &err, ret_err);
}
