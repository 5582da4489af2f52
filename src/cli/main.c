/* SPDX-License-Identifier: MIT */
/*
 * morsel: finds the verb, reads its options, runs it.
 *
 * A map of the source, from the bottom up:
 *   base      errors, digests, buffers, JSON, the I/O seam, worker threads
 *   prof      what a mount counts
 *   registry  reference -> bytes: HTTP, credentials, OCI layouts
 *   image     bytes -> meaning: manifests, tar, layer formats, the merge, EROFS
 *   cache     bytes kept and verified; single flight, fetching, eviction
 *   fs        answers the kernel
 *   lib       the facade behind morsel.h
 *   transfer  images on their way: layers made, blobs sent
 *   cli       this folder, which uses morsel.h only
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int cmd_help(struct cli *c);
static int cmd_version(struct cli *c);

static const struct verb verbs[] = {
	{"mount", "[OPTION...] REF DIR", "Mount an image as a read-only directory.",
	 OPTS_IMAGE | OPT(FOREGROUND) | OPT(READY_FD) | OPT(READ_TIMEOUT) | OPT(ALLOW_OTHER) |
		 OPT(SUID) | OPT(DEV) | OPT(NOEXEC) | OPT(BACKEND) | OPT(THREADS) | OPT(PREFETCH) |
		 OPT(BANDWIDTH) | OPT(LOG_FILE),
	 2, 2, cmd_mount},
	{"umount", "[-z] DIR...", "Unmount images.", OPTS_COMMON | OPT(LAZY), 1, -1, cmd_umount},
	{"stat", "DIR [--watch [TIME]]", "Show what a mount has fetched and served.",
	 OPTS_COMMON | OPT(FORMAT) | OPT(WATCH), 1, 2, cmd_stat},
	{"ls", "[-lRh] REF [PATH]", "List files of an image.",
	 OPTS_IMAGE | OPT(READ_TIMEOUT) | OPT(FORMAT) | OPT(LONG) | OPT(RECURSIVE) | OPT(HUMAN) |
		 OPT(ALL),
	 1, 2, cmd_ls},
	{"cat", "REF PATH...", "Write files of an image to stdout.", OPTS_IMAGE | OPT(READ_TIMEOUT),
	 2, -1, cmd_cat},
	{"cp", "REF PATH... DEST", "Copy files and trees out of an image.",
	 OPTS_IMAGE | OPT(READ_TIMEOUT), 3, -1, cmd_cp},
	{"pull", "[OPTION...] REF DIR | --oci LAYOUT[:NAME] REF",
	 "Write an image's files to a directory, or the image to an OCI layout.",
	 OPTS_IMAGE | OPT(READ_TIMEOUT) | OPT(FORMAT) | OPT(INCLUDE) | OPT(EXCLUDE) |
		 OPT(STRIP_PREFIX) | OPT(OVERWRITE) | OPT(OCI) | OPT(ALL_PLATFORMS),
	 1, 2, cmd_pull},
	{"push", "[OPTION...] DIR... REF",
	 "Make an image of directories and send it to a registry.",
	 OPTS_DIAL | OPT(PLATFORM) | OPT(PULL) | OPT(PROGRESS) | OPT(FORMAT) | OPT(THREADS) |
		 OPT(COMPRESSION) | OPT(LEVEL) | OPT(CHUNK_SIZE) | OPT(LAYER) | OPT(BASE) |
		 OPT(ENTRYPOINT) | OPT(CMD) | OPT(ENV) | OPT(WORKDIR) | OPT(USER) | OPT(LABEL) |
		 OPT(ANNOTATION) | OPT(AUTHOR) | OPT(ARTIFACT_TYPE) | OPT(OWNER) | OPT(EXCLUDE) |
		 OPT(IGNORE_FILE) | OPT(PRIORITIZE) | OPT(ALLOW_CHANGED) | OPT(DIGEST_FILE) |
		 OPT(JOBS),
	 1, -1, cmd_push},
	{"tags", "REPO", "List the tags of a repository, or the names in an archive.",
	 OPTS_DIAL | OPT(FORMAT) | OPT(PROGRESS), 1, 1, cmd_tags},
	{"inspect", "REF", "Show what an image is and how its layers would be fetched.",
	 OPTS_IMAGE | OPT(FORMAT), 1, 1, cmd_inspect},
	{"cache", "info|ls|verify|clear|prune [SIZE]",
	 "Look at the cache, check it, make room in it, empty it.",
	 OPTS_CACHE | OPT(FORMAT) | OPT(PROGRESS), 1, 2, cmd_cache},
	{"profile", "report FILE... | [OPTION...] [-- COMMAND ARG...]",
	 "Push, pull or mount an image and record where the time goes; show it.",
	 OPTS_DIAL | OPT(PLATFORM) | OPT(FORMAT) | OPT(REF) | OPT(REGISTRY) | OPT(REPO) | OPT(TAG) |
		 OPT(MODE) | OPT(PROFILE) | OPT(OUT) | OPT(RUN_LABEL) | OPT(REPEAT) |
		 OPT(UNIQUE_DEST) | OPT(PAYLOAD) | OPT(PULL_DIR) | OPT(STAMP) | OPT(CLEAR_CACHE) |
		 OPT(RUN_LAZY) | OPT(RUN_PREFETCH) | OPT(DESCRIPTOR_CACHE) | OPT(CACHE_STATS) |
		 OPT(TIMEOUT) | OPT(REPLAY) | OPT(CPU_ENGINE) | OPT(TRACE_FORMAT) | OPT(ATTACH) |
		 OPT(DURATION) | OPT(PYROSCOPE) | OPT(TEXT),
	 0, -1, cmd_profile, .one_dash = true},
	{"completion", "bash|zsh|fish", "Print a completion script for a shell.", OPT(HELP), 1, -1,
	 cmd_completion},
	{"version", "", "Show the version.", OPT(HELP), 0, 0, cmd_version},
	{"help", "[VERB]", "Show how to use a verb.", OPT(HELP), 0, 1, cmd_help},
};

#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

const struct verb *verb_get(size_t i)
{
	return i < N_VERBS ? &verbs[i] : NULL;
}

const struct verb *verb_lookup(const char *name)
{
	for (size_t i = 0; i < N_VERBS; i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

static void help_all(FILE *f)
{
	fputs("usage: morsel VERB [OPTION...] ARGUMENT...\n\n"
	      "Container images as files, straight from a registry, fetched as they are read.\n\n",
	      f);
	for (size_t i = 0; i < N_VERBS; i++)
		fprintf(f, "  %-10s %s\n", verbs[i].name, verbs[i].summary);
	fputs("\nREF is [docker://][host[:port]/]path[:tag][@digest], oci:DIR[:NAME],\n"
	      "oci-archive:FILE[:NAME] or docker-archive:FILE[:NAME].\n"
	      "\"morsel help VERB\" shows a verb's options.\n",
	      f);
}

static int cmd_help(struct cli *c)
{
	const struct verb *verb;

	if (!c->n_args) {
		help_all(stdout);
		return output_finish();
	}
	verb = verb_lookup(c->args[0]);
	if (!verb)
		return usage_error(c, "there is no verb \"%s\"", c->args[0]);
	options_help(verb, stdout);
	return output_finish();
}

static int cmd_version(struct cli *c)
{
	printf("morsel %s\n", morsel_version());
	return output_finish();
}

/* The one piece of state that a signal handler can reach. */
static struct morsel *_Atomic interrupted_context;
static _Atomic int interrupt_fd = -1;
_Atomic int interrupted_by;

