/* SPDX-License-Identifier: MIT */
/*
 * One table says what an option is called, what it takes and what it means; getopt, the environment
 * (MORSEL_<NAME>), help and shell completion are made from it.
 */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const pulls[] = {"newer", "missing", "always", "never", NULL};
static const char *const levels[] = {"error", "warn", "info", "debug", "trace", NULL};
static const char *const formats[] = {"table", "json", NULL};
static const char *const modes[] = {"auto", "tty", "none", NULL};
static const char *const bools[] = {"true", "false", NULL};
static const char *const compressions[] = {"estargz", "zstd:chunked", "gzip", "zstd", "none", NULL};
/* Of many; others are taken too. */
static const char *const platforms[] = {
	"linux/amd64",	 "linux/arm64", "linux/arm/v7",	 "linux/386",
	"linux/ppc64le", "linux/s390x", "linux/riscv64", NULL};
static const char *const kinds[] = {"none", "landmark", "order", "all", "list=", NULL};

static const char *const backends[] = {"fuse", "kernel", "auto", NULL};

static const char *const run_modes[] = {"push", "pull", "both", NULL};
static const char *const profiles[] = {"cpu", "fgprof", "trace", "none", NULL};
static const char *const engines[] = {"timers", "gperftools", NULL};
static const char *const trace_formats[] = {"go", "chrome", NULL};

