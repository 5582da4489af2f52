/* SPDX-License-Identifier: MIT */
/*
 * Layers from bytes: merged, compared with the reference model, written, read back and compared.
 * Each entry takes: type, flags, depth and names, link.
 */
#include "../unit/erofs_check.h"
#include "../unit/merge_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENTRIES_MOST 48

struct input {
	const uint8_t *p, *end;
};

static unsigned take(struct input *in, unsigned below)
{
	return in->p < in->end ? *in->p++ % below : 0;
}

static size_t take_path(struct input *in, char *out)
{
	static const char *const names[] = {"a", "b", "c", "aa", "..x", "-", "d", ".wh..wh.plnk"};
	unsigned depth = 1 + take(in, 4);
	size_t n = 0;

	for (unsigned i = 0; i < depth; i++)
		n += (size_t)sprintf(out + n, "%s%s", i ? "/" : "",
				     names[take(in, ARRAY_SIZE(names))]);
	return n;
}

static size_t take_text(struct input *in, char *out)
{
	static const char *const parts[] = {"a", "b", "/", "../", "./", "c", "//", "d/"};
	unsigned count = 1 + take(in, 6);
	size_t n = 0;

	for (unsigned i = 0; i < count; i++)
		n += (size_t)sprintf(out + n, "%s", parts[take(in, ARRAY_SIZE(parts))]);
	return n;
}

static void take_entry(struct input *in, struct layer_builder *b, int64_t stamp)
{
	static const char types[] = "ffdddlhhwopbc";
	struct layer_entry e = {.mtime_s = stamp};
	unsigned flags;
	char path[256], link[256];
	size_t path_len, link_len = 0;

	layer_text_type(&e, types[take(in, sizeof(types) - 1)]);
	flags = take(in, 256);
	path_len = take_path(in, path);
	if (S_ISCHR(e.mode))
		e.rdev_minor = flags & 1;
	if (S_ISREG(e.mode))
		e.size = flags * 100;
	e.mode = e.mode ? (e.mode & S_IFMT) | flags : 0;
	if (memmem(path, path_len, ".wh..wh.", 8) &&
	    !(e.flags & (ENTRY_WHITEOUT | ENTRY_OPAQUE_MARK)))
		e.flags |= ENTRY_HIDDEN;
	else if (S_ISDIR(e.mode) && flags & 1)
		e.flags |= ENTRY_OPAQUE;
	if (e.flags & ENTRY_HARDLINK)
		link_len = take_path(in, link);
	if (S_ISLNK(e.mode))
		link_len = take_text(in, link);
	if (S_ISDIR(e.mode) && flags == 255)
		path_len = 0;
	layer_add(b, e, path, path_len, link, link_len, NULL);
}

static void compare(const struct model *m, struct tree *t)
{
	struct buf image = BUF_INIT;
	struct error err = ERROR_INIT;

	model_compare(m, t);
	MUST(!check_write(t, &image, &err));
	check_image(t, 0, image.data, image.len);
	buf_fini(&image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	struct buf bytes[LAYERS_MOST] = {0};
	struct layer_index layers[LAYERS_MOST];
	uint32_t n = 1 + take(&in, LAYERS_MOST);
	struct error err = ERROR_INIT;
	struct tree *t = NULL;
	struct model m;
	int r;

	for (uint32_t i = 0; i < n; i++) {
		struct layer_builder *b;

		MUST(!layer_builder_new(LAYER_GZIP, ENTRIES_MOST, &b));
		for (unsigned left = take(&in, ENTRIES_MOST); left && in.p < in.end; left--)
			take_entry(&in, b, i * 100 + left);
		layer_done(b, &bytes[i], &layers[i]);
		layer_builder_free(b);
	}
	r = tree_merge(layers, n, UINT64_MAX, &t, &err);
	/* Of several reasons to refuse the model may meet another one first. */
	MUST((r < 0) == (model_merge(&m, layers, n) < 0));
	MUST(err.code == r);
	if (!r)
		compare(&m, t);
	tree_free(t);
	model_fini(&m);
	for (uint32_t i = 0; i < n; i++)
		buf_fini(&bytes[i]);
	return 0;
}
