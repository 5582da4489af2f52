/* SPDX-License-Identifier: MIT */
#include "prof/session.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "base/seam.h"
#include "prof/gperftools.h"
#include "prof/heap_profile.h"
#include "prof/sampler.h"

#define LOOKUP_NS (20 * NS_PER_S) /* for all symbols of all profiles */

struct prof_session {
	struct prof_session_options o;
	char *comment;
	int64_t time_ns; /* when it was started, since 1970 */
	uint64_t started_ns;
	struct sampler *sampler; /* NULL unless cpu by timers, or fgprof */
	struct gperftools *gperftools;
};

static atomic_flag busy = ATOMIC_FLAG_INIT;

static int session_check(const struct prof_session_options *o, struct error *err)
{
	if (o->cpu_hz > 1000 || o->fgprof_hz > 1000)
		return error_set(err, -EINVAL, "a profile has at most 1000 samples a second");
	return 0;
}

static void session_free(struct prof_session *s)
{
	free(s->comment);
	free(s);
	atomic_flag_clear(&busy);
}
DEFINE_CLEANUP(struct prof_session *, session_free)

static int samplers_start(struct prof_session *s, struct error *err)
{
	bool own = s->o.cpu_engine == PROF_ENGINE_TIMERS;
	struct sampler_options so = {
		.cpu = own && s->o.kinds & PROF_CPU,
		.wall = s->o.kinds & PROF_FGPROF,
		.cpu_period_ns = NS_PER_S / s->o.cpu_hz,
		.wall_period_ns = NS_PER_S / s->o.fgprof_hz,
		.no_signals = s->o.no_signals,
	};
	int r = 0;

	if (so.wall || so.cpu) {
		r = sampler_start(&so, &s->sampler);
		if (r < 0)
			return error_set_errno(err, r, "can't start the sampler");
	}
	if (!own && s->o.kinds & PROF_CPU)
		r = gperftools_start(&s->gperftools, err);
	return r;
}

/* What the samplers saw is in ret also when gperftools failed. */
static int samplers_stop(struct prof_session *s, struct sampler_result *ret,
			 uint64_t *ret_period_ns, struct error *err)
{
	*ret_period_ns = NS_PER_S / s->o.cpu_hz;
	if (s->sampler)
		sampler_stop(steal_ptr(s->sampler), ret);
	if (!s->gperftools)
		return 0;
	return gperftools_stop(steal_ptr(s->gperftools), &ret->cpu, ret_period_ns, err);
}

int prof_session_start(const struct prof_session_options *o, struct prof_session **ret,
		       struct error *err)
{
	const struct seam *clock = seam_real();
	_cleanup_(session_freep) struct prof_session *s = NULL;
	struct timespec now;
	int r = session_check(o, err);

	if (r < 0)
		return r;
	if (atomic_flag_test_and_set(&busy))
		return error_set(err, -EBUSY, "this process is being profiled already");
	s = calloc(1, sizeof(*s));
	if (!s) {
		atomic_flag_clear(&busy);
		return -ENOMEM;
	}
	s->o = *o;
	s->o.cpu_hz = o->cpu_hz ? o->cpu_hz : 100;
	s->o.fgprof_hz = o->fgprof_hz ? o->fgprof_hz : 99;
	s->comment = o->comment ? strdup(o->comment) : NULL;
	clock_gettime(CLOCK_REALTIME, &now);
	s->time_ns = now.tv_sec * (int64_t)NS_PER_S + now.tv_nsec;
	s->started_ns = clock->monotonic_ns(clock);
	r = samplers_start(s, err);
	if (r < 0) {
		_cleanup_(sampler_result_fini) struct sampler_result none = {0};
		uint64_t period_ns;

		samplers_stop(s, &none, &period_ns, NULL);
		return r;
	}
	*ret = steal_ptr(s);
	return 0;
}

/* ---- writing ---- */

