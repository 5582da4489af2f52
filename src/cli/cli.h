/* SPDX-License-Identifier: MIT */
/*
 * The command line: one file a verb, a table of verbs, a table of options. Uses morsel.h only.
 *
 *   main.c      finds the verb, reads its options, runs it, says what failed
 *   options.c   the option table: getopt, environment, help and checks all come from it
 *   output.c    sizes, times, JSON and tables on stdout
 *   progress.c  the line on stderr while something lasts
 *   complete.c  what a shell could put where the cursor is; complete_image.c: of images
 *   cmd_*.c     the verbs
 *   mount_helper.c  mount(8)'s way to say "morsel mount"
 *
 * Results go to stdout; errors, logs and progress to stderr; an error is one line.
 */
#ifndef MORSEL_CLI_H
#define MORSEL_CLI_H

#include <jansson.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include "morsel.h"

enum option_id { /* in the order of the table in options.c */
		 OPT_CACHE_DIR,
		 OPT_CACHE_SIZE,
		 OPT_PLATFORM,
		 OPT_INSECURE,
		 OPT_TLS_VERIFY,
		 OPT_AUTHFILE,
		 OPT_OFFLINE,
		 OPT_PULL,
		 OPT_MAX_ENTRIES,
		 OPT_LOG_LEVEL,
		 OPT_VERBOSE,
		 OPT_QUIET,
		 OPT_PROGRESS,
		 OPT_FORMAT,
		 OPT_FOREGROUND,
		 OPT_READY_FD,
		 OPT_READ_TIMEOUT,
		 OPT_ALLOW_OTHER,
		 OPT_SUID,
		 OPT_DEV,
		 OPT_NOEXEC,
		 OPT_BACKEND,
		 OPT_THREADS,
		 OPT_PREFETCH,
		 OPT_BANDWIDTH,
		 OPT_LOG_FILE,
		 OPT_LAZY,
		 OPT_WATCH,
		 OPT_LONG,
		 OPT_RECURSIVE,
		 OPT_HUMAN,
		 OPT_ALL,
		 OPT_INCLUDE,
		 OPT_EXCLUDE,
		 OPT_STRIP_PREFIX,
		 OPT_OVERWRITE,
		 OPT_COMPRESSION,
		 OPT_LEVEL,
		 OPT_CHUNK_SIZE,
		 OPT_LAYER,
		 OPT_BASE,
		 OPT_ENTRYPOINT,
		 OPT_CMD,
		 OPT_ENV,
		 OPT_WORKDIR,
		 OPT_USER,
		 OPT_LABEL,
		 OPT_ANNOTATION,
		 OPT_AUTHOR,
		 OPT_ARTIFACT_TYPE,
		 OPT_OWNER,
		 OPT_IGNORE_FILE,
		 OPT_PRIORITIZE,
		 OPT_ALLOW_CHANGED,
		 OPT_DIGEST_FILE,
		 OPT_JOBS,
		 OPT_OCI,
		 OPT_ALL_PLATFORMS,
		 OPT_REF,
		 OPT_REGISTRY,
		 OPT_REPO,
		 OPT_TAG,
		 OPT_MODE,
		 OPT_PROFILE,
		 OPT_OUT,
		 OPT_RUN_LABEL,
		 OPT_REPEAT,
		 OPT_UNIQUE_DEST,
		 OPT_PAYLOAD,
		 OPT_PULL_DIR,
		 OPT_STAMP,
		 OPT_CLEAR_CACHE,
		 OPT_RUN_LAZY,
		 OPT_RUN_PREFETCH,
		 OPT_DESCRIPTOR_CACHE,
		 OPT_CACHE_STATS,
		 OPT_TIMEOUT,
		 OPT_REPLAY,
		 OPT_CPU_ENGINE,
		 OPT_TRACE_FORMAT,
		 OPT_ATTACH,
		 OPT_DURATION,
		 OPT_PYROSCOPE,
		 OPT_TEXT,
		 OPT_HELP,
		 OPT_COUNT,
};

enum progress_mode { PROGRESS_AUTO, PROGRESS_TTY, PROGRESS_NONE };

struct cli {
	const struct verb *verb;
	char **args; /* what is left after the options, NULL-terminated */
	int n_args;
	bool dashes;		       /* "--" stands before them */
	const char *values[OPT_COUNT]; /* text given, "" for a flag; NULL = not given */
	struct {
		int id;
		const char *text;
	} * given; /* the command line's, in its order, for those that may be repeated */
	size_t n_given;
	struct morsel_options options;
	bool json;
	bool quiet;
	enum progress_mode progress;
	FILE *log;	    /* stderr, or --log-file */
	bool again_is_done; /* mounting what is mounted there already */
	void *progress_state;
	struct morsel_error err;
};

__extension__ typedef unsigned __int128 option_set; /* bits of enum option_id */
_Static_assert(OPT_COUNT <= 128, "an option is a bit of option_set");

struct verb {
	const char *name;
	const char *usage; /* arguments, as shown */
	const char *summary;
	option_set options;
	int min_args, max_args;	   /* max < 0: any number */
	int (*run)(struct cli *c); /* exit code */
	/* Long options with one dash, too, and flags that may be told true or false. */
	bool one_dash;
};

