/* SPDX-License-Identifier: MIT */
#include "lib/profile_names.h"

#include <errno.h>
#include <sys/stat.h>

#include "image/erofs_paths.h"

struct named_image {
	const struct morsel_image *img;
	uint32_t id;
	struct erofs_paths *paths;
	char (*layers)[DIGEST_TEXT_MAX];
};

static const struct named_image *image_find(const struct profile_names *p, uint32_t id)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->images[i].id == id)
			return &p->images[i];
	return NULL;
}

static const char *name_image(void *userdata, uint32_t image)
{
	const struct named_image *im = image_find(userdata, image);

	return im ? im->img->rv.ref->text : NULL;
}

static const char *name_path(void *userdata, uint32_t image, uint64_t ino)
{
	const struct named_image *im = image_find(userdata, image);
	const char *path = im ? erofs_paths_get(im->paths, ino) : NULL;

	return path ? path : "(unknown)";
}

static bool name_where(void *userdata, uint32_t image, uint64_t ino, uint64_t off,
		       uint32_t *ret_layer, uint64_t *ret_dev_off)
{
	const struct named_image *im = image_find(userdata, image);
	struct erofs_inode inode;
	uint64_t len;

	return im && erofs_inode_get(&im->img->fs, ino, &inode) >= 0 && S_ISREG(inode.mode) &&
	       off < inode.size &&
	       erofs_map(&im->img->fs, &inode, off, 1, ret_layer, ret_dev_off, &len) == 0;
}

static const char *name_layer(void *userdata, uint32_t image, uint32_t layer)
{
	const struct named_image *im = image_find(userdata, image);

	return im && layer < im->img->rv.manifest->n_layers ? im->layers[layer] : "";
}

static void name_process(void *userdata, uint32_t process, struct process *ret)
{
	process_get(process, ret);
}

/* ---- making ---- */

static int image_init(struct named_image *im, const struct access_row *rows, size_t n_rows,
		      const struct trace_log *log)
{
	_cleanup_(freep) uint64_t *nids = calloc(n_rows + log->n + 1, sizeof(*nids));
	uint32_t layers = im->img->rv.manifest->n_layers;
	size_t n = 0;

	im->layers = calloc(layers + 1, sizeof(*im->layers));
	if (!nids || !im->layers)
		return -ENOMEM;
	for (uint32_t i = 0; i < layers; i++)
		digest_format(&im->img->layers[i].desc->desc.digest, im->layers[i]);
	for (size_t i = 0; i < n_rows; i++)
		if (rows[i].image == im->id && rows[i].ino)
			nids[n++] = rows[i].ino;
	for (size_t i = 0; i < log->n; i++)
		if (log->events[i].kind == TRACE_FUSE && log->events[i].image == im->id)
			nids[n++] = log->events[i].fuse.ino;
	return erofs_paths_new(&im->img->fs, nids, n, &im->paths);
}

int profile_names_init(struct profile_names *ret, struct morsel_image *const *images, size_t n,
		       const struct access_row *rows, size_t n_rows, const struct trace_log *log)
{
	*ret = (struct profile_names){.names = {.userdata = ret,
						.image = name_image,
						.path = name_path,
						.where = name_where,
						.layer = name_layer,
						.process = name_process},
				      .images = calloc(n + 1, sizeof(*ret->images))};
	if (!ret->images)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		struct named_image *im = &ret->images[ret->n++];
		int r;

		im->img = images[i];
		im->id = access_id(images[i]->access);
		r = image_init(im, rows, n_rows, log);
		if (r < 0)
			return r;
	}
	return 0;
}

void profile_names_fini(struct profile_names *p)
{
	for (size_t i = 0; i < p->n; i++) {
		erofs_paths_free(p->images[i].paths);
		free(p->images[i].layers);
	}
	free(p->images);
	*p = (struct profile_names){0};
}
