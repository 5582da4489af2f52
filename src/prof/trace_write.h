/* SPDX-License-Identifier: MIT */
/*
 * The files that a trace becomes. Pure: a model in, bytes appended to a buffer. None of them holds
 * a credential or a signed URL, since none is recorded. Any bytes may be in names.
 */
#ifndef MORSEL_PROF_TRACE_WRITE_H
#define MORSEL_PROF_TRACE_WRITE_H

#include "base/buf.h"
#include "prof/access.h"
#include "prof/trace_model.h"

/* The reads, one JSON object a line: morsel-trace(5). */
int trace_write_jsonl(const struct trace_model *m, const struct trace_names *names,
		      struct buf *ret);
/* What was fetched, in the same way; not what the cache had and only was verified. */
int trace_write_fetches(const struct trace_model *m, const struct trace_names *names,
			struct buf *ret);
/* "go 1.19 trace", for go tool trace. */
int trace_write_go(const struct trace_model *m, const struct trace_names *names, struct buf *ret);
/* Chrome's JSON, for Perfetto and speedscope. */
int trace_write_chrome(const struct trace_model *m, const struct trace_names *names,
		       struct buf *ret);
/* profile.proto: opens, reads, bytes, fetched_bytes, wait by path. start_ns: since 1970. */
int access_write_pprof(const struct access_row *rows, size_t n, const struct trace_names *names,
		       int64_t start_ns, int64_t duration_ns, struct buf *ret);

/* Appends a JSON string with its quotes; what is no UTF-8 is written as \xNN. */
int json_text_append(struct buf *b, const char *text);
/* What a request was about: "/usr/lib/x", "/usr/lib (name)" for a look-up, "GET host/v2/...". */
int trace_request_target(const struct trace_request *rq, const struct trace_names *names,
			 struct buf *ret);

#endif