#define OPT(id) ((option_set)1 << OPT_##id)
/* What every verb that opens an image takes. */
#define OPTS_COMMON (OPT(LOG_LEVEL) | OPT(VERBOSE) | OPT(QUIET) | OPT(HELP))
#define OPTS_CACHE (OPTS_COMMON | OPT(CACHE_DIR) | OPT(CACHE_SIZE))
#define OPTS_DIAL (OPTS_CACHE | OPT(INSECURE) | OPT(TLS_VERIFY) | OPT(AUTHFILE) | OPT(OFFLINE))
#define OPTS_IMAGE (OPTS_DIAL | OPT(PLATFORM) | OPT(PULL) | OPT(MAX_ENTRIES) | OPT(PROGRESS))

int cmd_mount(struct cli *c);
int cmd_umount(struct cli *c);
int cmd_stat(struct cli *c);
int cmd_ls(struct cli *c);
int cmd_cat(struct cli *c);
int cmd_cp(struct cli *c);
int cmd_push(struct cli *c);
int cmd_tags(struct cli *c);
int cmd_pull(struct cli *c);
int cmd_inspect(struct cli *c);
int cmd_cache(struct cli *c);
int cmd_completion(struct cli *c);
int cmd_profile(struct cli *c);

struct option_info {
	const char *name;
	char letter;	 /* 0 = none */
	const char *arg; /* NULL: a flag */
	bool optional;	 /* the argument may be left out ("--tls-verify" = "=true") */
	bool env;	 /* MORSEL_<NAME> sets it too */
	const char *help;
	const char *const *values; /* what it can be, or may well be; NULL-terminated */
};

/* options.c. NULL: the verb does not take it. */
const struct option_info *option_of(const struct verb *verb, int id);
/* Returns 0, or 2 after having said why. */
int options_read(struct cli *c, int argc, char **argv);
void options_help(const struct verb *verb, FILE *f);
/* A long option of this verb that makes sense in fstab; NULL: there is none. */
const struct option_info *option_of_mount(const struct verb *verb, const char *name, size_t n);
static inline bool option_given(const struct cli *c, enum option_id id)
{
	return c->values[id] != NULL;
}
/* Every text given for an option, in order: a NULL-terminated array for free(3), whose texts are
 * borrowed. NULL = no memory. */
const char **option_all(const struct cli *c, enum option_id id);
/* Says that its value is not valid, under the name by which it came; returns 2. why: what would be.
 */
int option_refuse(const struct cli *c, int id, const char *why);
/* A number with an optional K, M, G, T suffix (powers of 1024, "KiB" and "KB" too). */
int parse_size(const char *text, uint64_t *ret);
/* A number of seconds with an optional ms, s, m, h suffix. */
int parse_duration(const char *text, uint64_t *ret_ns);
/* "--insecure" and MORSEL_INSECURE=1 are true; =0, =false, =no and an empty variable are not. */
int parse_bool(const char *text, bool if_empty, bool *ret);
/* The place of text among names, which end with NULL. -EINVAL. */
int parse_choice(const char *text, const char *const *names, int *ret);

/* cmd_watch.c */
int stat_watch(struct cli *c);

/* output.c */
int fail(struct cli *c, int code); /* prints c->err as one line; the exit code of code */
int usage_error(const struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void format_size(uint64_t bytes, char out[static 16]); /* "1.5G" */
/* Writes a file name so that it can't draw on a terminal. */
void print_name(const char *name, FILE *f);
/* One line of what this user could not make, by the report of a pull or copy. kinds: of its
 * "left_out", which are said, NULL-terminated. */
void warn_left_out(const json_t *report, const char *const *kinds);
/* Flushes stdout: 0, or 1 after having said that it can't be written. */
int output_finish(void);

/* progress.c. init: before a context is made, and again when something else begins. */
void progress_init(struct cli *c);
void progress_fini(struct cli *c);
/* The callback of struct morsel_options; userdata: the struct cli. */
int progress_show(void *userdata, const struct morsel_progress *p);
/* It is over, until the next callback: the line is gone. */
void progress_stop(struct cli *c);
/* Any thread: the line is gone and stays away, so that another can be written. */
void progress_hold(struct cli *c);
void progress_release(struct cli *c);

/* complete.c: prints what could stand for the last of n words after "morsel", see there. */
void complete_words(struct cli *c, char **words, int n);

/* main.c: the table of verbs. verb_get: NULL behind the last. */
const struct verb *verb_get(size_t i);
const struct verb *verb_lookup(const char *name);
/* Reads the options and does it, or, with fake, only the former. The exit code. */
int verb_run(struct cli *c, const struct verb *verb, int argc, char **argv, bool fake);

/* mount_helper.c: as /sbin/mount.morsel, whose arguments these are. mount(8)'s exit codes. */
int mount_helper(struct cli *c, const struct verb *mount, int argc, char **argv);
/* Whether on dir (absolute) is what the arguments and options ask for. */
bool mount_is_there(const struct cli *c, const char *dir);

/* What -v, --log-level and --log-file are about; any thread. userdata: the struct cli. */
void log_line(void *userdata, enum morsel_log_level level, const char *line);

/* The signal that asked us to end, SIGALRM among them; 0: none did. */
extern _Atomic int interrupted_by;
/* SIGINT, SIGTERM and SIGALRM cancel the context there is. fd, an eventfd for as long as the
 * program runs, is made readable then, and by SIGHUP too; -1: there is none. */
void interrupts_catch(int fd);
/* Makes the context with the options given, and remembers it for SIGINT and SIGTERM. */
int context_new(struct cli *c, struct morsel **ret);
void context_free(struct morsel *m);
/* context_new() and morsel_image_open() of the first argument. */
int image_new(struct cli *c, struct morsel **ret_m, struct morsel_image **ret_img);

#endif
