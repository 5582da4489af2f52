/* SPDX-License-Identifier: MIT */
/*
 * A recording of this process: the samplers' profiles, the trace, and what files of the images that
 * were named cost meanwhile. Files are made in memory once it is over, and handed out one by one.
 */
#include "lib/profile.h"

#include <stdio.h>
#include <time.h>

#include "lib/profile_names.h"
#include "prof/session.h"

#define IMAGES_MAX 4096

struct profiled {
	struct access_row *since;
	size_t n_since;
};

struct morsel_profile {
	struct morsel_profile_options o;
	struct morsel_image **images;
	struct profiled *before; /* what each had cost already */
	size_t n;
	bool tracing;
	struct prof_session *session; /* of the samplers, or NULL */
	struct timespec began;	      /* since 1970 */
	uint64_t began_ns;	      /* monotonic */
};

void morsel_profile_options_init(struct morsel_profile_options *o)
{
	*o = (struct morsel_profile_options){.size = sizeof(*o)};
}

static bool wants(const struct morsel_profile *p, unsigned kinds)
{
	return p->o.kinds & kinds;
}

#define SAMPLED                                                                                    \
	(MORSEL_PROFILE_CPU | MORSEL_PROFILE_FGPROF | MORSEL_PROFILE_HEAP | MORSEL_PROFILE_ALLOCS)
static_assert(MORSEL_PROFILE_CPU == (int)PROF_CPU && MORSEL_PROFILE_FGPROF == (int)PROF_FGPROF &&
		      MORSEL_PROFILE_HEAP == (int)PROF_HEAP &&
		      MORSEL_PROFILE_ALLOCS == (int)PROF_ALLOCS,
	      "one number for a kind");

static int samplers_start(struct morsel_profile *p, struct error *err)
{
	struct prof_session_options o = {
		.kinds = p->o.kinds & SAMPLED,
		.cpu_hz = p->o.cpu_hz,
		.cpu_engine = p->o.gperftools ? PROF_ENGINE_GPERFTOOLS : PROF_ENGINE_TIMERS,
	};

	return o.kinds ? prof_session_start(&o, &p->session, err) : 0;
}

/* ret is there also when it failed. */
static int samplers_stop(struct morsel_profile *p, struct prof_profiles *ret, struct error *err)
{
	*ret = (struct prof_profiles){0};
	return p->session ? prof_session_stop(steal_ptr(p->session), ret, err) : 0;
}

static void profile_free(struct morsel_profile *p)
{
	struct prof_profiles unwanted;

	samplers_stop(p, &unwanted, NULL);
	prof_profiles_fini(&unwanted);
	for (size_t i = 0; i < p->n; i++) {
		free(p->before[i].since);
		image_drop(p->images[i]);
	}
	free(p->before);
	free(p->images);
	free(p);
}
DEFINE_CLEANUP(struct morsel_profile *, profile_free)

int profile_start(const struct morsel_profile_options *o, struct morsel_profile **ret,
		  struct error *err)
{
	_cleanup_(profile_freep) struct morsel_profile *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	morsel_profile_options_init(&p->o);
	if (o->size <= sizeof(p->o))
		memcpy(&p->o, o, o->size);
	if (!p->o.kinds || p->o.kinds >= 2 * MORSEL_PROFILE_ACCESS)
		return error_set(err, -EINVAL, "no such kind of profile: %#x", p->o.kinds);
	clock_gettime(CLOCK_REALTIME, &p->began);
	p->began_ns = seam_real()->monotonic_ns(seam_real());
	r = samplers_start(p, err);
	if (r < 0)
		return r;
	if (wants(p, MORSEL_PROFILE_TRACE | MORSEL_PROFILE_ACCESS)) {
		r = trace_start(p->o.trace_bytes);
		if (r == -EBUSY)
			return error_set(err, r, "this process is being traced already");
		if (r < 0)
			return r;
		p->tracing = true;
	}
	*ret = steal_ptr(p);
	return 0;
}

int profile_image(struct morsel_profile *p, struct morsel_image *img, struct error *err)
{
	struct morsel_image **images;
	struct profiled *before;

	for (size_t i = 0; i < p->n; i++)
		if (p->images[i] == img)
			return 0;
	if (p->n == IMAGES_MAX)
		return error_set(err, -E2BIG, "a profile is of at most %d images", IMAGES_MAX);
	images = reallocarray(p->images, p->n + 1, sizeof(*images));
	if (!images)
		return -ENOMEM;
	p->images = images;
	before = reallocarray(p->before, p->n + 1, sizeof(*before));
	if (!before)
		return -ENOMEM;
	p->before = before;
	p->images[p->n] = img;
	p->before[p->n] = (struct profiled){0};
	if (access_rows(img->access, NULL, 0, &before[p->n].since, &before[p->n].n_since) < 0)
		return -ENOMEM;
	image_keep(img);
	p->n++;
	return 0;
}

/* ---- the end ---- */

struct results {
	struct trace_log log;
	struct access_row *rows; /* of all images */
	size_t n_rows;
	struct profile_names names;
	uint64_t took_ns;
	struct prof_profiles sampled;
};

static void results_fini(struct results *rs)
{
	trace_log_fini(&rs->log);
	prof_profiles_fini(&rs->sampled);
	free(rs->rows);
	profile_names_fini(&rs->names);
}

