/* SPDX-License-Identifier: MIT */
/* Directories become an image: layers made and sent at once, then the config, the manifest, the
 * tag. */
#include "lib/push.h"

#include <ctype.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>

#include "image/path.h"
#include "lib/report.h"
#include "transfer/layer_before.h"
#include "transfer/layer_order.h"

#define IGNORE_MAX ((size_t)1 << 20)

struct dir_layer {
	int fd;
	char *created_by;
	struct layer_source source;
	struct layer_result result;
	struct image_doc_annotation annotations[LAYER_ANNOTATIONS_MAX];
};

struct making {
	struct push_run run;
	const struct morsel_push_options *o;
	struct image_wish wish;
	struct layer_params params;
	struct layer_source common; /* what is the same for all directories */
	char *ignore_text;
	struct layer_order order;
	struct resolved base;
	bool has_base;
	struct dir_layer *layers;
	size_t n;
	struct buf config, manifest;
	struct digest config_digest;
};

/* ---- options ---- */

static int owner_parse(const char *text, uint32_t *ret_uid, uint32_t *ret_gid, struct error *err)
{
	unsigned long long uid, gid;
	char *end;

	errno = 0;
	uid = gid = strtoull(text, &end, 10);
	if (isdigit((unsigned char)*text) && *end == ':' && isdigit((unsigned char)end[1]))
		gid = strtoull(end + 1, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || uid > UINT32_MAX - 1 ||
	    gid > UINT32_MAX - 1)
		return error_set(err, -EINVAL, "--owner: \"%s\" is not UID[:GID] in numbers", text);
	*ret_uid = (uint32_t)uid;
	*ret_gid = (uint32_t)gid;
	return 0;
}

static int ignore_load(struct making *mk, struct error *err)
{
	const char *path = mk->o->ignore_file;
	size_t len;
	int r;

	mk->common.use_ignore_file = !path;
	if (!path || !*path)
		return 0;
	r = seam_read_file(mk->run.m->seam, AT_FDCWD, path, IGNORE_MAX, &mk->ignore_text, &len);
	if (r < 0)
		return error_set_errno(err, r, "%s: can't read the ignore file", path);
	mk->common.ignore_text = mk->ignore_text;
	mk->common.ignore_name = path;
	mk->common.ignore_len = len;
	return 0;
}

static int order_load(struct making *mk, struct error *err)
{
	int r = 0;

	for (const char *const *file = mk->o->prioritize; r >= 0 && file && *file; file++)
		r = layer_order_read(&mk->order, *file, err);
	mk->common.first = (const char *const *)mk->order.paths;
	mk->common.n_first = mk->order.n;
	return r;
}

static unsigned cpus(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : CPU_COUNT(&set);

	return n > 1 ? (unsigned)n : 1;
}

/* Layers that are made at the same time share the processors. */
static unsigned threads_each(const struct making *mk)
{
	unsigned jobs = mk->o->jobs ? mk->o->jobs : PUSH_JOBS_DEFAULT;
	unsigned all = mk->o->threads ? mk->o->threads : cpus();
	unsigned at_once = mk->n < jobs ? (unsigned)mk->n : jobs;

	return all > at_once ? all / at_once : 1;
}

static int options_apply(struct making *mk, struct error *err)
{
	const struct morsel_push_options *o = mk->o;
	struct morsel *m = mk->run.m;
	int r = 0;

	mk->wish = (struct image_wish){.entrypoint = o->entrypoint,
				       .cmd = o->cmd,
				       .env = o->env,
				       .labels = o->labels,
				       .annotations = o->annotations,
				       .workdir = o->workdir,
				       .user = o->user,
				       .author = o->author,
				       .artifact_type = o->artifact_type,
				       .created_s = o->has_epoch ? o->epoch_s : 0};
	mk->params = (struct layer_params){.level = o->level,
					   .chunk_size = o->chunk_size,
					   .threads = threads_each(mk),
					   .cache = m->cache,
					   .log = &m->log};
	mk->common.allow_changed = o->allow_changed;
	mk->common.clamp_mtime = o->has_epoch;
	mk->common.mtime_max_s = o->epoch_s;
	mk->common.excludes = o->excludes;
	while (o->excludes && o->excludes[mk->common.n_excludes])
		mk->common.n_excludes++;
	if (o->compression)
		r = layer_compression_parse(o->compression, &mk->params.compression, err);
	if (r >= 0 && o->owner) {
		mk->common.set_owner = true;
		r = owner_parse(o->owner, &mk->common.uid, &mk->common.gid, err);
	}
	if (r >= 0)
		r = image_wish_check(&mk->wish, err);
	if (r >= 0 && o->artifact_type && o->base)
		r = error_set(err, -EINVAL, "an artifact has no base: --artifact-type or --base");
	if (r >= 0)
		r = order_load(mk, err);
	return r < 0 ? r : ignore_load(mk, err);
}

/* ---- directories ---- */

