/* SPDX-License-Identifier: MIT */
/*
 * Reads access traces, one JSON object a line, as morsel-trace(5) describes them: the reads of
 * access_*.jsonl and the fetches of fetches_*.jsonl, which may stand in one file. Members that are
 * not known are left alone, so that traces made by others only need time, pid, path, offset and
 * length. Whoever wrote it is a stranger. Pure.
 */
#ifndef MORSEL_PROF_ACCESS_READ_H
#define MORSEL_PROF_ACCESS_READ_H

#include "base/buf.h"
#include "prof/intern.h"
#include "prof/trace.h"

#define ACCESS_LINE_MAX ((size_t)64 << 10)
#define ACCESS_LINES_MAX ((size_t)8 << 20)
#define ACCESS_NOWHERE UINT64_MAX /* of device: not known */

struct access_read {
	int64_t time_ns; /* since 1970 */
	uint64_t duration_ns;
	uint64_t wait_ns;		       /* 0 unless waited */
	uint64_t offset;		       /* in the file */
	uint64_t device;		       /* the same place on the layer's device */
	uint32_t length;		       /* bytes delivered */
	uint32_t process, path, layer, source; /* numbers, see struct access_log */
	bool waited;
	uint64_t phases_ns[TRACE_PHASES];
};

struct access_fetch {
	int64_t time_ns;
	uint64_t duration_ns;
	uint64_t device, length; /* on the layer's device */
	uint64_t bytes;		 /* compressed */
	uint32_t layer, why;
};

struct access_process { /* followed by its name, up to the key's end */
	uint32_t pid;
	char command[];
};

struct access_log {
	struct intern processes; /* struct access_process */
	struct intern paths;	 /* raw bytes, without a NUL */
	struct intern texts;	 /* layers, sources, reasons */
	struct access_read *reads;
	size_t n_reads, room_reads;
	struct access_fetch *fetches;
	size_t n_fetches, room_fetches;
};

#define ACCESS_LOG_INIT ((struct access_log){0})
void access_log_fini(struct access_log *log);

/* Appends what the lines say. what names the file in errors, which name the line. -EBADMSG, -E2BIG
 * (a line, or how many there are), -ENOMEM. */
int access_log_parse(struct access_log *log, const void *data, size_t len, const char *what,
		     struct error *err);

#endif