static int rows_add(struct results *rs, const struct access_row *rows, size_t n)
{
	struct access_row *all = reallocarray(rs->rows, rs->n_rows + n + 1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	rs->rows = all;
	if (n)
		memcpy(all + rs->n_rows, rows, n * sizeof(*rows));
	rs->n_rows += n;
	return 0;
}

static int rows_take(const struct morsel_profile *p, struct results *rs)
{
	for (size_t i = 0; i < p->n; i++) {
		_cleanup_(freep) struct access_row *rows = NULL;
		size_t n;
		int r = access_rows(p->images[i]->access, p->before[i].since, p->before[i].n_since,
				    &rows, &n);

		if (r >= 0)
			r = rows_add(rs, rows, n);
		if (r < 0)
			return r;
	}
	return 0;
}

static int hand_out(const struct morsel_profile *p, const char *kind, const char *suffix, int r,
		    const struct buf *file)
{
	const void *data = file->len ? file->data : (const void *)"";

	return r < 0 ? r : p->o.file(p->o.userdata, kind, suffix, data, file->len);
}

static int write_access(const struct morsel_profile *p, const struct results *rs)
{
	_cleanup_(buf_fini) struct buf file = BUF_INIT;
	int64_t start_ns = (int64_t)p->began.tv_sec * (int64_t)NS_PER_S + p->began.tv_nsec;
	int r = access_write_pprof(rs->rows, rs->n_rows, &rs->names.names, start_ns,
				   (int64_t)rs->took_ns, &file);

	return hand_out(p, "access", ".pprof", r, &file);
}

static int write_trace(const struct morsel_profile *p, const struct trace_model *m,
		       const struct results *rs)
{
	_cleanup_(buf_fini) struct buf file = BUF_INIT;
	int r = p->o.chrome_trace ? trace_write_chrome(m, &rs->names.names, &file)
				  : trace_write_go(m, &rs->names.names, &file);

	return hand_out(p, "trace", p->o.chrome_trace ? ".json" : ".out", r, &file);
}

static int write_reads(const struct morsel_profile *p, const struct trace_model *m,
		       const struct results *rs)
{
	_cleanup_(buf_fini) struct buf file = BUF_INIT;
	int r = trace_write_jsonl(m, &rs->names.names, &file);

	return hand_out(p, "access", ".jsonl", r, &file);
}

static int write_fetches(const struct morsel_profile *p, const struct trace_model *m,
			 const struct results *rs)
{
	_cleanup_(buf_fini) struct buf file = BUF_INIT;
	int r = trace_write_fetches(m, &rs->names.names, &file);

	return hand_out(p, "fetches", ".jsonl", r, &file);
}

static int write_sampled(const struct morsel_profile *p, const struct results *rs)
{
	int r = 0;

	for (unsigned i = 0; i < PROF_KINDS && r >= 0; i++)
		if (rs->sampled.profile[i].len)
			r = hand_out(p, prof_kind_name(1u << i), ".pprof", 0,
				     &rs->sampled.profile[i]);
	return r;
}

static int write_files(const struct morsel_profile *p, const struct results *rs)
{
	_cleanup_(trace_model_freep) struct trace_model *m = NULL;
	int r = write_sampled(p, rs);

	if (r >= 0 && wants(p, MORSEL_PROFILE_ACCESS))
		r = write_access(p, rs);
	if (r >= 0 && p->tracing)
		r = trace_model_new(&rs->log, &rs->names.names, &m);
	if (r >= 0 && wants(p, MORSEL_PROFILE_ACCESS))
		r = write_reads(p, m, rs);
	if (r >= 0 && wants(p, MORSEL_PROFILE_ACCESS))
		r = write_fetches(p, m, rs);
	if (r >= 0 && wants(p, MORSEL_PROFILE_TRACE))
		r = write_trace(p, m, rs);
	return r;
}

int profile_stop(struct morsel_profile *profile, struct error *err)
{
	_cleanup_(profile_freep) struct morsel_profile *p = profile;
	_cleanup_(results_fini) struct results rs = {0};
	int r, sampled;

	if (p->tracing)
		trace_stop(&rs.log);
	rs.took_ns = seam_real()->monotonic_ns(seam_real()) - p->began_ns;
	sampled = samplers_stop(p, &rs.sampled, err); /* what it made is written all the same */
	r = rows_take(p, &rs);
	if (r >= 0)
		r = profile_names_init(&rs.names, p->images, p->n, rs.rows, rs.n_rows, &rs.log);
	if (r >= 0 && p->o.file)
		r = write_files(p, &rs);
	if (r < 0)
		return error_set_errno(err, r, "can't make files of what was recorded");
	return sampled;
}

/* ---- public ---- */

int morsel_profile_start(const struct morsel_profile_options *o, struct morsel_profile **ret,
			 struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;

	return error_publish(profile_start(o, ret, &err), &err, ret_err);
}

int morsel_profile_image(struct morsel_profile *p, struct morsel_image *img,
			 struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;

	return error_publish(profile_image(p, img, &err), &err, ret_err);
}

int morsel_profile_stop(struct morsel_profile *p, struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;

	return error_publish(profile_stop(p, &err), &err, ret_err);
}
