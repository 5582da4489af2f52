/* SPDX-License-Identifier: MIT */
#include "lib/prefetch_list.h"

#include <sys/stat.h>

/* The spans that hold a device range. */
static int range_add(struct morsel_image *img, uint32_t layer, uint64_t dev_off, uint64_t len,
		     struct order *ret)
{
	const struct layer_index *ix;
	uint64_t from, end;

	if (layer >= img->rv.manifest->n_layers)
		return -EBADMSG;
	ix = layer_tables(img->layers[layer].layer);
	from = end = layer_index_chunk_at(ix, dev_off);
	while (end < ix->header.n_chunks && ix->chunks[end].dev_off < dev_off + len)
		end++;
	if (from == end)
		return 0;
	return order_add(ret, layer, ix->chunks[from].span,
			 (uint64_t)ix->chunks[end - 1].span_last - ix->chunks[from].span + 1);
}

static int path_add(struct morsel_image *img, const char *path, struct order *ret)
{
	struct erofs_inode ino;
	uint64_t off = 0, dev_off, len;
	uint32_t device;
	int r = image_path_walk(&img->fs, path, 0, &ino);

	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP || (r >= 0 && !S_ISREG(ino.mode)))
		return 0;
	for (; r >= 0 && off < ino.size; off += len) {
		r = erofs_map(&img->fs, &ino, off, ino.size - off, &device, &dev_off, &len);
		if (!r)
			r = range_add(img, device, dev_off, len, ret);
	}
	return r < 0 ? r : 0;
}

int prefetch_list_read(struct morsel_image *img, const char *file, struct order *ret,
		       struct error *err)
{
	_cleanup_(freep) char *text = NULL;
	char *line, *next;
	size_t n;
	int r = seam_read_file(img->m->seam, AT_FDCWD, file, PREFETCH_LIST_BYTES_MAX, &text, &n);

	if (r < 0)
		return error_set(err, r == -EACCES || r == -ENOENT ? r : -EINVAL,
				 "can't read the prefetch list %s: %s", file,
				 r == -E2BIG ? "more than 16 MiB" : strerror(-r));
	for (line = text; line && r >= 0; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		if (*line)
			r = path_add(img, line, ret);
	}
	return r < 0 ? error_set_errno(err, r, "the prefetch list %s", file) : 0;
}