static const struct option_info infos[OPT_COUNT] = {
	[OPT_CACHE_DIR] = {"cache-dir", 0, "DIR", .env = true,
			   .help = "where fetched data is kept"},
	[OPT_CACHE_SIZE] = {"cache-size", 0, "SIZE", .env = true,
			    .help = "bound of the cache, e.g. 20G (default 10G)"},
	[OPT_PLATFORM] = {"platform", 0, "OS/ARCH[/VARIANT]", .env = true, .values = platforms,
			  .help = "which image of an index (default: this machine's)"},
	[OPT_INSECURE] = {"insecure", 0, NULL, .env = true, .help = "plain HTTP"},
	[OPT_TLS_VERIFY] = {"tls-verify", 0, "BOOL", .optional = true, .env = true, .values = bools,
			    .help = "=false: HTTPS without verifying the registry"},
	[OPT_AUTHFILE] = {"authfile", 0, "FILE", .env = true,
			  .help = "credentials (default: podman's and docker's places)"},
	[OPT_OFFLINE] = {"offline", 0, NULL, .env = true, .help = "never dial; use the cache only"},
	[OPT_PULL] =
		{"pull", 0, "POLICY", .env = true, .values = pulls,
		 .help = "when to ask what a tag names: newer (default), missing, always, never"},
	[OPT_MAX_ENTRIES] = {"max-entries", 0, "N", .env = true,
			     .help = "files an image may have (default 1000000)"},
	[OPT_LOG_LEVEL] = {"log-level", 0, "LEVEL", .env = true, .values = levels,
			   .help = "error, warn (default), info, debug, trace"},
	[OPT_VERBOSE] = {"verbose", 'v', NULL, .help = "log more; twice: even more"},
	[OPT_QUIET] = {"quiet", 'q', NULL, .help = "only errors"},
	[OPT_PROGRESS] = {"progress", 0, "MODE", .env = true, .values = modes,
			  .help = "auto (default: on a terminal), tty, none"},
	[OPT_FORMAT] = {"format", 0, "FORMAT", .env = true, .values = formats,
			.help = "table (default) or json"},
	[OPT_FOREGROUND] = {"foreground", 'f', NULL, .help = "serve in the foreground"},
	[OPT_READY_FD] = {"ready-fd", 0, "FD",
			  .help = "write \"ready\\n\" there when the mount answers"},
	[OPT_READ_TIMEOUT] = {"read-timeout", 0, "TIME", .env = true,
			      .help = "a read that takes longer fails with EIO (default 30s)"},
	[OPT_ALLOW_OTHER] = {"allow-other", 0, NULL, .help = "let other users look"},
	[OPT_SUID] = {"suid", 0, NULL, .help = "honour setuid bits and file capabilities (root)"},
	[OPT_DEV] = {"dev", 0, NULL, .help = "let device nodes work (root)"},
	[OPT_NOEXEC] = {"noexec", 0, NULL, .help = "let no program be run from it"},
	[OPT_BACKEND] = {"backend", 0, "NAME", .env = true, .values = backends,
			 .help = "fuse (default), kernel (EROFS; root), auto"},
	[OPT_THREADS] = {"threads", 0, "N", .help = "threads that answer the kernel, or compress"},
	[OPT_PREFETCH] = {"prefetch", 0, "KIND[,KIND...]", .env = true, .values = kinds,
			  .help = "none, landmark, order, all, list=FILE (default landmark,order)"},
	[OPT_BANDWIDTH] = {"bandwidth", 0, "SIZE", .env = true,
			   .help = "bytes a second that prefetch may take, e.g. 2M"},
	[OPT_LOG_FILE] =
		{"log-file", 0, "FILE", .env = true,
		 .help = "append the log there (the default is stderr, lost in the background)"},
	[OPT_LAZY] = {"lazy", 'z', NULL, .help = "detach now, even when in use"},
	[OPT_WATCH] = {"watch", 0, "TIME", .optional = true,
		       .help = "show rates, every so often (default 1s)"},
	[OPT_LONG] = {"long", 'l', NULL, .help = "mode, links, owner, size, time"},
	[OPT_RECURSIVE] = {"recursive", 'R', NULL, .help = "subdirectories too"},
	[OPT_HUMAN] = {"human-readable", 'h', NULL, .help = "sizes like 1.5M"},
	[OPT_ALL] = {"all", 'a', NULL, .help = "dot files too, which are listed anyway"},
	[OPT_INCLUDE] = {"include", 0, "GLOB", .help = "only what matches; may be repeated"},
	[OPT_EXCLUDE] = {"exclude", 0, "GLOB", .help = "not what matches; may be repeated"},
	[OPT_STRIP_PREFIX] = {"strip-prefix", 0, "PATH",
			      .help = "this directory of the image becomes DIR"},
	[OPT_OVERWRITE] = {"overwrite", 0, NULL,
			   .help = "merge into a directory that holds something"},
	[OPT_COMPRESSION] = {"compression", 0, "FORMAT", .env = true, .values = compressions,
			     .help = "estargz (default), zstd:chunked, gzip, zstd, none"},
	[OPT_LEVEL] = {"level", 0, "N", .env = true, .help = "of the compression"},
	[OPT_CHUNK_SIZE] = {"chunk-size", 0, "SIZE", .env = true,
			    .help = "what can be fetched alone of a file (default 1M)"},
	[OPT_LAYER] = {"layer", 0, "PREFIX=DIR",
		       .help = "one more layer, with DIR's contents at PREFIX; repeatable"},
	[OPT_BASE] = {"base", 0, "REF", .help = "the image that the layers are put on"},
	[OPT_ENTRYPOINT] = {"entrypoint", 0, "COMMAND",
			    .help = "what it runs: words, or a JSON array"},
	[OPT_CMD] = {"cmd", 0, "COMMAND",
		     .help = "arguments that can be replaced: words, or a JSON array"},
	[OPT_ENV] = {"env", 'e', "NAME[=VALUE]", .help = "a variable it sees; repeatable"},
	[OPT_WORKDIR] = {"workdir", 'w', "PATH", .help = "where it starts"},
	[OPT_USER] = {"user", 'u', "USER[:GROUP]", .help = "as whom it runs"},
	[OPT_LABEL] = {"label", 'l', "KEY=VALUE", .help = "a label; repeatable"},
	[OPT_ANNOTATION] = {"annotation", 0, "KEY=VALUE",
			    .help = "an annotation of the manifest; repeatable"},
	[OPT_AUTHOR] = {"author", 0, "TEXT", .help = "who made it"},
	[OPT_ARTIFACT_TYPE] = {"artifact-type", 0, "TYPE",
			       .help = "an OCI artifact of this type, not an image"},
	[OPT_OWNER] = {"owner", 0, "UID[:GID]", .help = "owner of all files, in numbers"},
	[OPT_IGNORE_FILE] = {"ignore-file", 0, "FILE",
			     .help = "patterns (default DIR/.dockerignore); empty: none"},
	[OPT_PRIORITIZE] = {"prioritize", 0, "FILE",
			    .help = "paths or an access profile that come first; repeatable"},
	[OPT_ALLOW_CHANGED] = {"allow-changed", 0, NULL,
			       .help = "go on when a file changes while it is read"},
	[OPT_DIGEST_FILE] = {"digest-file", 0, "FILE", .help = "write the digest there"},
	[OPT_JOBS] = {"jobs", 'j', "N", .env = true,
		      .help = "blobs on their way at once (default 4)"},
	[OPT_OCI] = {"oci", 0, "LAYOUT[:NAME]", .help = "copy the image as it is to an OCI layout"},
	[OPT_ALL_PLATFORMS] = {"all-platforms", 0, NULL, .help = "with --oci: the whole index"},
	[OPT_REF] = {"ref", 0, "REF", .help = "image to push and pull, instead of the next three"},
	[OPT_REGISTRY] = {"registry", 0, "HOST[:PORT]", .help = "default localhost:5001"},
	[OPT_REPO] = {"repo", 0, "PATH", .help = "default cli-test/profile"},
	[OPT_TAG] = {"tag", 0, "TAG", .help = "default: the time, like 20261122T224447Z"},
	[OPT_MODE] = {"mode", 0, "MODE", .values = run_modes,
		      .help = "push, pull, both (default: both; pull with --lazy, or with --ref "
			      "and no --payload)"},
	[OPT_PROFILE] = {"profile", 0, "KIND[,KIND...]", .values = profiles,
			 .help = "cpu (default), fgprof, trace, none"},
	[OPT_OUT] = {"out", 'o', "DIR",
		     .help = "where files go (default profiles); report: the file, - is stdout"},
	[OPT_RUN_LABEL] = {"label", 0, "TEXT", .help = "goes into the names of files"},
	[OPT_REPEAT] = {"repeat", 0, "N", .help = "iterations (default 1)"},
	[OPT_UNIQUE_DEST] = {"unique-dest", 0, NULL,
			     .help = "a fresh directory for each pull, below --pull-dir"},
	[OPT_PAYLOAD] = {"payload", 0, "DIR", .help = "what to push (default: made up)"},
	[OPT_PULL_DIR] = {"pull-dir", 0, "DIR", .help = "where to pull (default: a temporary one)"},
	[OPT_STAMP] = {"stamp", 0, "BOOL", .optional = true, .values = bools,
		       .help = "push a file .profile-run.txt, different each time (default true)"},
	[OPT_CLEAR_CACHE] = {"clear-cache", 0, NULL,
			     .help = "empty the cache before each iteration"},
	[OPT_RUN_LAZY] = {"lazy", 0, NULL, .help = "pull by mounting, and read through the mount"},
	[OPT_RUN_PREFETCH] = {"prefetch", 0, NULL,
			      .help = "with --lazy: fetch everything meanwhile (default: nothing)"},
	[OPT_DESCRIPTOR_CACHE] = {"descriptor-cache", 0, NULL,
				  .help = "ask once what the tag names; keep connections"},
	[OPT_CACHE_STATS] = {"cache-stats", 0, NULL,
			     .help = "entries, bytes, hit ratio and requests at the end"},
	[OPT_TIMEOUT] = {"timeout", 0, "TIME", .help = "end the whole run after, e.g. 90s, 15m"},
	[OPT_REPLAY] = {"replay", 0, "FILE",
			.help = "with --lazy: read what this access trace says was read"},
	[OPT_CPU_ENGINE] = {"cpu-engine", 0, "NAME", .values = engines,
			    .help = "timers (default), gperftools"},
	[OPT_TRACE_FORMAT] = {"trace-format", 0, "NAME", .values = trace_formats,
			      .help = "go (default), chrome"},
	[OPT_ATTACH] = {"attach", 0, "DIR", .help = "record the server of this mount instead"},
	[OPT_DURATION] = {"duration", 0, "TIME", .help = "with --attach: how long (default 30s)"},
	[OPT_PYROSCOPE] = {"pyroscope", 0, "URL", .env = true,
			   .help = "send the profiles to this Pyroscope server as well"},
	[OPT_TEXT] = {"text", 0, NULL, .help = "report: tables instead of a page"},
	[OPT_HELP] = {"help", 0, NULL, .help = "show this"},
};