static int layer_open_dir(struct making *mk, struct dir_layer *l,
			  const struct morsel_push_layer *in, struct error *err)
{
	const char *prefix = in->prefix ? in->prefix + strspn(in->prefix, "/") : "";
	struct layer_estimate e;
	int r;

	l->fd = open(in->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->fd < 0)
		return error_set_errno(err, -errno, "%s: can't open the directory", in->dir);
	if (asprintf(&l->created_by, "morsel push%s%s", *prefix ? " /" : "", prefix) < 0) {
		l->created_by = NULL;
		return -ENOMEM;
	}
	l->source = mk->common;
	l->source.root_fd = l->fd;
	l->source.root_name = in->dir;
	l->source.prefix = prefix;
	if (mk->o->extra && l == &mk->layers[mk->n - 1]) {
		l->source.extra_name = mk->o->extra->path;
		l->source.extra_data = mk->o->extra->data;
		l->source.extra_len = mk->o->extra->n;
	}
	if (!mk->run.m->o.progress)
		return 0;
	r = layer_estimate(&l->source, &mk->run.m->cancelled, &e, err);
	if (r >= 0)
		atomic_fetch_add(&mk->run.push.total_bytes, e.raw_bytes);
	return r;
}

static bool is_in_some(const struct making *mk, const char *path)
{
	char clean[PATH_LEN_MAX + 1];
	size_t len;

	if (path_clean(path, strlen(path), clean, &len, NULL) < 0)
		return false;
	for (size_t i = 0; i < mk->n; i++) {
		char prefix[PATH_LEN_MAX + 1];
		const char *below = NULL;
		struct stat st;

		if (layer_source_prefix(&mk->layers[i].source, prefix, NULL) >= 0)
			below = path_below(clean, prefix);
		if (below && !fstatat(mk->layers[i].fd, below, &st, AT_SYMLINK_NOFOLLOW))
			return true;
	}
	return false;
}

/* Some paths may be of other images; when all are, it is the wrong list. */
static void order_judge(const struct making *mk)
{
	for (size_t i = 0; i < mk->order.n; i++)
		if (is_in_some(mk, mk->order.paths[i]))
			return;
	if (mk->order.n)
		log_write(&mk->run.m->log, LOG_WARN,
			  "--prioritize: of %zu paths none is there, so nothing comes first",
			  mk->order.n);
	else if (mk->o->prioritize && *mk->o->prioritize)
		log_write(&mk->run.m->log, LOG_WARN, "--prioritize: no paths, nothing comes first");
}

static int layers_prepare(struct making *mk, const struct morsel_push_layer *in, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < mk->n; i++) {
		r = context_check(mk->run.m, err);
		if (r >= 0)
			r = layer_open_dir(mk, &mk->layers[i], &in[i], err);
	}
	if (r >= 0)
		order_judge(mk);
	return r;
}

/* ---- blobs and documents ---- */

static int blobs_push(struct making *mk, struct error *err)
{
	int r = 0;

	for (uint32_t i = 0; mk->has_base && r >= 0 && i < mk->base.manifest->n_layers; i++) {
		const struct descriptor *d = &mk->base.manifest->layers[i].desc;

		r = push_copy(&mk->run.push, mk->base.source, &d->digest, (uint64_t)d->size);
	}
	for (size_t i = 0; r >= 0 && i < mk->n; i++)
		r = push_directory(&mk->run.push, &mk->params, &mk->layers[i].source,
				   &mk->layers[i].result);
	return r < 0 ? r : push_wait(&mk->run.push, err);
}

static struct image_doc_layer layer_doc(struct dir_layer *l)
{
	const struct layer_result *lr = &l->result;

	for (size_t i = 0; i < lr->n_annotations; i++)
		l->annotations[i] = (struct image_doc_annotation){lr->annotations[i].key,
								  lr->annotations[i].value};
	return (struct image_doc_layer){.media_type = lr->media_type,
					.digest = lr->digest,
					.diff_id = lr->diff_id,
					.size = lr->size,
					.annotations = l->annotations,
					.n_annotations = lr->n_annotations,
					.created_by = l->created_by};
}

static int config_push(struct making *mk, const struct image_doc_layer *docs, struct error *err)
{
	int r = 0;

	if (mk->wish.artifact_type)
		r = buf_append_str(&mk->config, EMPTY_TEXT);
	else
		r = image_config_make(&mk->wish, &mk->run.m->platform,
				      mk->has_base ? &mk->base.config_json : NULL, docs, mk->n,
				      &mk->config, err);
	if (r < 0)
		return r;
	digest_of(DIGEST_SHA256, mk->config.data, mk->config.len, &mk->config_digest);
	r = push_bytes(&mk->run.push, &mk->config_digest, mk->config.data, mk->config.len);
	return r < 0 ? r : push_wait(&mk->run.push, err);
}