static void on_interrupt(int sig)
{
	struct morsel *m = atomic_load(&interrupted_context);
	int fd = atomic_load(&interrupt_fd), before = errno;

	interrupted_by = sig;
	if (m)
		morsel_cancel(m);
	if (fd >= 0)
		eventfd_write(fd, 1);
	errno = before;
}

void interrupts_catch(int fd)
{
	struct sigaction sa = {.sa_handler = on_interrupt}; /* no SA_RESTART: a wait must end */
	struct sigaction hup;

	if (fd >= 0)
		atomic_store(&interrupt_fd, fd);
	if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN) /* nohup(1)'s */
		sigaction(SIGHUP, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGALRM, &sa, NULL);
}

void log_line(void *userdata, enum morsel_log_level level, const char *line)
{
	static const char *const names[] = {"error", "warning", "info", "debug", "trace"};
	struct cli *c = userdata;

	progress_hold(c);
	fprintf(c->log, "morsel: %s: %s\n", names[level], line);
	fflush(c->log);
	progress_release(c);
}

int context_new(struct cli *c, struct morsel **ret)
{
	int r;

	c->options.log = log_line;
	c->options.userdata = c;
	progress_init(c);
	r = morsel_new(&c->options, ret, &c->err);
	if (r < 0)
		return fail(c, r);
	atomic_store(&interrupted_context, *ret);
	interrupts_catch(-1);
	return 0;
}

