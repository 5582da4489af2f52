/* SPDX-License-Identifier: MIT */
/*
 * The kernel as the server: it reads the merged index and the layers' data without us. So a layer
 * becomes its device only when all of it is there and was verified just now, to the last byte; the
 * others are served as devices by us, chunk by verified chunk. And what FUSE hides by looking at
 * every answer must not be in the image at all.
 */
#include "lib/backend.h"

#include "fs/handover.h"
#include "fs/kernel_mount.h"

#define REPORT_NS (100 * NS_PER_MS)

static int hidden_refuse(const struct erofs *fs, bool suid, struct error *err)
{
	if (erofs_may_have_xattr(fs, "trusted.overlay.", true))
		return error_set(err, -ENOTSUP,
				 "--backend kernel: the image has attributes trusted.overlay.*, "
				 "which only FUSE can hide; use --backend fuse");
	if (!suid && erofs_may_have_xattr(fs, "security.capability", false))
		return error_set(err, -ENOTSUP,
				 "--backend kernel: the image has file capabilities, which only "
				 "FUSE can hide; use --backend fuse, or let them count with "
				 "--suid");
	return 0;
}

/* 0: its file can be a device. LAYER_NOT_READY: it is served. */
static int layer_whole(struct morsel_image *img, struct layer *l, struct index_progress *p,
		       uint64_t *report_at, struct error *err)
{
	const struct seam *s = img->m->seam;
	const struct layer_index *ix = layer_tables(l);
	uint64_t at = 0;
	int r = layer_claim_whole(l);

	while (!r) {
		uint64_t was = at;

		r = layer_whole_next(l, &at);
		if (at > was)
			atomic_fetch_add(&p->done_bytes, ix->chunks[was].len);
		if (!r && s->monotonic_ns(s) >= *report_at) {
			*report_at = s->monotonic_ns(s) + REPORT_NS;
			r = progress_report(img->m, "verify", p, err);
		}
	}
	if (r == -ECANCELED)
		return r;
	if (r < 0)
		log_write(&img->m->log, LOG_WARN,
			  "a layer can't be read for the kernel (%s); it is served instead",
			  strerror(-r));
	return r == LAYER_WHOLE ? 0 : LAYER_NOT_READY;
}

static int layers_whole(struct morsel_image *img, struct backend *b, struct error *err)
{
	uint32_t n = img->rv.manifest->n_layers;
	struct index_progress p = {.layers_total = n};
	uint64_t report_at = 0;

	for (uint32_t i = 0; i < n; i++)
		p.total_bytes += layer_present_bytes(img->layers[i].layer);
	for (uint32_t i = 0; i < n; i++) {
		struct layer *l = img->layers[i].layer;
		int r = layer_whole(img, l, &p, &report_at, err);

		if (r < 0)
			return r;
		b->device_fds[i] = r ? -1 : layer_data_fd(l);
		atomic_fetch_add(&p.layers_done, 1);
	}
	return 0;
}

int backend_prepare(struct morsel_image *img, const struct morsel_mount_options *o,
		    struct backend *ret, struct error *err)
{
	uint32_t n = img->rv.manifest->n_layers;
	int r;

	digest_format_hex(&img->rv.digest, ret->name);
	ret->device_fds = malloc((n + 1) * sizeof(int));
	if (!ret->device_fds)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		ret->device_fds[i] = -1;
	ret->kernel = (struct fs_kernel){.image_fd = img->map.fd,
					 .device_fds = ret->device_fds,
					 .n_devices = n,
					 .name = ret->name};
	if (o->handover && o->handover->s.mounted) {
		for (uint32_t i = 0; i < n; i++)
			layer_claim(img->layers[i].layer);
		return 0;
	}
	r = img->map.fd < 0 ? error_set(err, -ENOTSUP,
					"--backend kernel: the image's index is in no file; use "
					"--backend fuse")
			    : kernel_check(cache_dir(img->m->cache), err);
	if (r >= 0)
		r = hidden_refuse(&img->fs, o->suid, err);
	return r < 0 ? r : layers_whole(img, ret, err);
}

void backend_fini(struct backend *b)
{
	free(b->device_fds);
	*b = (struct backend){0};
}
