/* SPDX-License-Identifier: MIT */
#include "transfer/layer_before.h"

#include <errno.h>
#include <stdio.h>

#include "base/seam.h"
#include "base/utf8.h"
#include "transfer/layer_fill.h"
#include "transfer/tree_walk.h"

#define IGNORE_FILE ".dockerignore"
#define IGNORE_BYTES_MAX ((size_t)4 << 20)

int layer_source_ignore(const struct layer_source *s, struct ignore_list **ret, struct error *err)
{
	_cleanup_(ignore_freep) struct ignore_list *l = NULL;
	_cleanup_(freep) char *text = NULL;
	size_t n = 0;
	char name[PATH_LEN_MAX + 1];
	int r = ignore_new(&l);

	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "%s/%s", s->root_name, IGNORE_FILE);
	if (s->ignore_text)
		r = ignore_add_text(l, s->ignore_text, s->ignore_len, s->ignore_name, err);
	else if (s->use_ignore_file) {
		r = seam_read_file(seam_real(), s->root_fd, IGNORE_FILE, IGNORE_BYTES_MAX, &text,
				   &n);
		if (r == -ENOENT)
			r = 0;
		else if (r < 0)
			return error_set_errno(err, r, "can't read %s", name);
		else
			r = ignore_add_text(l, text, n, name, err);
	}
	for (size_t i = 0; i < s->n_excludes && r >= 0; i++)
		r = ignore_add_pattern(l, s->excludes[i], strlen(s->excludes[i]), "--exclude", err);
	if (r >= 0)
		*ret = steal_ptr(l);
	return r;
}

int layer_source_prefix(const struct layer_source *s, char out[static PATH_LEN_MAX + 1],
			struct error *err)
{
	const char *prefix = s->prefix ? s->prefix : "";
	size_t n;

	if (path_clean(prefix, strlen(prefix), out, &n, NULL) < 0)
		return error_set(err, -EINVAL, "\"%s\" is not a place inside an image", prefix);
	return 0;
}

int layer_walk_beforehand(const struct layer_source *source, const char *prefix,
			  const struct ignore_list *ignore, const _Atomic bool *cancel,
			  int (*entry)(void *userdata, const struct tar_header *h, int fd,
				       struct error *err),
			  void *userdata, struct error *err)
{
	struct tree_walk_options o = {.root_fd = source->root_fd,
				      .root_name = source->root_name,
				      .prefix = prefix,
				      .ignore = ignore,
				      .set_owner = source->set_owner,
				      .uid = source->uid,
				      .gid = source->gid,
				      .allow_changed = true,
				      .clamp_mtime = source->clamp_mtime,
				      .mtime_max_s = source->mtime_max_s,
				      .entry = entry,
				      .userdata = userdata,
				      .cancel = cancel};
	_cleanup_(tree_walk_freep) struct tree_walk *walk = NULL;
	int r = tree_walk_new(&o, &walk);

	return r < 0 ? r : tree_walk_all(walk, err);
}

static int estimate_entry(void *userdata, const struct tar_header *h, int fd, struct error *err)
{
	struct layer_estimate *e = userdata;

	e->entries++;
	e->raw_bytes += TAR_BLOCK_BYTES + align_up(h->size, TAR_BLOCK_BYTES);
	return 0;
}

int layer_estimate(const struct layer_source *source, const _Atomic bool *cancel,
		   struct layer_estimate *ret, struct error *err)
{
	_cleanup_(ignore_freep) struct ignore_list *ignore = NULL;
	struct layer_estimate e = {0};
	char prefix[PATH_LEN_MAX + 1];
	int r = layer_source_prefix(source, prefix, err);

	if (r >= 0)
		r = layer_source_ignore(source, &ignore, err);
	if (r >= 0)
		r = layer_walk_beforehand(source, prefix, ignore, cancel, estimate_entry, &e, err);
	if (r >= 0)
		*ret = e;
	return r;
}

bool layer_header_is_text(const struct tar_header *h)
{
	return utf8_is_text(h->path) && (!h->link || utf8_is_text(h->link));
}

static int text_entry(void *userdata, const struct tar_header *h, int fd, struct error *err)
{
	return layer_header_is_text(h) ? 0 : -EILSEQ;
}

/* Readers of a table that can't hold a name can only take the layer as one without, and then show
 * what the format put in for its own use: so it becomes one without. */
int layer_table_or_not(struct layer_params *p, const struct layer_source *source,
		       const char *prefix, const struct ignore_list *ignore, struct error *err)
{
	int r = 0;

	if (!layer_has_table(p->compression))
		return 0;
	if (!p->look)
		r = layer_walk_beforehand(source, prefix, ignore, p->cancel, text_entry, NULL, err);
	else if (!p->look->text)
		r = -EILSEQ;
	if (r != -EILSEQ)
		return r;
	p->compression = p->compression == LAYER_COMPRESS_ESTARGZ ? LAYER_COMPRESS_GZIP
								  : LAYER_COMPRESS_ZSTD;
	log_write(p->log, LOG_WARN,
		  "%s has names that are not UTF-8, which no table of contents can hold: its layer "
		  "is written as plain %s",
		  source->root_name, layer_compression_name(p->compression));
	return 0;
}