void context_free(struct morsel *m)
{
	atomic_store(&interrupted_context, NULL);
	morsel_free(m);
}

int image_new(struct cli *c, struct morsel **ret_m, struct morsel_image **ret_img)
{
	int r = context_new(c, ret_m);

	if (r)
		return r;
	r = morsel_image_open(*ret_m, c->args[0], ret_img, &c->err);
	progress_stop(c);
	if (r < 0) {
		context_free(*ret_m);
		return fail(c, r);
	}
	return 0;
}

static int verb_try(struct cli *c, const struct verb *verb, int argc, char **argv, bool fake)
{
	int r = options_read(c, argc, argv);

	if (r)
		return r;
	if (option_given(c, OPT_HELP)) {
		options_help(verb, stdout);
		return output_finish();
	}
	if (c->n_args < verb->min_args || (verb->max_args >= 0 && c->n_args > verb->max_args))
		return usage_error(c, "usage: morsel %s%s%s", verb->name, *verb->usage ? " " : "",
				   verb->usage);
	return fake ? 0 : verb->run(c);
}

int verb_run(struct cli *c, const struct verb *verb, int argc, char **argv, bool fake)
{
	int r;

	c->verb = verb;
	morsel_options_init(&c->options);
	r = verb_try(c, verb, argc, argv, fake);
	progress_fini(c);
	free(c->given);
	return r;
}

/* As mount.morsel, or as mount.fuse3 runs what is called like the type: "morsel REF DIR -o ...". */
static bool is_mount_helper(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');

	if (!strncmp(slash ? slash + 1 : argv[0], "mount.", 6))
		return true;
	return argc == 5 && !strcmp(argv[3], "-o") && *argv[1] != '-' && !verb_lookup(argv[1]);
}

/* Who closed them means silence, not that our files and sockets get these numbers. */
static void stdio_open(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

int main(int argc, char **argv)
{
	struct cli c = {.log = stderr};
	const char *name;

	stdio_open();

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like a full disk */
	if (argc && is_mount_helper(argc, argv))
		return mount_helper(&c, verb_lookup("mount"), argc, argv);
	if (argc < 2) {
		help_all(stderr);
		return 2;
	}
	name = argv[1];
	if (!strcmp(name, "--help") || !strcmp(name, "-h"))
		name = "help";
	else if (!strcmp(name, "--version") || !strcmp(name, "-V"))
		name = "version";
	c.verb = verb_lookup(name);
	if (!c.verb)
		return usage_error(&c, "there is no verb \"%s\"", name);
	return verb_run(&c, c.verb, argc - 1, argv + 1, false);
}
