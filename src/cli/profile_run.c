/* SPDX-License-Identifier: MIT */
/*
 * A run, in this order: the process that reads is forked, what can be wrong with files is found,
 * the recording begins, contexts and images come and go, the recording ends, all is told. Whatever
 * goes wrong in between ends the iterations, not the rest.
 */
#include "cli/profile.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int run_failed(struct run *run, const char *doing, int code)
{
	if (interrupted_by == SIGALRM) {
		progress_stop(run->c);
		fprintf(stderr, "morsel: %s: the time (--timeout %s) was over while %s it\n",
			run->ref, run->c->values[OPT_TIMEOUT], doing);
		return 1;
	}
	if (code == -ECANCELED && interrupted_by)
		snprintf(run->c->err.text, sizeof(run->c->err.text), "%s: interrupted while %s it",
			 run->ref, doing);
	return fail(run->c, code);
}

const char *run_reference(const struct run *run)
{
	return run->known[0] ? run->known : run->ref;
}

/* Only registries are asked what a name means. */
void run_know(struct run *run, const char *digest)
{
	if (run->descriptor_cache && !strchr(run->ref, '@') && strncmp(run->ref, "oci", 3) != 0 &&
	    strncmp(run->ref, "docker-archive:", 15) != 0)
		snprintf(run->known, sizeof(run->known), "%s@%s", run->ref, digest);
}

void run_recorded_end(struct run *run)
{
	struct morsel_error err = {0};
	int r = run->profile ? morsel_profile_stop(run->profile, &err) : 0;

	run->profile = NULL;
	if (r >= 0)
		return;
	fprintf(stderr, "morsel: %s\n", run->out.error[0] ? run->out.error : err.text);
	run->recorded = morsel_exit_code(r);
}

/* ---- one iteration ---- */

static uint64_t number_in(const json_t *o, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(o, key));
}

/* What the pushed file says, so that it is another one each time. */
static void stamp_text(const struct run *run, unsigned number, char ret[static 200])
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	snprintf(ret, 200, "run %s iteration %u at %lld.%09ld by %d\n", run->out.stamp, number,
		 (long long)ts.tv_sec, ts.tv_nsec, (int)getpid());
}

static int push_once(struct run *run, struct iteration *it)
{
	struct cli *c = run->c;
	struct morsel_push_layer layer = {.dir = run->payload};
	struct morsel_push_file file = {.path = ".profile-run.txt"};
	struct morsel_push_options o;
	char text[200], *json;
	double start = now_s();
	json_t *root;
	int r;

	stamp_text(run, it->number, text);
	file.data = text;
	file.n = strlen(text);
	morsel_push_options_init(&o);
	if (run->stamp)
		o.extra = &file;
	r = morsel_push(run->m, &layer, 1, run->ref, &o, &json, &c->err);
	if (r < 0)
		return run_failed(run, "pushing", r);
	it->seconds = now_s() - start;
	root = json_loads(json, 0, NULL);
	it->moved_bytes = number_in(root, "moved_bytes");
	json_decref(root);
	free(json);
	return 0;
}

/* Where this iteration's files go. */
static int pull_directory(const struct run *run, unsigned number, char *ret, size_t n)
{
	if (run->unique_dest)
		snprintf(ret, n, "%s/%s_%u", run->pull_dir, run->out.stamp, number);
	else
		snprintf(ret, n, "%s", run->pull_dir);
	return run->unique_dest || strchr(run->pull_dir, '/') ? directory_make(run->pull_dir) : 0;
}

static int pull_once(struct run *run, struct iteration *it)
{
	struct cli *c = run->c;
	struct morsel_pull_options o;
	char dir[PATH_MAX + 64], *json;
	json_t *root;
	double start;
	int r = pull_directory(run, it->number, dir, sizeof(dir));

	if (r < 0) {
		snprintf(c->err.text, sizeof(c->err.text), "%s: can't make it: %s", run->pull_dir,
			 strerror(-r));
		return fail(c, r);
	}
	morsel_pull_options_init(&o);
	o.overwrite = true;
	start = now_s();
	r = morsel_pull(run->m, run_reference(run), dir, &o, &json, &c->err);
	if (r < 0)
		return run_failed(run, "pulling", r);
	it->seconds = now_s() - start;
	root = json_loads(json, 0, NULL);
	it->moved_bytes = number_in(root, "moved_bytes");
	it->wanted = number_in(root, "total_bytes");
	it->had = number_in(root, "skipped_bytes");
	run_know(run, json_string_value(json_object_get(root, "digest")));
	json_decref(root);
	free(json);
	return 0;
}

