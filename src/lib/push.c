/* SPDX-License-Identifier: MIT */
#include "lib/push.h"
#include "lib/layers.h"

void morsel_push_options_init(struct morsel_push_options *o)
{
	*o = (struct morsel_push_options){.size = sizeof(*o)};
}

int push_options_take(const struct morsel_push_options *o, struct morsel_push_options *ret,
		      struct error *err)
{
	morsel_push_options_init(ret);
	if (!o)
		return 0;
	if (o->size < sizeof(size_t) || o->size > sizeof(*o))
		return error_set(err, -EINVAL,
				 "options: size %zu; call morsel_push_options_init() first",
				 o->size);
	memcpy(ret, o, o->size);
	return 0;
}

static int progress_tell(void *userdata, struct error *err)
{
	struct push_run *run = userdata;
	const struct push *p = &run->push;
	const struct morsel_options *o = &run->m->o;
	struct morsel_progress now = {.phase = "push",
				      .done_bytes = atomic_load(&p->done_bytes),
				      .total_bytes = atomic_load(&p->total_bytes),
				      .layers_done = atomic_load(&p->blobs_done),
				      .layers_total = atomic_load(&p->blobs_total)};

	if (o->progress && o->progress(o->userdata, &now))
		return error_set(err, -ECANCELED, "given up by the caller");
	return context_check(run->m, err);
}

static bool may_mount(const struct ref *to, const struct ref *from)
{
	return from && from->kind == REF_REGISTRY && to->kind == REF_REGISTRY &&
	       !strcmp(from->api_host, to->api_host) && strcmp(from->path, to->path) != 0;
}

int push_run_begin(struct push_run *run, struct morsel *m, const char *ref, const struct ref *from,
		   unsigned jobs, struct error *err)
{
	struct push_options o = {.seam = m->seam,
				 .log = &m->log,
				 .cache = m->cache,
				 .cancel = &m->cancelled,
				 .jobs = jobs,
				 .progress = progress_tell,
				 .userdata = run};
	int r = ref_parse(ref, &run->ref, err);

	run->m = m;
	if (r >= 0 && m->o.offline && run->ref->kind == REF_REGISTRY)
		r = error_set(err, -ENETUNREACH, "%s: can't push to a registry offline (--offline)",
			      ref);
	if (r >= 0)
		r = progress_begin(m, err);
	if (r >= 0)
		r = target_open(m->registry, run->ref,
				may_mount(run->ref, from) ? from->path : NULL, &run->target, err);
	if (r < 0)
		return r;
	o.target = run->target;
	r = push_init(&run->push, &o);
	run->begun = true;
	return r;
}

void push_run_mark(struct push_run *run, enum push_phase phase)
{
	uint64_t now = run->m->seam->monotonic_ns(run->m->seam);

	run->phase_ns[phase] += now - run->mark_ns;
	run->mark_ns = now;
}

void push_run_fini(struct push_run *run)
{
	if (run->begun)
		push_fini(&run->push);
	target_close(run->target);
	ref_free(run->ref);
}

static json_t *seconds_of(uint64_t ns)
{
	return json_real((double)(ns / 1000) / 1e6);
}

static json_t *times_report(const struct push_run *run)
{
	static const char *const names[PUSH_PHASES] = {
		[PUSH_PREPARE] = "prepare", [PUSH_BLOBS] = "blobs", [PUSH_DOCUMENTS] = "documents"};
	json_t *o = json_object();
	uint64_t total = 0;

	for (int i = 0; i < PUSH_PHASES; i++) {
		json_object_set_new(o, names[i], seconds_of(run->phase_ns[i]));
		total += run->phase_ns[i];
	}
	json_object_set_new(o, "total", seconds_of(total));
	return o;
}

static void count(json_t *o, const char *key, uint64_t n)
{
	json_object_set_new(o, key, json_integer((json_int_t)n));
}

json_t *push_report(const struct push_run *run)
{
	_cleanup_(buf_fini) struct buf name = BUF_INIT;
	const struct push *p = &run->push;
	char digest[DIGEST_TEXT_MAX];
	json_t *o = json_object();

	if (!o || ref_format(run->ref, &name) < 0)
		return o;
	json_object_set_new(o, "reference", json_stringn((char *)name.data, name.len));
	digest_format(&run->digest, digest);
	json_object_set_new(o, "digest", json_string(digest));
	json_object_set_new(o, "media_type", json_string(run->media_type));
	count(o, "blobs", atomic_load(&p->blobs_total));
	count(o, "blobs_skipped", atomic_load(&p->blobs_skipped));
	count(o, "moved_bytes", atomic_load(&p->moved_bytes));
	count(o, "skipped_bytes", atomic_load(&p->skipped_bytes));
	json_object_set_new(o, "seconds", times_report(run));
	return o;
}
