/* SPDX-License-Identifier: MIT */
#include <unistd.h>

#include "cache/prefetch_run.h"
#include "fs/fs.h"
#include "fs/handover.h"
#include "lib/backend.h"
#include "lib/prefetch_list.h"
#include "lib/profile.h"
#include "lib/report.h"
#include "prof/op.h"

void morsel_mount_options_init(struct morsel_mount_options *o)
{
	*o = (struct morsel_mount_options){.size = sizeof(*o)};
}

/* kernel: NULL, or what the kernel has mounted. */
static json_t *layer_report(const struct morsel_image *img, uint32_t i,
			    const struct fs_kernel *kernel)
{
	const struct image_layer *l = &img->layers[i];
	json_t *o = report_layer_descriptor(l->desc);

	json_object_set_new(o, "format", json_string(image_layer_format_name(l)));
	json_object_set_new(o, "lazy", json_boolean(l->format->from_toc || !l->indexed_now));
	json_object_set_new(o, "indexed_now", json_boolean(l->indexed_now));
	json_object_set_new(o, "complete", json_boolean(layer_is_complete(l->layer)));
	json_object_set_new(o, "present_bytes",
			    json_integer((json_int_t)layer_present_bytes(l->layer)));
	json_object_set_new(o, "total_bytes",
			    json_integer((json_int_t)layer_tables(l->layer)->header.device_bytes));
	if (kernel)
		json_object_set_new(o, "device",
				    json_string(kernel->device_fds[i] < 0 ? "served" : "file"));
	report_counters(o, &img->per_layer[i]);
	return o;
}

/* "lazy: 3 of 5 layers, 1 indexed here, 1 whole" in numbers. */
static json_t *laziness_report(const struct morsel_image *img)
{
	uint32_t toc = 0, indexed = 0, whole = 0, n = img->rv.manifest->n_layers;

	for (uint32_t i = 0; i < n; i++) {
		if (img->layers[i].format->from_toc)
			toc++;
		else if (!img->layers[i].indexed_now)
			indexed++;
		else
			whole++;
	}
	return json_pack("{s:i, s:i, s:i, s:i}", "layers", (int)n, "lazy", (int)toc,
			 "indexed_before", (int)indexed, "streamed_now", (int)whole);
}

struct mount_context {
	struct morsel_image *img;
	const char *dir;
	const struct morsel_handover *handover; /* NULL: no supervisor */
	const struct fs_kernel *kernel;		/* NULL: FUSE */
};

static void supervision_report(json_t *o, const struct morsel_handover *h)
{
	json_object_set_new(o, "supervisor_pid", h ? json_integer(h->supervisor) : json_null());
	json_object_set_new(o, "restarts", json_integer(h ? (json_int_t)h->restarts : 0));
}

/* What the counters leave out too: manifests, tokens, probes of mirrors. */
static json_t *traffic_report(const struct morsel *m)
{
	struct morsel_traffic t;
	json_t *o = json_object();

	morsel_traffic(m, &t);
	json_object_set_new(o, "requests", json_integer((json_int_t)t.requests));
	json_object_set_new(o, "bytes_received", json_integer((json_int_t)t.received_bytes));
	return o;
}

static char *mount_report(void *userdata, const char *request)
{
	struct mount_context *mc = userdata;
	struct morsel_image *img = mc->img;
	json_t *o = json_object(), *layers = json_array(), *index = json_object();
	char why[512];

	if (strcmp(request, "stat")) {
		json_object_set_new(o, "error", json_string("unknown request"));
		json_decref(layers);
		json_decref(index);
		return report_text(o);
	}
	json_object_set_new(o, "reference", json_string(img->rv.ref->text));
	json_object_set_new(o, "digest", json_string(img->digest));
	json_object_set_new(o, "platform",
			    img->m->o.platform ? json_string(img->m->o.platform) : json_null());
	json_object_set_new(o, "mountpoint", json_string(mc->dir));
	json_object_set_new(o, "backend", json_string(mc->kernel ? "kernel" : "fuse"));
	json_object_set_new(o, "pid", json_integer(getpid()));
	supervision_report(o, mc->handover);
	json_object_set_new(o, "inodes", json_integer((json_int_t)img->fs.inode_count));
	json_object_set_new(o, "cache_dir", json_string(cache_dir(img->m->cache)));
	json_object_set_new(o, "offline", json_boolean(img->m->o.offline));
	json_object_set_new(o, "from_cache", json_boolean(img->rv.from_cache));
	json_object_set_new(o, "open_ms", json_integer((json_int_t)(img->opened_ns / NS_PER_MS)));
	json_object_set_new(o, "laziness", laziness_report(img));
	json_object_set_new(index, "requests",
			    json_integer((json_int_t)atomic_load(&img->index_cost.requests)));
	json_object_set_new(index, "bytes_fetched",
			    json_integer((json_int_t)atomic_load(&img->index_cost.wire_bytes)));
	json_object_set_new(o, "index", index);
	json_object_set_new(o, "traffic", traffic_report(img->m));
	report_counters(o, &img->counters);
	json_object_set_new(o, "opens", json_integer((json_int_t)access_opens(img->access)));
	reader_last_error(img->reader, why, sizeof(why));
	json_object_set_new(o, "last_error", why[0] ? json_string(why) : json_null());
	for (uint32_t i = 0; i < img->rv.manifest->n_layers; i++)
		json_array_append_new(layers, layer_report(img, i, mc->kernel));
	json_object_set_new(o, "layers", layers);
	return report_text(o);
}