static bool takes(const struct verb *verb, int id)
{
	return verb->options >> id & 1;
}

static void env_name(const char *name, char out[static 40])
{
	size_t n = (size_t)snprintf(out, 40, "MORSEL_%s", name);

	for (size_t i = 0; i < n; i++)
		out[i] = out[i] == '-'
				 ? '_'
				 : (char)(out[i] >= 'a' && out[i] <= 'z' ? out[i] - 32 : out[i]);
}

const struct option_info *option_of(const struct verb *verb, int id)
{
	return takes(verb, id) ? &infos[id] : NULL;
}

void options_help(const struct verb *verb, FILE *f)
{
	fprintf(f, "usage: morsel %s%s%s\n\n%s\n\noptions:\n", verb->name, *verb->usage ? " " : "",
		verb->usage, verb->summary);
	for (int i = 0; i < OPT_COUNT; i++) {
		char left[64], letter[5] = "   ";

		if (!takes(verb, i))
			continue;
		if (infos[i].letter)
			snprintf(letter, sizeof(letter), "-%c,", infos[i].letter);
		snprintf(left, sizeof(left), "%s --%s%s%s", letter, infos[i].name,
			 infos[i].arg ? "=" : "", infos[i].arg ? infos[i].arg : "");
		fprintf(f, "  %-34s %s\n", left, infos[i].help);
	}
}

