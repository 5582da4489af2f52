/* SPDX-License-Identifier: MIT */
/* morsel profile: runs that are recorded, mounts that are, and reports of both. */
#include "cli/profile.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPEAT_MAX 4000
#define ATTACH_NS UINT64_C(30000000000)
#define CACHEDIR_TAG "Signature: 8a477f597d28d172789f06886806bc55"

#define OF_RUNS                                                                                    \
	(OPT(REF) | OPT(REGISTRY) | OPT(REPO) | OPT(TAG) | OPT(MODE) | OPT(REPEAT) |               \
	 OPT(UNIQUE_DEST) | OPT(PAYLOAD) | OPT(PULL_DIR) | OPT(STAMP) | OPT(CLEAR_CACHE) |         \
	 OPT(RUN_LAZY) | OPT(RUN_PREFETCH) | OPT(DESCRIPTOR_CACHE) | OPT(CACHE_STATS) |            \
	 OPT(TIMEOUT) | OPT(REPLAY))
#define OF_RECORDINGS                                                                              \
	(OPT(PROFILE) | OPT(RUN_LABEL) | OPT(CPU_ENGINE) | OPT(TRACE_FORMAT) | OPT(ATTACH) |       \
	 OPT(DURATION))

/* An option that can't mean anything here is a mistake. 0 when there is none of the set. */
static int misplaced(const struct cli *c, option_set set, const char *says)
{
	for (int id = 0; id < OPT_COUNT; id++)
		if (set >> id & 1 && option_given(c, (enum option_id)id))
			return usage_error(c, "--%s: %s", option_of(c->verb, id)->name, says);
	return 0;
}

static int bad_option(const struct cli *c, enum option_id id)
{
	return usage_error(c, "--%s: \"%s\" is not valid (%s)", option_of(c->verb, id)->name,
			   c->values[id], option_of(c->verb, id)->help);
}

/* Which of its values; 0 also when it was not given. -1: none. */
static int choice(const struct cli *c, enum option_id id)
{
	const char *const *values = option_of(c->verb, id)->values;

	for (int i = 0; c->values[id] && values[i]; i++)
		if (!strcmp(values[i], c->values[id]))
			return i;
	return c->values[id] ? -1 : 0;
}

/* ---- what is recorded ---- */

static int kinds_take(const struct cli *c, unsigned *ret)
{
	static const struct {
		const char *name;
		unsigned kind;
	} kinds[] = {{"cpu", MORSEL_PROFILE_CPU},
		     {"fgprof", MORSEL_PROFILE_FGPROF},
		     {"trace", MORSEL_PROFILE_TRACE},
		     {"none", 0}};
	const char *p = c->values[OPT_PROFILE] ? c->values[OPT_PROFILE] : "cpu";

	*ret = MORSEL_PROFILE_HEAP | MORSEL_PROFILE_ALLOCS;
	for (;; p++) {
		size_t n = strcspn(p, ","), i = 0;

		while (i < 4 && (strlen(kinds[i].name) != n || strncmp(p, kinds[i].name, n)))
			i++;
		if (i == 4)
			return bad_option(c, OPT_PROFILE);
		*ret |= kinds[i].kind;
		p += n;
		if (!*p)
			return 0;
	}
}

static int recording_take(const struct cli *c, struct morsel_profile_options *o,
			  struct outputs *out)
{
	int engine = choice(c, OPT_CPU_ENGINE), format = choice(c, OPT_TRACE_FORMAT);
	const char *label = c->values[OPT_RUN_LABEL];

	morsel_profile_options_init(o);
	if (engine < 0)
		return bad_option(c, OPT_CPU_ENGINE);
	if (format < 0)
		return bad_option(c, OPT_TRACE_FORMAT);
	for (const char *p = label; p && *p; p++)
		if (*p == '/' || iscntrl((unsigned char)*p))
			return usage_error(c, "--label: \"%s\" can't be part of a file's name",
					   label);
	if (label && strlen(label) > 100)
		return usage_error(c, "--label: more than 100 bytes");
	o->gperftools = engine == 1;
	o->chrome_trace = format == 1;
	o->file = outputs_file;
	o->userdata = out;
	out->dir = c->values[OPT_OUT] ? c->values[OPT_OUT] : "profiles";
	out->label = label && *label ? label : NULL;
	return kinds_take(c, &o->kinds);
}

/* Before anything is done. */
static int pyroscope_check(struct cli *c)
{
	const char *url = c->values[OPT_PYROSCOPE];
	int r = url ? morsel_profile_send(url, "", NULL, 0, 0, &c->err) : 0;

	return r < 0 ? fail(c, r) : 0;
}

/* ---- a run ---- */