static void mount_profile(void *userdata, int fd, int end_fd, const char *request)
{
	struct mount_context *mc = userdata;

	profile_serve(mc->img, fd, end_fd, request);
}

static void ready_ignore(void *userdata)
{
}

static int mount_prefetch(struct morsel_image *img, const struct morsel_mount_options *o,
			  const struct order *list, struct prefetch **ret)
{
	unsigned kinds =
		o->prefetch ? o->prefetch : MORSEL_PREFETCH_LANDMARK | MORSEL_PREFETCH_ORDER;
	const struct prefetch_options p = {
		.list = list,
		.landmark = kinds & MORSEL_PREFETCH_LANDMARK,
		.learned = kinds & MORSEL_PREFETCH_ORDER,
		.all = kinds & MORSEL_PREFETCH_ALL,
		.bandwidth = o->prefetch_bytes_per_s,
		.image_key = img->key,
	};

	return prefetch_start(img->reader, img->m->cache, &p, ret);
}

struct mount_run {
	struct morsel_image *img;
	struct morsel_mount_options o;
	struct fs_params p;
	struct order list;
	struct backend backend;
	struct mount_context context;
};

static int list_load(struct mount_run *mr, struct error *err)
{
	struct error why = ERROR_INIT;
	int r = mr->o.prefetch_list
			? prefetch_list_read(mr->img, mr->o.prefetch_list, &mr->list, &why)
			: 0;

	if (r >= 0)
		return 0;
	if (!mr->o.handover || !mr->o.handover->s.mounted)
		return error_set(err, r, "%s", why.text);
	log_write(&mr->img->m->log, LOG_WARN, "%s",
		  why.text); /* no reason to end what is mounted */
	return 0;
}

static int run_once(struct mount_run *mr, const struct fs_kernel *kernel, struct error *err)
{
	_cleanup_(prefetch_endp) struct prefetch *prefetch = NULL;
	_cleanup_(fs_freep) struct fs *fs = NULL;
	int r;

	mr->p.kernel = mr->context.kernel = kernel;
	r = fs_mount(&mr->p, &fs, err);
	if (r >= 0)
		r = mount_prefetch(mr->img, &mr->o, &mr->list, &prefetch);
	if (r >= 0)
		r = fs_serve(fs, mr->o.ready ? mr->o.ready : ready_ignore, mr->o.userdata, err);
	return r;
}

static bool wants_kernel(const struct morsel_mount_options *o)
{
	if (o->handover && o->handover->s.mounted)
		return o->handover->s.kernel;
	/* The kernel lets everybody look: nobody is asked who has not asked for that. */
	return o->backend == MORSEL_BACKEND_KERNEL ||
	       (o->backend == MORSEL_BACKEND_AUTO && o->allow_other);
}

static int run(struct mount_run *mr, struct error *err)
{
	struct error why = ERROR_INIT;
	int r;

	if (!wants_kernel(&mr->o))
		return run_once(mr, NULL, err);
	r = backend_prepare(mr->img, &mr->o, &mr->backend, &why);
	if (r >= 0)
		r = run_once(mr, &mr->backend.kernel, &why);
	if (r == -ENOTSUP && mr->o.backend == MORSEL_BACKEND_AUTO) {
		log_write(&mr->img->m->log, LOG_INFO, "%s", why.text);
		return run_once(mr, NULL, err);
	}
	if (r < 0 && why.code)
		return error_set(err, r, "%s", why.text);
	return r;
}

int morsel_mount(struct morsel_image *img, const char *dir, const struct morsel_mount_options *o,
		 struct morsel_error *ret_err)
{
	struct mount_run mr = {.img = img, .list = ORDER_INIT, .context = {.img = img, .dir = dir}};
	struct morsel_mount_options *own = &mr.o;
	struct error err = ERROR_INIT;
	int r;

	morsel_mount_options_init(own);
	if (o && o->size <= sizeof(*own))
		memcpy(own, o, o->size);
	mr.context.handover = own->handover;
	mr.p = (struct fs_params){
		.seam = img->m->seam,
		.log = &img->m->log,
		.image = &img->fs,
		.reader = img->reader,
		.counters = &img->counters,
		.access = img->access,
		.image_label = prof_intern(img->rv.ref->text),
		.mountpoint = dir,
		.fsname = img->rv.ref->text,
		.allow_other = own->allow_other,
		.suid = own->suid,
		.dev = own->dev,
		.noexec = own->noexec,
		.threads = own->threads,
		.control = mount_report,
		.profile = mount_profile,
		.control_userdata = &mr.context,
		.cancel_fd = img->m->cancel_fd,
		.no_signals = own->no_signals,
		.handover = own->handover,
		.image_digest = img->digest,
	};
	reader_warn(img->reader);
	r = context_check(img->m, &err);
	if (r >= 0)
		r = list_load(&mr, &err);
	if (r >= 0)
		r = run(&mr, &err);
	if (r >= 0)
		r = context_check(img->m, &err);
	backend_fini(&mr.backend);
	order_fini(&mr.list);
	return error_publish(r, &err, ret_err);
}

int morsel_umount(const char *dir, bool lazy, struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;

	return error_publish(fs_umount(dir, lazy, &err), &err, ret_err);
}

int morsel_mount_stat(const char *dir, char **ret_json, struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;

	return error_publish(fs_control(dir, "stat", ret_json, &err), &err, ret_err);
}