const struct option_info *option_of_mount(const struct verb *verb, const char *name, size_t n)
{
	for (int i = 0; i < OPT_COUNT; i++)
		if (takes(verb, i) && strlen(infos[i].name) == n &&
		    !strncmp(infos[i].name, name, n))
			return i != OPT_HELP && i != OPT_FOREGROUND && i != OPT_READY_FD ? &infos[i]
											 : NULL;
	return NULL;
}

int option_refuse(const struct cli *c, int id, const char *why)
{
	bool given = false;
	char name[40];

	for (size_t i = 0; i < c->n_given; i++)
		given = given || c->given[i].id == id;
	snprintf(name, sizeof(name), "--%s", infos[id].name);
	if (!given)
		env_name(infos[id].name, name);
	return usage_error(c, "%s: \"%s\" is not valid (%s)", name, c->values[id], why);
}

static int bad_value(const struct cli *c, int id)
{
	return option_refuse(c, id, infos[id].help);
}

/* What was not given leaves *ret as it is. */
static int size_take(const struct cli *c, int id, uint64_t *ret)
{
	if (c->values[id] && (parse_size(c->values[id], ret) < 0 || !*ret))
		return bad_value(c, id);
	return 0;
}

static int choice_take(const struct cli *c, int id, int *ret)
{
	if (c->values[id] && parse_choice(c->values[id], infos[id].values, ret) < 0)
		return bad_value(c, id);
	return 0;
}

/* An option without an argument, or one that says no ("--offline=no"), is there or not. */
static int switches_take(struct cli *c)
{
	for (int i = 0; i < OPT_COUNT; i++) {
		bool wanted = true;

		if (!c->values[i] || infos[i].arg)
			continue;
		if (parse_bool(c->values[i], true, &wanted) < 0)
			return bad_value(c, i);
		if (!wanted)
			c->values[i] = NULL;
	}
	return 0;
}

static int context_take(struct cli *c)
{
	struct morsel_options *o = &c->options;
	int pull = (int)o->pull, r = switches_take(c);
	bool verify = true;

	o->cache_dir = c->values[OPT_CACHE_DIR];
	o->platform = c->values[OPT_PLATFORM];
	o->authfile = c->values[OPT_AUTHFILE];
	o->insecure = option_given(c, OPT_INSECURE);
	o->offline = option_given(c, OPT_OFFLINE);
	if (!r && o->cache_dir && !*o->cache_dir)
		r = bad_value(c, OPT_CACHE_DIR);
	if (!r)
		r = size_take(c, OPT_CACHE_SIZE, &o->cache_bytes);
	if (!r)
		r = size_take(c, OPT_MAX_ENTRIES, &o->max_entries);
	if (!r && c->values[OPT_READ_TIMEOUT] &&
	    parse_duration(c->values[OPT_READ_TIMEOUT], &o->read_deadline_ns) < 0)
		r = bad_value(c, OPT_READ_TIMEOUT);
	if (!r && c->values[OPT_TLS_VERIFY] &&
	    parse_bool(c->values[OPT_TLS_VERIFY], true, &verify) < 0)
		r = bad_value(c, OPT_TLS_VERIFY);
	if (!r)
		r = choice_take(c, OPT_PULL, &pull);
	o->tls_noverify = !verify;
	o->pull = (enum morsel_pull)pull;
	if (!r && o->offline && o->pull == MORSEL_PULL_ALWAYS)
		r = usage_error(c, "--pull=always asks the registry, which --offline forbids");
	return r;
}

