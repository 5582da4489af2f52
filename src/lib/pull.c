/* SPDX-License-Identifier: MIT */
/* An image's files as a directory of their own. */
#include "image/path.h"
#include "lib/extract.h"

#include <sys/stat.h>

void morsel_pull_options_init(struct morsel_pull_options *o)
{
	*o = (struct morsel_pull_options){.size = sizeof(*o)};
}

/* o may come from a program built against a smaller, older struct. */
static int options_take(const struct morsel_pull_options *o, struct morsel_pull_options *ret,
			struct error *err)
{
	morsel_pull_options_init(ret);
	if (!o)
		return 0;
	if (o->size < sizeof(size_t) || o->size > sizeof(*o))
		return error_set(err, -EINVAL,
				 "options: size %zu; call morsel_pull_options_init() first",
				 o->size);
	memcpy(ret, o, o->size);
	return 0;
}

/* The directory of the image that becomes DIR. path: PATH_LEN_MAX + 1 bytes, its name for
 * patterns. */
static int root_find(struct morsel_image *img, const char *prefix, char *path, uint64_t *ret_nid,
		     struct error *err)
{
	struct erofs_inode ino;
	size_t n;
	int r = path_clean(prefix, strlen(prefix), path, &n, err);

	if (r < 0)
		return -EINVAL;
	r = image_path_walk(&img->fs, path, 0, &ino);
	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
		return error_set(err, -ENOENT, "%s: no such directory in %s", prefix,
				 img->rv.ref->text);
	if (r < 0)
		return error_set(err, r, "the image's index is damaged");
	if (!S_ISDIR(ino.mode))
		return error_set(err, -ENOTDIR, "%s: not a directory in %s", prefix,
				 img->rv.ref->text);
	*ret_nid = ino.nid;
	return 0;
}

/* *ret stays NULL when there are none. */
static int patterns_take(const char *const *patterns, const char *what, struct ignore_list **ret,
			 struct error *err)
{
	int r = patterns && *patterns ? ignore_new(ret) : 0;

	for (; r >= 0 && patterns && *patterns; patterns++)
		r = ignore_add_pattern(*ret, *patterns, strlen(*patterns), what, err);
	return r;
}

static int image_pull(struct morsel_image *img, const char *dir,
		      const struct morsel_pull_options *o, char **ret_json, struct error *err)
{
	_cleanup_(ignore_freep) struct ignore_list *include = NULL, *exclude = NULL;
	struct extract_root root = {.nid = img->fs.root_nid, .name = ""};
	char root_path[PATH_LEN_MAX + 1] = "";
	struct extract_options eo = {
		.roots = &root,
		.n_roots = 1,
		.root_path = root_path,
		.overwrite = o->overwrite,
		.dest_fd = -1,
	};
	int r = patterns_take(o->include, "--include", &include, err);

	if (r >= 0)
		r = patterns_take(o->exclude, "--exclude", &exclude, err);
	if (r >= 0 && o->strip_prefix)
		r = root_find(img, o->strip_prefix, root_path, &root.nid, err);
	if (r < 0)
		return r;
	eo.include = include;
	eo.exclude = exclude;
	return image_extract(img, &eo, dir, ret_json, err);
}

int morsel_pull(struct morsel *m, const char *ref, const char *dir,
		const struct morsel_pull_options *options, char **ret_json,
		struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;
	struct morsel_pull_options o;
	struct morsel_image *img;
	int r = options_take(options, &o, &err);

	if (r >= 0)
		r = extract_check(dir, o.overwrite, &err);
	if (r < 0)
		return error_publish(r, &err, ret_err);
	r = morsel_image_open(m, ref, &img, ret_err);
	if (r < 0)
		return r;
	r = image_pull(img, dir, &o, ret_json, &err);
	morsel_image_close(img);
	return error_publish(r, &err, ret_err);
}
