/* SPDX-License-Identifier: MIT */
#include "prof/report.h"

#include <errno.h>
#include <stdio.h>

void report_fini(struct report *r)
{
	for (size_t i = 0; i < r->n_files; i++)
		free(r->files[i]);
	for (size_t i = 0; i < r->n_traces; i++) {
		free(r->traces[i].label);
		access_log_fini(&r->traces[i].log);
	}
	for (size_t i = 0; i < r->n_profiles; i++) {
		free(r->profiles[i].label);
		profile_fini(&r->profiles[i].profile);
	}
	free(r->files);
	free(r->traces);
	free(r->profiles);
	*r = REPORT_INIT;
}

/* ---- files ---- */

/* "dir/access_pull_cold_20261122T224447Z.jsonl" -> "pull_cold_20261122T224447Z" for a trace, with
 * its first word for a profile. */
static char *label_of(const char *file, bool with_kind)
{
	const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
	const char *under = strchr(name, '_'), *dot;

	if (!with_kind && under)
		name = under + 1;
	dot = strrchr(name, '.');
	return strndup(name, dot && dot != name ? (size_t)(dot - name) : strlen(name));
}

static bool is_lines(const void *data, size_t len)
{
	const char *at = data, *end = at + len;

	while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
		at++;
	return at == end || *at == '{';
}

/* Traces of requests have viewers of their own. NULL: it is none. */
static const char *viewer_of(const void *data, size_t len)
{
	static const char go[] = "go 1.", chrome[] = "\"traceEvents\":";

	if (len >= 16 && !memcmp(data, go, sizeof(go) - 1) && memmem(data, 16, " trace", 6))
		return "go tool trace";
	if (is_lines(data, len) && memmem(data, min_u64(len, 4096), chrome, sizeof(chrome) - 1))
		return "Perfetto";
	return NULL;
}

#define APPEND(array, n)                                                                           \
	({                                                                                         \
		__typeof__(array) appended_ = reallocarray((array), (n) + 1, sizeof(*(array)));    \
		if (appended_) {                                                                   \
			(array) = appended_;                                                       \
			memset(&(array)[(n)++], 0, sizeof(*(array)));                              \
		}                                                                                  \
		appended_ != NULL;                                                                 \
	})

static int trace_add(struct report *r, const char *file, const void *data, size_t len,
		     struct error *err)
{
	_cleanup_(freep) char *label = label_of(file, false);
	struct report_trace *t = NULL;

	if (!label)
		return -ENOMEM;
	for (size_t i = 0; i < r->n_traces; i++)
		if (!strcmp(r->traces[i].label, label))
			t = &r->traces[i];
	if (!t) {
		if (!APPEND(r->traces, r->n_traces))
			return -ENOMEM;
		t = &r->traces[r->n_traces - 1];
		t->label = steal_ptr(label);
	}
	return access_log_parse(&t->log, data, len, file, err);
}

static int profile_add(struct report *r, const char *file, const void *data, size_t len,
		       struct error *err)
{
	struct report_profile *p;

	if (!APPEND(r->profiles, r->n_profiles))
		return -ENOMEM;
	p = &r->profiles[r->n_profiles - 1];
	p->label = label_of(file, true);
	return p->label ? profile_read(data, len, file, &p->profile, err) : -ENOMEM;
}

int report_add(struct report *r, const char *file, const void *data, size_t len, struct error *err)
{
	const char *viewer = viewer_of(data, len);
	int e = -ENOMEM;

	if (viewer)
		return error_set(err, -ENOTSUP,
				 "%s: a trace for %s, which a report does not show: the reads are "
				 "in access_*.jsonl",
				 file, viewer);
	if (APPEND(r->files, r->n_files)) {
		r->files[r->n_files - 1] = strdup(file);
		e = !r->files[r->n_files - 1] ? -ENOMEM
		    : is_lines(data, len)     ? trace_add(r, file, data, len, err)
					      : profile_add(r, file, data, len, err);
	}
	return e < 0 ? error_set_errno(err, e, "%s", file) : 0;
}

