/* SPDX-License-Identifier: MIT */
/* One HTTP request in the trace: its phases and what was asked for, but nothing that lets others
 * in. */
#include <stdio.h>

#include "prof/trace.h"
#include "registry/http_impl.h"

/* The host always; the path only of the registry itself, and only where it names things: elsewhere
 * it may be signed, as may be every query. */
static void name_record(const struct http_request *rq, uint64_t id)
{
	const char *host = strstr(rq->url, "://"), *path;
	char text[256];
	int n = 0;

	if (!host)
		return;
	host += 3;
	path = host + strcspn(host, "/?#");
	if (!rq->judge_address && !strncmp(path, "/v2/", 4))
		n = (int)strcspn(path, "?#");
	n = snprintf(text, sizeof(text), "%s %.*s%.*s", rq->method, (int)(path - host), host, n,
		     path);
	trace_text(id, text, min_u64((uint64_t)n, sizeof(text) - 1));
}

void http_trace(const struct http_request *rq, const struct http_response *rs, uint64_t start)
{
	struct trace_event e = {
		.start = start,
		.end = trace_ticks(),
		.kind = TRACE_HTTP,
		.code = (uint16_t)rs->status,
		.http = {.flight = trace_task.id,
			 .connect_ns = rs->connect_ns,
			 .first_byte_ns = rs->first_byte_ns,
			 .queue_us = (uint32_t)min_u64(rs->queue_ns / 1000, UINT32_MAX),
			 .body_kib = (uint32_t)min_u64((rs->body_bytes + 1023) / 1024, UINT32_MAX)},
	};

	if (!start || !trace_on())
		return;
	e.id = trace_new_id();
	trace_emit(&e);
	name_record(rq, e.id);
}
