/* SPDX-License-Identifier: MIT */
#include "prof/access_read.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include "base/json.h"

void access_log_fini(struct access_log *log)
{
	intern_fini(&log->processes);
	intern_fini(&log->paths);
	intern_fini(&log->texts);
	free(log->reads);
	free(log->fetches);
	*log = ACCESS_LOG_INIT;
}

/* ---- members ---- */

struct line {
	const json_t *o;
	const char *where; /* "FILE line 7" */
	struct error *err;
};

static int number(const struct line *l, const char *key, bool needed, uint64_t *ret)
{
	int64_t v;
	int r = json_get_int(l->o, key, l->where, &v, l->err);

	if (r == JSON_ABSENT && !needed)
		return 0;
	if (r == JSON_ABSENT || (r >= 0 && v < 0))
		return error_set(l->err, -EBADMSG, "%s: \"%s\" is no number that can be", l->where,
				 key);
	if (r >= 0)
		*ret = (uint64_t)v;
	return r;
}

/* Seconds since 1970, with a fraction. */
static int time_of(const struct line *l, int64_t *ret_ns)
{
	const json_t *v = json_object_get(l->o, "time");
	double s = json_is_number(v) ? json_number_value(v) : NAN;

	if (!(s >= 0 && s < 9e9))
		return error_set(l->err, -EBADMSG, "%s: \"time\" is not seconds since 1970",
				 l->where);
	*ret_ns = (int64_t)(s * 1e9);
	return 0;
}

static int text(struct access_log *log, const struct line *l, const char *key, uint32_t *ret)
{
	const char *s = "";
	int r = json_get_string(l->o, key, l->where, &s, l->err);
	int64_t id;

	if (r < 0)
		return r;
	id = intern_id(&log->texts, r == JSON_ABSENT ? "" : s, r == JSON_ABSENT ? 0 : strlen(s));
	if (id < 0)
		return (int)id;
	*ret = (uint32_t)id;
	return 0;
}

