/* SPDX-License-Identifier: MIT */
/*
 * What traces and profiles say, for people: a page that needs nothing but a browser, or a table for
 * a terminal. Pure: the bytes of files go in, text comes out.
 *
 * A trace is reads and, from another file of the same run, fetches: files whose names differ in the
 * first word only ("access_pull_x.jsonl", "fetches_pull_x.jsonl") are one. What is compared stands
 * in the order in which it was given. It knows no trace that still runs.
 */
#ifndef MORSEL_PROF_REPORT_H
#define MORSEL_PROF_REPORT_H

#include "prof/access_read.h"
#include "prof/pprof_read.h"

struct report_trace {
	char *label;
	struct access_log log;
};

struct report_profile {
	char *label;
	struct profile profile;
};

struct report {
	char **files; /* as they were given */
	size_t n_files;
	struct report_trace *traces;
	size_t n_traces;
	struct report_profile *profiles;
	size_t n_profiles;
};

#define REPORT_INIT ((struct report){0})
void report_fini(struct report *r);

/* Adds a file by what is in it: JSON lines are a trace, all else must be a profile. -ENOTSUP: a
 * trace for another viewer, nothing was added; -EBADMSG, -E2BIG, -ENOMEM. */
int report_add(struct report *r, const char *file, const void *data, size_t len, struct error *err);
/* Appends the table. -ENOMEM. */
int report_tables(const struct report *r, struct buf *ret);
/* Appends the page. -ENOMEM. */
int report_page(const struct report *r, struct buf *ret);

/* ---- for both: sums ---- */

struct report_sum {
	uint32_t key;
	uint64_t reads, waits, bytes, wait_ns;
};
enum report_key { REPORT_PATH, REPORT_PROCESS, REPORT_LAYER, REPORT_SOURCE };
/* One for each path (process, ...) of the reads, those that were waited for longest first; *ret is
 * for free(). -ENOMEM. */
int report_sums(const struct access_log *log, enum report_key key, struct report_sum **ret,
		size_t *ret_n);

struct report_totals {
	uint64_t reads, waits, bytes, wait_ns, fetches, fetched_bytes;
	int64_t begin_ns, end_ns;	  /* of the first read or fetch, and the last, since 1970 */
	uint64_t phases_ns[TRACE_PHASES]; /* of reads that waited */
};
void report_totals(const struct access_log *log, struct report_totals *ret);
/* Names cut to n bytes with the NUL, control characters replaced: of anybody; of a number; of a
 * process ("python3 (17)"). */
void report_name(const char *bytes, size_t len, char *ret, size_t n);
void report_intern_name(const struct intern *t, uint32_t id, char *ret, size_t n);
void report_process_name(const struct access_log *log, uint32_t id, char *ret, size_t n);

#endif