static int documents_push(struct making *mk, struct error *err)
{
	_cleanup_(freep) struct image_doc_layer *docs = calloc(mk->n + 1, sizeof(*docs));
	struct target_manifest tm = {.media_type = TYPE_MANIFEST,
				     .artifact_type = mk->wish.artifact_type};
	int r;

	if (!docs)
		return -ENOMEM;
	for (size_t i = 0; i < mk->n; i++)
		docs[i] = layer_doc(&mk->layers[i]);
	r = config_push(mk, docs, err);
	if (r >= 0)
		r = image_manifest_make(&mk->wish, &mk->config_digest, mk->config.len,
					mk->has_base ? &mk->base.manifest_json : NULL, docs, mk->n,
					&mk->manifest, err);
	if (r >= 0)
		r = context_check(mk->run.m, err);
	if (r < 0)
		return r;
	digest_of(DIGEST_SHA256, mk->manifest.data, mk->manifest.len, &tm.digest);
	tm.body = mk->manifest.data;
	tm.len = mk->manifest.len;
	mk->run.digest = tm.digest;
	mk->run.media_type = tm.media_type;
	return target_put_manifest(mk->run.target, &tm, err);
}

static int image_make(struct making *mk, struct morsel *m, const struct morsel_push_layer *in,
		      const char *ref, struct error *err)
{
	int r;

	mk->run.m = m;
	r = options_apply(mk, err);
	if (r >= 0 && mk->o->base) {
		mk->has_base = true;
		r = image_resolve(m, mk->o->base, &mk->base, err);
	}
	if (r >= 0)
		r = push_run_begin(&mk->run, m, ref, mk->base.ref, mk->o->jobs, err);
	if (r >= 0)
		r = layers_prepare(mk, in, err);
	if (r < 0)
		return r;
	push_run_mark(&mk->run, PUSH_PREPARE);
	r = blobs_push(mk, err);
	push_run_mark(&mk->run, PUSH_BLOBS);
	if (r >= 0)
		r = documents_push(mk, err);
	push_run_mark(&mk->run, PUSH_DOCUMENTS);
	return r;
}

/* ---- the result ---- */

static void count(json_t *o, const char *key, uint64_t n)
{
	json_object_set_new(o, key, json_integer((json_int_t)n));
}

static json_t *layer_report(const struct layer_result *lr)
{
	json_t *o = json_object();
	char digest[DIGEST_TEXT_MAX];

	digest_format(&lr->digest, digest);
	json_object_set_new(o, "digest", json_string(digest));
	json_object_set_new(o, "media_type", json_string(lr->media_type));
	count(o, "size", lr->size);
	digest_format(&lr->diff_id, digest);
	json_object_set_new(o, "diff_id", json_string(digest));
	count(o, "uncompressed_size", lr->raw_size);
	count(o, "entries", lr->entries);
	count(o, "files", lr->files);
	count(o, "file_bytes", lr->file_bytes);
	count(o, "hardlinks", lr->hardlinks);
	count(o, "sockets_skipped", lr->sockets);
	count(o, "xattrs_skipped", lr->dropped_xattrs);
	count(o, "members", lr->members);
	count(o, "members_cached", lr->members_cached);
	return o;
}

static char *making_report(const struct making *mk)
{
	json_t *o = push_report(&mk->run), *layers = json_array();

	for (size_t i = 0; i < mk->n; i++)
		json_array_append_new(layers, layer_report(&mk->layers[i].result));
	json_object_set_new(o, "compression",
			    json_string(layer_compression_name(mk->params.compression)));
	json_object_set_new(o, "layers", layers);
	return report_text(o);
}

static void making_fini(struct making *mk)
{
	push_run_fini(&mk->run);
	for (size_t i = 0; i < mk->n; i++) {
		closep(&mk->layers[i].fd);
		free(mk->layers[i].created_by);
	}
	free(mk->layers);
	free(mk->ignore_text);
	layer_order_fini(&mk->order);
	resolved_fini(&mk->base);
	buf_fini(&mk->config);
	buf_fini(&mk->manifest);
}

int morsel_push(struct morsel *m, const struct morsel_push_layer *layers, size_t n, const char *ref,
		const struct morsel_push_options *options, char **ret_json,
		struct morsel_error *ret_err)
{
	struct morsel_push_options o;
	struct making mk = {
		.o = &o, .order = LAYER_ORDER_INIT, .run.mark_ns = m->seam->monotonic_ns(m->seam)};
	struct error err = ERROR_INIT;
	int r = push_options_take(options, &o, &err);

	if (r >= 0 && (!n || n > LAYERS_MAX))
		r = error_set(&err, -EINVAL, "an image of %zu directories", n);
	if (r >= 0 && !(mk.layers = calloc(n, sizeof(*mk.layers))))
		r = -ENOMEM;
	if (r >= 0) {
		mk.n = n;
		for (size_t i = 0; i < n; i++)
			mk.layers[i].fd = -1;
		r = image_make(&mk, m, layers, ref, &err);
	}
	if (r >= 0 && !(*ret_json = making_report(&mk)))
		r = -ENOMEM;
	making_fini(&mk);
	return error_publish(r, &err, ret_err);
}