static int hex_value(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Names that are no text stand beside it in hex. */
static int path(struct access_log *log, const struct line *l, uint32_t *ret)
{
	const char *s = "", *hex = NULL;
	uint8_t raw[4096];
	size_t n = 0;
	int64_t id;
	int r = json_get_string(l->o, "path", l->where, &s, l->err);

	if (r == JSON_ABSENT)
		return error_set(l->err, -EBADMSG, "%s: there is no \"path\"", l->where);
	if (r >= 0)
		r = json_get_string(l->o, "path_hex", l->where, &hex, l->err);
	if (r < 0)
		return r;
	for (; hex && r != JSON_ABSENT && hex[2 * n] && n < sizeof(raw); n++) {
		int high = hex_value(hex[2 * n]), low = high < 0 ? -1 : hex_value(hex[2 * n + 1]);

		if (low < 0)
			return error_set(l->err, -EBADMSG, "%s: \"path_hex\" is not in hex",
					 l->where);
		raw[n] = (uint8_t)(high << 4 | low);
	}
	id = n ? intern_id(&log->paths, raw, n) : intern_id(&log->paths, s, strlen(s));
	if (id < 0)
		return (int)id;
	*ret = (uint32_t)id;
	return 0;
}

static int process(struct access_log *log, const struct line *l, uint32_t *ret)
{
	struct {
		struct access_process p;
		char command[64];
	} key = {0};
	const char *command = "";
	uint64_t pid = 0;
	size_t n;
	int64_t id;
	int r = number(l, "pid", true, &pid);

	if (r >= 0)
		r = json_get_string(l->o, "command", l->where, &command, l->err);
	if (r < 0)
		return r;
	n = r == JSON_ABSENT ? 0 : min_u64(strlen(command), sizeof(key.command) - 1);
	key.p.pid = (uint32_t)pid;
	memcpy(key.command, command, n);
	id = intern_id(&log->processes, &key, sizeof(key.p) + n + 1);
	if (id < 0)
		return (int)id;
	*ret = (uint32_t)id;
	return 0;
}

static int phases(const struct line *l, uint64_t ret_ns[static TRACE_PHASES])
{
	json_t *o = NULL;
	int r = json_get_object(l->o, "phases", l->where, &o, l->err);

	for (int i = 0; i < TRACE_PHASES && r == 0; i++) {
		const struct line inner = {o, l->where, l->err};

		r = number(&inner, trace_phase_name((enum trace_phase)i), false, &ret_ns[i]);
	}
	return r < 0 ? r : 0;
}

/* ---- lines ---- */

static int room_for(void **array, size_t n, size_t *room, size_t size)
{
	void *p;

	if (n < *room)
		return 0;
	p = reallocarray(*array, *room ? 2 * *room : 256, size);
	if (!p)
		return -ENOMEM;
	*array = p;
	*room = *room ? 2 * *room : 256;
	return 0;
}

static int read_parse(struct access_log *log, const struct line *l)
{
	struct access_read rd = {.device = ACCESS_NOWHERE};
	uint64_t length = 0;
	int r = time_of(l, &rd.time_ns);

	if (r >= 0)
		r = process(log, l, &rd.process);
	if (r >= 0)
		r = path(log, l, &rd.path);
	if (r >= 0)
		r = number(l, "offset", true, &rd.offset);
	if (r >= 0)
		r = number(l, "length", true, &length);
	if (r >= 0)
		r = number(l, "device", false, &rd.device);
	if (r >= 0)
		r = number(l, "duration_ns", false, &rd.duration_ns);
	if (r >= 0)
		r = number(l, "wait_ns", false, &rd.wait_ns);
	if (r >= 0)
		r = text(log, l, "layer", &rd.layer);
	if (r >= 0)
		r = text(log, l, "source", &rd.source);
	if (r >= 0)
		r = phases(l, rd.phases_ns);
	if (r >= 0)
		r = room_for((void **)&log->reads, log->n_reads, &log->room_reads, sizeof(rd));
	if (r < 0)
		return r;
	if (length > UINT32_MAX)
		return error_set(l->err, -EBADMSG, "%s: no read is %llu bytes long", l->where,
				 (unsigned long long)length);
	rd.length = (uint32_t)length;
	rd.waited = json_object_get(l->o, "flight") || json_object_get(l->o, "wait_ns");
	if (rd.waited && !json_object_get(l->o, "wait_ns"))
		rd.wait_ns = rd.duration_ns;
	log->reads[log->n_reads++] = rd;
	return 0;
}

static int fetch_parse(struct access_log *log, const struct line *l)
{
	struct access_fetch f = {0};
	int r = time_of(l, &f.time_ns);

	if (r >= 0)
		r = number(l, "device", true, &f.device);
	if (r >= 0)
		r = number(l, "length", true, &f.length);
	if (r >= 0)
		r = number(l, "bytes", true, &f.bytes);
	if (r >= 0)
		r = number(l, "duration_ns", false, &f.duration_ns);
	if (r >= 0)
		r = text(log, l, "layer", &f.layer);
	if (r >= 0)
		r = text(log, l, "fetch", &f.why);
	if (r >= 0)
		r = room_for((void **)&log->fetches, log->n_fetches, &log->room_fetches, sizeof(f));
	if (r < 0)
		return r;
	if (f.length > INT64_MAX - f.device)
		return error_set(l->err, -EBADMSG, "%s: it ends nowhere", l->where);
	log->fetches[log->n_fetches++] = f;
	return 0;
}

int access_log_parse(struct access_log *log, const void *data, size_t len, const char *what,
		     struct error *err)
{
	const char *at = data, *end = at + len;

	for (size_t number_of = 1; at < end; number_of++) {
		const char *eol = memchr(at, '\n', (size_t)(end - at));
		size_t n = (size_t)((eol ? eol : end) - at);
		json_t *o = NULL;
		char where[300];
		int r;

		snprintf(where, sizeof(where), "%s line %zu", what, number_of);
		if (log->n_reads + log->n_fetches >= ACCESS_LINES_MAX)
			return error_set(err, -E2BIG, "%s: more than %zu lines", what,
					 ACCESS_LINES_MAX);
		if (n) {
			r = json_parse(at, n, ACCESS_LINE_MAX, where, &o, err);
			if (r >= 0) {
				const struct line l = {o, where, err};

				r = json_object_get(o, "fetch") ? fetch_parse(log, &l)
								: read_parse(log, &l);
			}
			json_decref(o);
			if (r < 0)
				return r;
		}
		at = eol ? eol + 1 : end;
	}
	return 0;
}