static int mode_take(struct run *run)
{
	struct cli *c = run->c;
	int mode = choice(c, OPT_MODE);

	run->lazy = option_given(c, OPT_RUN_LAZY);
	if (mode < 0)
		return bad_option(c, OPT_MODE);
	if (!option_given(c, OPT_MODE))
		mode = run->lazy || (option_given(c, OPT_REF) && !option_given(c, OPT_PAYLOAD)) ? 1
												: 2;
	run->push = mode != 1;
	run->pull = mode != 0;
	run->out.mode = option_of(c->verb, OPT_MODE)->values[mode];
	if (run->lazy && !run->pull)
		return usage_error(c, "--lazy is a way to pull: --mode pull, or both");
	return run->lazy ? 0 : misplaced(c, OPT(RUN_PREFETCH), "it is for mounts: with --lazy");
}

static int load_take(struct run *run)
{
	struct cli *c = run->c;

	run->load.replay = c->values[OPT_REPLAY];
	if (!run->lazy && (run->load.replay || c->n_args))
		return usage_error(c, "%s is read through a mount: it needs --lazy",
				   run->load.replay ? "a trace" : "what a command reads");
	if (run->load.replay && c->n_args)
		return usage_error(c, "either a trace is replayed or a command is run");
	run->load.kind = c->n_args ? LOAD_COMMAND : run->load.replay ? LOAD_REPLAY : LOAD_READ_ALL;
	run->load.command = c->args;
	run->load.quiet_stdout = c->json;
	return 0;
}

static int reference_take(struct run *run)
{
	struct cli *c = run->c;
	const char *const *v = c->values;
	int n;

	if (v[OPT_REF])
		n = snprintf(run->ref, sizeof(run->ref), "%s", v[OPT_REF]);
	else
		n = snprintf(run->ref, sizeof(run->ref), "%s/%s:%s",
			     v[OPT_REGISTRY] ? v[OPT_REGISTRY] : "localhost:5001",
			     v[OPT_REPO] ? v[OPT_REPO] : "cli-test/profile",
			     v[OPT_TAG] ? v[OPT_TAG] : run->out.stamp);
	return n < (int)sizeof(run->ref) ? 0 : usage_error(c, "the reference is too long");
}

static int numbers_take(struct run *run)
{
	struct cli *c = run->c;
	const char *text = c->values[OPT_REPEAT];
	char *end;

	run->repeat = text ? strtoul(text, &end, 10) : 1;
	if (text &&
	    (*end || !isdigit((unsigned char)*text) || !run->repeat || run->repeat > REPEAT_MAX))
		return bad_option(c, OPT_REPEAT);
	if (c->values[OPT_TIMEOUT] && parse_duration(c->values[OPT_TIMEOUT], &run->timeout_ns) < 0)
		return bad_option(c, OPT_TIMEOUT);
	return 0;
}

static int stamp_take(struct run *run)
{
	const char *text = run->c->values[OPT_STAMP];

	if (text && *text && strcmp(text, "true") && strcmp(text, "1") && strcmp(text, "false") &&
	    strcmp(text, "0"))
		return bad_option(run->c, OPT_STAMP);
	run->stamp = !text || (strcmp(text, "false") && strcmp(text, "0"));
	return 0;
}

static bool is_empty(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n == 2; /* "." and ".." */
}

/* Nothing is removed from a directory that does not say itself that it is a cache of ours. */
static int cache_check(const struct run *run)
{
	const char *dir = run->c->values[OPT_CACHE_DIR];
	char path[PATH_MAX], text[1024] = "";
	ssize_t n;
	int fd;

	if (!run->clear_cache || !dir || access(dir, F_OK) < 0 || is_empty(dir))
		return 0; /* the default one is ours */
	snprintf(path, sizeof(path), "%s/CACHEDIR.TAG", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n > 0 && !strncmp(text, CACHEDIR_TAG, strlen(CACHEDIR_TAG)) && strstr(text, "morsel"))
		return 0;
	fprintf(stderr,
		"morsel: %s: not emptied: there is no CACHEDIR.TAG of morsel in it, so it is no "
		"cache of ours\n",
		dir);
	return 7;
}

static int run_take(struct run *run)
{
	struct cli *c = run->c;
	int r;

	run->unique_dest = option_given(c, OPT_UNIQUE_DEST);
	run->clear_cache = option_given(c, OPT_CLEAR_CACHE);
	run->prefetch = option_given(c, OPT_RUN_PREFETCH);
	run->descriptor_cache = option_given(c, OPT_DESCRIPTOR_CACHE);
	run->cache_stats = option_given(c, OPT_CACHE_STATS);
	run->payload = c->values[OPT_PAYLOAD];
	run->pull_dir = c->values[OPT_PULL_DIR];
	r = mode_take(run);
	if (!r)
		r = load_take(run);
	if (!r)
		r = numbers_take(run);
	if (!r)
		r = stamp_take(run);
	if (!r)
		r = recording_take(c, &run->profile_options, &run->out);
	if (!r)
		r = pyroscope_check(c);
	if (run->lazy)
		run->profile_options.kinds |= MORSEL_PROFILE_ACCESS;
	return r;
}