static int output_take(struct cli *c, int verbose)
{
	int level = MORSEL_LOG_WARN + verbose, format = 0, mode = (int)c->progress;
	int r = choice_take(c, OPT_LOG_LEVEL, &level);

	if (!r)
		r = choice_take(c, OPT_FORMAT, &format);
	if (!r)
		r = choice_take(c, OPT_PROGRESS, &mode);
	c->json = format == 1;
	c->progress = (enum progress_mode)mode;
	c->quiet = option_given(c, OPT_QUIET);
	if (c->quiet)
		level = MORSEL_LOG_ERROR;
	c->options.log_level =
		(enum morsel_log_level)(level > MORSEL_LOG_TRACE ? MORSEL_LOG_TRACE : level);
	return r;
}

/* The meaning of the options that set up a context or the output; a verb reads its own. */
static int options_apply(struct cli *c, int verbose)
{
	int r = context_take(c);

	return r ? r : output_take(c, verbose);
}

static void environment_read(struct cli *c)
{
	char name[40];

	for (int i = 0; i < OPT_COUNT; i++) {
		const char *v;

		if (!infos[i].env || !takes(c->verb, i))
			continue;
		env_name(infos[i].name, name);
		v = getenv(name);
		if (v && *v)
			c->values[i] = v;
	}
}

/* Returns 0, or 1 after having said why. */
static int option_note(struct cli *c, int id, const char *text)
{
	void *more = reallocarray(c->given, c->n_given + 1, sizeof(*c->given));

	if (!more) {
		fprintf(stderr, "morsel: %s\n", strerror(ENOMEM));
		return 1;
	}
	c->given = more;
	c->given[c->n_given].id = id;
	c->given[c->n_given++].text = text;
	c->values[id] = text;
	return 0;
}

const char **option_all(const struct cli *c, enum option_id id)
{
	const char **all = calloc(c->n_given + 2, sizeof(*all));
	size_t n = 0;

	for (size_t i = 0; all && i < c->n_given; i++)
		if (c->given[i].id == (int)id)
			all[n++] = c->given[i].text;
	if (all && !n && c->values[id]) /* from the environment */
		all[0] = c->values[id];
	return all;
}

int options_read(struct cli *c, int argc, char **argv)
{
	struct option longs[OPT_COUNT + 1] = {0};
	char shorts[2 * OPT_COUNT + 2] =
		":"; /* a missing argument is told apart from an unknown option */
	size_t n = 0, s = 1;
	int ch, verbose = 0;

	for (int i = 0; i < OPT_COUNT; i++) {
		if (!takes(c->verb, i))
			continue;
		longs[n++] = (struct option){infos[i].name,
					     !infos[i].arg || infos[i].optional ? optional_argument
										: required_argument,
					     NULL, 256 + i};
		if (infos[i].letter)
			shorts[s++] = infos[i].letter;
		if (infos[i].letter && infos[i].arg)
			shorts[s++] = ':';
	}
	shorts[s] = 0;
	environment_read(c);
	optind = 1;
	while ((ch = (c->verb->one_dash ? getopt_long_only : getopt_long)(argc, argv, shorts, longs,
									  NULL)) >= 0) {
		int id = ch - 256;

		if (ch == '?' || ch == ':')
			return usage_error(c, "%s %s",
					   ch == ':' ? "an argument is missing after"
						     : "unknown option",
					   argv[optind - 1]);
		for (int i = 0; ch < 256 && i < OPT_COUNT; i++)
			if (infos[i].letter == ch && takes(c->verb, i))
				id = i;
		if (option_note(c, id, optarg ? optarg : ""))
			return 1;
		verbose += id == OPT_VERBOSE;
	}
	c->dashes = optind > 1 && !strcmp(argv[optind - 1], "--");
	c->args = argv + optind;
	c->n_args = argc - optind;
	return options_apply(c, verbose);
}