static int step(struct run *run, const char *mode, unsigned number)
{
	struct iteration it = {.mode = mode, .number = number};
	struct morsel_traffic before, after;
	struct iteration *its = reallocarray(run->its, run->n_its + 1, sizeof(*its));
	int r;

	if (!its)
		return fail(run->c, -ENOMEM);
	run->its = its;
	run->c->err = (struct morsel_error){0};
	progress_init(run->c);
	morsel_traffic(run->m, &before);
	r = *mode == 'l'	    ? run_lazy(run, &it)
	    : !strcmp(mode, "push") ? push_once(run, &it)
				    : pull_once(run, &it);
	progress_stop(run->c);
	morsel_traffic(run->m, &after);
	it.requests = after.requests - before.requests;
	if (*mode == 'l' && it.requests) /* else it was no registry */
		it.moved_bytes = after.received_bytes - before.received_bytes;
	run->requests += it.requests;
	run->wanted += it.wanted;
	run->had += it.had;
	if (r)
		return r;
	run->its[run->n_its++] = it;
	iteration_show(run, &it);
	return 0;
}

static int cache_clear(struct run *run)
{
	uint64_t freed;
	int r = run->clear_cache ? morsel_cache_clear(run->m, &freed, &run->c->err) : 0;

	return r < 0 ? fail(run->c, r) : 0;
}

static int iteration_run(struct run *run, unsigned number)
{
	int r = 0;

	if (!run->m)
		r = context_new(run->c, &run->m);
	if (!r)
		r = cache_clear(run);
	if (!r && run->push) {
		run->known[0] = 0;
		r = step(run, "push", number);
	}
	if (!r && run->pull)
		r = step(run, run->lazy ? "lazy" : "pull", number);
	return r;
}

static void context_end(struct run *run)
{
	struct morsel *m = run->m;

	run->m = NULL;
	if (m)
		context_free(m);
}

static int iterations_run(struct run *run)
{
	int r = 0;

	for (unsigned i = 1; i <= run->repeat && !r; i++) {
		if (interrupted_by)
			return run_failed(run, "profiling", -ECANCELED);
		r = iteration_run(run, i);
		if ((i == run->repeat || r) && run->cache_stats && run->m)
			morsel_cache_info(run->m, &run->cache_json, &run->c->err);
		if (i == run->repeat || r)
			run_recorded_end(run);
		if (!run->descriptor_cache)
			context_end(run);
	}
	context_end(run);
	run_recorded_end(run);
	return r;
}

/* ---- around them ---- */

static void timeout_arm(const struct run *run)
{
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	struct itimerspec its = {.it_value = {.tv_sec = (time_t)(run->timeout_ns / 1000000000),
					      .tv_nsec = (long)(run->timeout_ns % 1000000000)}};
	timer_t timer;

	if (run->timeout_ns && timer_create(CLOCK_MONOTONIC, &ev, &timer) >= 0)
		timer_settime(timer, 0, &its, NULL);
}

static int payload_prepare(struct run *run)
{
	int r;

	if (!run->push || run->payload)
		return 0;
	snprintf(run->made_payload, sizeof(run->made_payload), "%s/payload", run->temporary);
	run->payload = run->made_payload;
	r = payload_make(run->payload);
	if (r >= 0)
		return 0;
	snprintf(run->c->err.text, sizeof(run->c->err.text), "%s: can't make files to push: %s",
		 run->payload, strerror(-r));
	return fail(run->c, r);
}

static int run_measured(struct run *run)
{
	struct cli *c = run->c;
	int r, sent;

	run->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (run->end_fd < 0)
		return fail(c, -errno);
	interrupts_catch(run->end_fd);
	timeout_arm(run);
	r = payload_prepare(run);
	if (r)
		return r;
	r = morsel_profile_start(&run->profile_options, &run->profile, &c->err);
	if (r < 0)
		return fail(c, r);
	r = iterations_run(run);
	if (!r)
		r = run->recorded;
	run_show(run);
	if (output_finish() && !r)
		r = 1;
	sent = outputs_send(c, &run->out, c->values[OPT_PYROSCOPE]);
	return r ? r : sent;
}

int run_all(struct run *run)
{
	char pulled[PATH_MAX + 16];
	int r;

	if (run->load.replay && (r = morsel_replay(run->load.replay, NULL, &run->c->err)) < 0)
		return fail(run->c, r);
	if (run->lazy && (r = load_start(&run->load)) < 0)
		return fail(run->c, r);
	r = temporary_make(run->c, run->temporary);
	if (!r && !run->pull_dir) {
		snprintf(pulled, sizeof(pulled), "%s/pulled", run->temporary);
		run->pull_dir = pulled;
	}
	if (!r)
		r = run_measured(run);
	load_end(&run->load);
	temporary_remove(run->temporary, true);
	free(run->its);
	free(run->cache_json);
	return r;
}