static int profile_run(struct cli *c)
{
	struct run run = {.c = c, .end_fd = -1};
	int r = run_take(&run);

	if (!r)
		r = cache_check(&run);
	if (!r)
		r = outputs_init(c, &run.out);
	if (!r)
		r = reference_take(&run);
	if (!r)
		r = run_all(&run);
	outputs_fini(&run.out);
	return r;
}

/* ---- a mount ---- */

static bool has_enough(void *userdata)
{
	return interrupted_by;
}

static int attach_record(struct cli *c, struct morsel_profile_options *o, struct outputs *out,
			 uint64_t duration_ns)
{
	int r = outputs_init(c, out);

	if (r)
		return r;
	interrupts_catch(-1);
	o->stop = has_enough;
	r = morsel_mount_profile(c->values[OPT_ATTACH], o, duration_ns, &c->err);
	if (r < 0 && out->error[0])
		snprintf(c->err.text, sizeof(c->err.text), "%s", out->error);
	if (r < 0)
		return fail(c, r);
	for (size_t i = 0; i < out->n; i++)
		puts(out->names[i]);
	r = outputs_send(c, out, c->values[OPT_PYROSCOPE]);
	return output_finish() ? 1 : r;
}

static int profile_attach(struct cli *c)
{
	struct outputs out = {.mode = "attach"};
	struct morsel_profile_options o;
	uint64_t duration_ns = ATTACH_NS;
	int r;

	if (c->n_args)
		return usage_error(c, "--attach is for a mount that is used by others");
	r = misplaced(c, OF_RUNS, "it is for runs; --attach is for a mount that is used by others");
	if (r)
		return r;
	if (c->values[OPT_DURATION] && parse_duration(c->values[OPT_DURATION], &duration_ns) < 0)
		return bad_option(c, OPT_DURATION);
	r = recording_take(c, &o, &out);
	if (!r)
		r = pyroscope_check(c);
	if (!r) {
		o.kinds |= MORSEL_PROFILE_ACCESS;
		r = attach_record(c, &o, &out, duration_ns);
	}
	outputs_fini(&out);
	return r;
}

/* ---- a report ---- */

static int file_put(struct cli *c, const char *path, const char *text, size_t n)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "we") : stdout;
	int r = !f || fwrite(text, 1, n, f) < n ? -errno : 0;

	if (f == stdout)
		return output_finish();
	if (f && fclose(f) && !r)
		r = -errno;
	if (!r)
		return 0;
	snprintf(c->err.text, sizeof(c->err.text), "%s: can't write the report: %s", path,
		 strerror(-r));
	return fail(c, r);
}

static void left_out_show(void *userdata, const char *line)
{
	const struct cli *c = userdata;

	if (!c->quiet)
		fprintf(stderr, "morsel: %s\n", line);
}

static int profile_report(struct cli *c)
{
	bool text = option_given(c, OPT_TEXT);
	const char *to = c->values[OPT_OUT] ? c->values[OPT_OUT] : text ? "-" : "report.html";
	char *report;
	size_t n;
	int r;

	if (c->n_args < 2)
		return usage_error(c, "usage: morsel profile report FILE... [-o FILE] [--text]");
	r = misplaced(c, OF_RUNS | OF_RECORDINGS, "it is not for reports");
	if (r)
		return r;
	r = morsel_profile_report((const char *const *)c->args + 1, (size_t)c->n_args - 1,
				  text ? MORSEL_REPORT_TEXT : MORSEL_REPORT_PAGE, left_out_show, c,
				  &report, &n, &c->err);
	if (r < 0)
		return fail(c, r);
	r = file_put(c, to, report, n);
	if (!r && strcmp(to, "-"))
		puts(to);
	free(report);
	return r ? r : output_finish();
}

int cmd_profile(struct cli *c)
{
	int r;

	if (c->n_args && !c->dashes) {
		if (!strcmp(c->args[0], "report"))
			return profile_report(c);
		return usage_error(c, "\"%s\": a command to run stands behind \"--\"", c->args[0]);
	}
	r = misplaced(c, OPT(TEXT), "it is for reports");
	if (!r && !option_given(c, OPT_ATTACH))
		r = misplaced(c, OPT(DURATION), "it is for --attach");
	if (r)
		return r;
	return option_given(c, OPT_ATTACH) ? profile_attach(c) : profile_run(c);
}