/* ---- sums ---- */

static uint32_t key_of(const struct access_read *rd, enum report_key key)
{
	switch (key) {
	case REPORT_PATH:
		return rd->path;
	case REPORT_PROCESS:
		return rd->process;
	case REPORT_LAYER:
		return rd->layer;
	case REPORT_SOURCE:
		break;
	}
	return rd->source;
}

static int sum_compare(const void *a, const void *b)
{
	const struct report_sum *x = a, *y = b;

	if (x->wait_ns != y->wait_ns)
		return x->wait_ns > y->wait_ns ? -1 : 1;
	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	return x->key < y->key ? -1 : x->key > y->key;
}

int report_sums(const struct access_log *log, enum report_key key, struct report_sum **ret,
		size_t *ret_n)
{
	const struct intern *t = key == REPORT_PATH	 ? &log->paths
				 : key == REPORT_PROCESS ? &log->processes
							 : &log->texts;
	struct report_sum *sums = calloc(t->n + 1, sizeof(*sums));
	size_t n = 0;

	if (!sums)
		return -ENOMEM;
	for (size_t i = 0; i < log->n_reads; i++) {
		const struct access_read *rd = &log->reads[i];
		struct report_sum *s = &sums[key_of(rd, key)];

		s->reads++;
		s->bytes += rd->length;
		s->waits += rd->waited;
		s->wait_ns += rd->wait_ns;
	}
	for (size_t i = 0; i < t->n; i++) {
		if (!sums[i].reads)
			continue;
		sums[n] = sums[i];
		sums[n++].key = (uint32_t)i;
	}
	qsort(sums, n, sizeof(*sums), sum_compare);
	*ret = sums;
	*ret_n = n;
	return 0;
}

static void span_add(struct report_totals *t, bool first, int64_t begin_ns, uint64_t duration_ns)
{
	int64_t end_ns;

	if (add_overflows(begin_ns, (int64_t)min_u64(duration_ns, INT64_MAX), &end_ns))
		end_ns = INT64_MAX;
	if (first || begin_ns < t->begin_ns)
		t->begin_ns = begin_ns;
	if (first || end_ns > t->end_ns)
		t->end_ns = end_ns;
}

void report_totals(const struct access_log *log, struct report_totals *ret)
{
	*ret = (struct report_totals){.reads = log->n_reads, .fetches = log->n_fetches};
	for (size_t i = 0; i < log->n_reads; i++) {
		const struct access_read *rd = &log->reads[i];

		span_add(ret, !i, rd->time_ns, rd->duration_ns);
		ret->bytes += rd->length;
		if (!rd->waited)
			continue;
		ret->waits++;
		ret->wait_ns += rd->wait_ns;
		for (int p = 0; p < TRACE_PHASES; p++)
			ret->phases_ns[p] += rd->phases_ns[p];
	}
	for (size_t i = 0; i < log->n_fetches; i++) {
		const struct access_fetch *f = &log->fetches[i];

		span_add(ret, !i && !log->n_reads, f->time_ns, f->duration_ns);
		ret->fetched_bytes += f->bytes;
	}
}

void report_name(const char *bytes, size_t len, char *ret, size_t n)
{
	size_t k = min_u64(len, n - 1);

	for (size_t i = 0; i < k; i++)
		ret[i] = (uint8_t)bytes[i] < 0x20 || bytes[i] == 0x7f ? '?' : bytes[i];
	ret[k] = 0;
}

void report_intern_name(const struct intern *t, uint32_t id, char *ret, size_t n)
{
	size_t len;
	const char *s = intern_get(t, id, &len);

	report_name(s, len, ret, n);
}

void report_process_name(const struct access_log *log, uint32_t id, char *ret, size_t n)
{
	size_t len;
	const struct access_process *p = intern_get(&log->processes, id, &len);
	char text[sizeof(p->pid) + 128];
	int k = snprintf(text, sizeof(text), "%s (%u)", p->command, p->pid);

	report_name(text, min_u64((uint64_t)k, sizeof(text) - 1), ret, n);
}
