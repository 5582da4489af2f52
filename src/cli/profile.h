/* SPDX-License-Identifier: MIT */
/*
 * morsel profile: what its files share.
 *
 *   cmd_profile.c      options; which of the three things it is: a run, an attachment, a report
 *   profile_run.c      iterations, from the first context to the last profile
 *   profile_lazy.c     one iteration that mounts
 *   profile_load.c     the process that reads through mounts, so that the server does not
 *   profile_payload.c  what is pushed when nothing is given; temporary directories
 *   profile_output.c   the files of profiles
 *   profile_show.c     what is said of the iterations
 */
#ifndef MORSEL_CLI_PROFILE_H
#define MORSEL_CLI_PROFILE_H

#include <limits.h>
#include <sys/types.h>
#include <time.h>
#include "cli/cli.h"

/* ---- profile_output.c ---- */

#define STAMP_MAX 24

struct outputs {
	const char *dir, *mode, *label; /* label: NULL = none */
	char stamp[STAMP_MAX];		/* 20261122T224447Z */
	time_t began;			/* the same */
	char **names;			/* of files written, with the directory */
	size_t n;
	char error[512]; /* why one could not be written; "" = it could */
};

/* With those it is in. 0, also when it is there and can be written; -errno. */
int directory_make(const char *dir);
/* Makes the directory and chooses a stamp that no other run there has. 0, or an exit code after
 * having said why. */
int outputs_init(struct cli *c, struct outputs *o);
/* For struct morsel_profile_options: a finished file. userdata: the outputs. */
int outputs_file(void *userdata, const char *kind, const char *suffix, const void *data, size_t n);
/* Sends those in .pprof to a Pyroscope server. 0, or an exit code after having said why. */
int outputs_send(struct cli *c, const struct outputs *o, const char *url);
void outputs_fini(struct outputs *o);

/* ---- profile_payload.c ---- */

/* $TMPDIR/morsel-profile-XXXXXX. 0, or an exit code after having said why. */
int temporary_make(struct cli *c, char ret[static PATH_MAX]);
/* With all that is in it; never into another file system. tell: says so when something stays.
 * Changes the working directory meanwhile, so that no path is too long. */
void temporary_remove(const char *dir, bool tell);
/* The same files each time: 64 MiB of noise, 64 MiB of zeros, many small ones. -errno. */
int payload_make(const char *dir);

/* ---- profile_load.c ---- */

enum load_kind { LOAD_READ_ALL, LOAD_REPLAY, LOAD_COMMAND };

struct load {
	enum load_kind kind;
	char **command;	    /* NULL-terminated */
	const char *replay; /* a file */
	bool quiet_stdout;  /* what the command prints goes to stderr */
	int fd;
	pid_t pid;
};

struct load_result {
	int status;	/* as of waitpid() */
	char text[512]; /* why it could not be done; "" = it was, by this process */
};

/* Before there is any thread, and any context. -errno. */
int load_start(struct load *l);
/* Reads beneath dir, until it has, or end_fd is readable: then what it runs is killed. -errno. */
int load_run(struct load *l, const char *dir, int end_fd, struct load_result *ret);
void load_end(struct load *l);

/* ---- the run ---- */

struct iteration {
	const char *mode; /* "push", "pull", "lazy" */
	unsigned number;  /* from 1 */
	double seconds;
	double ready_s, load_s; /* lazy: until it was mounted, and reading */
	uint64_t moved_bytes, requests;
	uint64_t wanted, had; /* pull: bytes of layers; lazy: reads, and those answered at once */
};

struct run {
	struct cli *c;
	char ref[1024];
	bool push, pull, lazy;
	bool unique_dest, stamp, clear_cache, prefetch, descriptor_cache, cache_stats;
	unsigned long repeat;
	const char *payload, *pull_dir;
	struct morsel_profile_options profile_options;
	uint64_t timeout_ns;
	struct outputs out;
	struct load load;
	/* while it runs */
	char temporary[PATH_MAX], made_payload[PATH_MAX + 16];
	int end_fd; /* readable: it has to end */
	struct morsel *m;
	char known[1200]; /* the reference by digest, once it is known and kept; else "" */
	struct morsel_profile *profile; /* NULL: not begun, or ended */
	int recorded;			/* exit code of its end */
	struct iteration *its;		/* those that went well */
	size_t n_its;
	uint64_t requests, wanted, had; /* of all */
	char *cache_json;		/* morsel_cache_info(), with -cache-stats */
};

/* profile_run.c: does it all; the exit code. */
int run_all(struct run *run);
/* Says why: c->err, or that the time was over. What was being done: "pulling". The exit code. */
int run_failed(struct run *run, const char *doing, int code);
/* Ends the recording, which writes its files: while what was used last is still there, so that the
 * heap shows it. Once; says why when that fails. */
void run_recorded_end(struct run *run);
/* What to open: by digest, once that is known and kept. */
const char *run_reference(const struct run *run);
void run_know(struct run *run, const char *digest);
/* profile_lazy.c: with the context. The same. */
int run_lazy(struct run *run, struct iteration *it);

/* profile_show.c */
void iteration_show(const struct run *run, const struct iteration *it);
void run_show(const struct run *run);

#endif