struct writing {
	struct prof_session *s;
	struct symbols *symbols;
	uint64_t elapsed_ns, cpu_period_ns;
	const struct sampler_result *samples;
	struct heap_site
		*sites; /* one look for both profiles, before looking up symbols allocates */
	size_t n_sites;
};

static int profile_end(struct writing *w, struct pprof *p, struct buf *ret)
{
	if (w->s->comment)
		pprof_comment(p, w->s->comment);
	symbols_mappings(w->symbols, p);
	return pprof_finish(p, ret);
}

static int write_stacks(struct writing *w, const char *type, const struct stacks *t,
			uint64_t period_ns, struct buf *ret)
{
	const struct pprof_type types[] = {{"samples", "count"}, {type, "nanoseconds"}};
	bool cpu = !strcmp(type, "cpu");
	_cleanup_(pprof_freep) struct pprof *p = NULL;
	int r = pprof_new(
		&(struct pprof_options){.types = types,
					.n_types = ARRAY_SIZE(types),
					.default_type = type,
					.period_type = {cpu ? "cpu" : "wallclock", "nanoseconds"},
					.period = (int64_t)period_ns,
					.time_ns = w->s->time_ns,
					.duration_ns = (int64_t)w->elapsed_ns},
		&p);

	if (r < 0)
		return r;
	if (cpu && w->samples->lost_ns) {
		char text[128];

		snprintf(text, sizeof(text), "samples of %.2f s of %.2f s were lost",
			 (double)w->samples->lost_ns / 1e9, (double)w->samples->cpu_ns / 1e9);
		pprof_comment(p, text);
	}
	stacks_write(t, p, w->symbols, period_ns);
	return profile_end(w, p, ret);
}

static int write_kind(struct writing *w, enum prof_kind kind, struct buf *ret)
{
	_cleanup_(pprof_freep) struct pprof *p = NULL;
	int r;

	if (kind == PROF_CPU)
		return write_stacks(w, "cpu", &w->samples->cpu, w->cpu_period_ns, ret);
	if (kind == PROF_FGPROF)
		return write_stacks(w, "time", &w->samples->wall, NS_PER_S / w->s->o.fgprof_hz,
				    ret);
	r = heap_profile(w->sites, w->n_sites, kind == PROF_HEAP ? "inuse_space" : "alloc_space",
			 w->s->time_ns, (int64_t)w->elapsed_ns, w->symbols, &p);
	return r < 0 ? r : profile_end(w, p, ret);
}

int prof_session_stop(struct prof_session *session, struct prof_profiles *ret, struct error *err)
{
	const struct seam *clock = seam_real();
	_cleanup_(session_freep) struct prof_session *s = session;
	_cleanup_(sampler_result_fini) struct sampler_result samples = {0};
	_cleanup_(symbols_freep) struct symbols *symbols = NULL;
	_cleanup_(freep) struct heap_site *sites = NULL;
	struct writing w = {.s = s, .samples = &samples};
	int r, stopped;

	*ret = (struct prof_profiles){0};
	stopped = samplers_stop(s, &samples, &w.cpu_period_ns, err);
	w.elapsed_ns = clock->monotonic_ns(clock) - s->started_ns;
	r = s->o.kinds & (PROF_HEAP | PROF_ALLOCS) ? heap_sites(&w.sites, &w.n_sites) : 0;
	sites = w.sites;
	if (r >= 0)
		r = symbols_new(s->o.no_symbols ? 0 : clock->monotonic_ns(clock) + LOOKUP_NS,
				&symbols);
	if (r < 0)
		return error_set_errno(err, r, "can't make profiles of what was recorded");
	w.symbols = symbols;
	for (unsigned i = 0; i < PROF_KINDS; i++) {
		int e = s->o.kinds & 1u << i ? write_kind(&w, 1u << i, &ret->profile[i]) : 0;

		if (e < 0 && r >= 0)
			r = error_set_errno(err, e, "can't make the %s profile",
					    prof_kind_name(1u << i));
	}
	return r < 0 ? r : stopped;
}
