/* SPDX-License-Identifier: MIT */
/*
 * Events are sorted by what they belong to; then each task's time is swept once (trace_sweep.h),
 * the flights' first, because requests are at what their flights are at.
 */
#include "prof/trace_model.h"

#include <errno.h>
#include <stdio.h>

#include "prof/trace_sweep.h"

struct list {
	const struct trace_event **at;
	size_t n;
};

struct trace_parts {
	struct list fuse, http, flights, spans, waits, texts;
	struct slice *flight_slices, *request_slices;
	struct sweep sweep;
	char *strings;
	size_t n_strings, cap_strings;
};

const char *trace_source_name(enum trace_source s)
{
	static const char *const names[] = {
		[TRACE_FROM_CACHE] = "cache",	    [TRACE_FROM_MEMORY] = "memory",
		[TRACE_FROM_NETWORK] = "network",   [TRACE_FROM_READAHEAD] = "readahead",
		[TRACE_FROM_PREFETCH] = "prefetch", [TRACE_FROM_HOLE] = "hole",
		[TRACE_FROM_NOWHERE] = "error"};

	return names[s];
}

/* ---- sorting ---- */

static uint64_t group_of(const struct trace_event *e)
{
	return e->kind == TRACE_HTTP ? e->http.flight : e->id;
}

/* By what they belong to, then by time (texts: by position). */
static int event_compare(const void *x, const void *y)
{
	const struct trace_event *a = *(const struct trace_event *const *)x,
				 *b = *(const struct trace_event *const *)y;

	if (group_of(a) != group_of(b))
		return group_of(a) < group_of(b) ? -1 : 1;
	if (a->kind == TRACE_TEXT)
		return (int)a->code - (int)b->code;
	return a->start < b->start ? -1 : a->start > b->start;
}

/* The events of a group, in a sorted list. */
static struct list group_find(const struct list *l, uint64_t group)
{
	size_t lo = 0, hi = l->n, end;

	if (!group)
		return (struct list){0};
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (group_of(l->at[mid]) < group)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (end = lo; end < l->n && group_of(l->at[end]) == group;)
		end++;
	return (struct list){l->at + lo, end - lo};
}

static struct list *list_of(struct trace_parts *t, const struct trace_event *e)
{
	struct list *const lists[] = {
		[TRACE_FUSE] = &t->fuse,  [TRACE_HTTP] = &t->http,  [TRACE_FLIGHT] = &t->flights,
		[TRACE_SPAN] = &t->spans, [TRACE_WAIT] = &t->waits, [TRACE_TEXT] = &t->texts};

	return e->kind < ARRAY_SIZE(lists) && e->id ? lists[e->kind] : NULL;
}

static bool is_wanted(const struct trace_event *e, const struct trace_names *names)
{
	return (e->kind != TRACE_FUSE && e->kind != TRACE_FLIGHT) ||
	       names->image(names->userdata, e->image);
}

static int events_sort(struct trace_parts *t, const struct trace_log *log,
		       const struct trace_names *names)
{
	struct list *all[] = {&t->fuse, &t->http, &t->flights, &t->spans, &t->waits, &t->texts};
	size_t counts[ARRAY_SIZE(all)] = {0};

	for (size_t i = 0; i < log->n; i++)
		for (size_t k = 0; k < ARRAY_SIZE(all); k++)
			counts[k] += list_of(t, &log->events[i]) == all[k];
	for (size_t k = 0; k < ARRAY_SIZE(all); k++) {
		all[k]->at = calloc(counts[k] + 1, sizeof(*all[k]->at));
		if (!all[k]->at)
			return -ENOMEM;
	}
	for (size_t i = 0; i < log->n; i++) {
		struct list *l = list_of(t, &log->events[i]);

		if (l && is_wanted(&log->events[i], names))
			l->at[l->n++] = &log->events[i];
	}
	for (size_t k = 0; k < ARRAY_SIZE(all); k++)
		if (all[k]->n)
			qsort(all[k]->at, all[k]->n, sizeof(*all[k]->at), event_compare);
	return 0;
}

/* ---- tasks ---- */

static enum slot slot_of_span(const struct trace_event *span)
{
	switch (span->code) {
	case TRACE_TRANSFER:
		return SLOT_ASKED;
	case TRACE_DECOMPRESS:
		return SLOT_DECOMPRESS;
	case TRACE_VERIFY:
		return SLOT_VERIFY;
	default:
		return SLOT_CACHE;
	}
}

/* libcurl's times, laid end to end; where it broke off shows in what never came. */
static void http_mark(struct trace_parts *t, const struct trace_event *e)
{
	const uint64_t parts[] = {(uint64_t)e->http.queue_us * 1000, e->http.connect_ns,
				  e->http.first_byte_ns};
	enum slot rest = e->code || e->http.first_byte_ns ? SLOT_TRANSFER
			 : e->http.connect_ns		  ? SLOT_FIRST_BYTE
							  : SLOT_CONNECT;
	uint64_t at = e->start;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		uint64_t until = at + min_u64(parts[i], e->end - at);

		sweep_mark(&t->sweep, (enum slot)(SLOT_QUEUE + i), at, until);
		at = until;
	}
	sweep_mark(&t->sweep, rest, at, e->end);
}

static void spans_mark(struct trace_parts *t, uint64_t id, bool asked_too, uint64_t *ret_asked_end)
{
	struct list l = group_find(&t->spans, id);

	for (size_t i = 0; i < l.n; i++) {
		enum slot s = slot_of_span(l.at[i]);

		if (s == SLOT_ASKED && !asked_too)
			continue;
		if (s == SLOT_ASKED)
			*ret_asked_end = max_u64(*ret_asked_end, l.at[i]->end);
		sweep_mark(&t->sweep, s, l.at[i]->start, l.at[i]->end);
	}
}

static struct slice flight_sweep(struct trace_parts *t, const struct trace_event *e)
{
	struct list http = group_find(&t->http, e->id);
	struct gaps g = {.asked = http.n ? TRACE_QUEUE : TRACE_TRANSFER};

	for (size_t i = 0; i < http.n; i++)
		http_mark(t, http.at[i]);
	spans_mark(t, e->id, true, &g.queue_until);
	g.queue_until = max_u64(g.queue_until, e->flight.run);
	return sweep_run(&t->sweep, e->start, e->end, &g);
}

static struct slice http_sweep(struct trace_parts *t, const struct trace_event *e)
{
	uint64_t none = 0;

	http_mark(t, e);
	spans_mark(t, e->http.flight, false, &none);
	return sweep_run(&t->sweep, e->start, e->end, &(struct gaps){0});
}

/* The flight's segments within the request's time. */
static void flight_mark(struct trace_parts *t, const struct slice *s, const struct trace_event *e)
{
	size_t lo = s->first, hi = s->first + s->n, end = hi;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->sweep.segments[mid].end <= e->start)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < end && t->sweep.segments[lo].start < e->end; lo++)
		sweep_mark(&t->sweep, (enum slot)(t->sweep.segments[lo].phase + SLOT_QUEUE),
			   t->sweep.segments[lo].start, t->sweep.segments[lo].end);
}

static struct slice fuse_sweep(struct trace_parts *t, const struct trace_event *e,
			       struct trace_request *rq)
{
	struct list waits = group_find(&t->waits, e->id);
	uint64_t none = 0;

	for (size_t i = 0; i < waits.n; i++) {
		struct list f = group_find(&t->flights, waits.at[i]->wait.flight);
		const struct trace_event *flight = f.n ? f.at[0] : NULL;

		rq->wait_ns += waits.at[i]->wait.ns;
		if (!flight)
			continue;
		if (!rq->flight || flight->end > rq->flight->end)
			rq->flight = flight;
		flight_mark(t, &t->flight_slices[f.at - t->flights.at], e);
	}
	spans_mark(t, e->id, false, &none);
	return sweep_run(&t->sweep, e->start, e->end, &(struct gaps){0});
}

/* ---- where bytes came from ---- */

struct brought { /* by what nobody waited for, by layer and place */
	const struct trace_event **at;
	size_t n;
};

static uint64_t layer_of(const struct trace_event *flight)
{
	return (uint64_t)flight->image << 32 | flight->flight.layer;
}

static int place_compare(const void *x, const void *y)
{
	const struct trace_event *a = *(const struct trace_event *const *)x,
				 *b = *(const struct trace_event *const *)y;

	if (layer_of(a) != layer_of(b))
		return layer_of(a) < layer_of(b) ? -1 : 1;
	if (a->flight.dev_off != b->flight.dev_off)
		return a->flight.dev_off < b->flight.dev_off ? -1 : 1;
	return a->end < b->end ? -1 : a->end > b->end;
}

static int brought_make(const struct trace_parts *t, struct brought *ret)
{
	ret->at = calloc(t->flights.n + 1, sizeof(*ret->at));
	if (!ret->at)
		return -ENOMEM;
	for (size_t i = 0; i < t->flights.n; i++) {
		const struct trace_event *f = t->flights.at[i];

		if (f->code == TRACE_READAHEAD || f->code == TRACE_PREFETCH)
			ret->at[ret->n++] = f;
	}
	if (ret->n)
		qsort(ret->at, ret->n, sizeof(*ret->at), place_compare);
	return 0;
}

/* Flights of a layer hardly overlap: the few that begin before this place are looked at. */
static const struct trace_event *brought_find(const struct brought *b, uint64_t layer,
					      uint64_t dev_off, uint64_t before)
{
	size_t lo = 0, hi = b->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct trace_event *f = b->at[mid];

		if (layer_of(f) < layer || (layer_of(f) == layer && f->flight.dev_off <= dev_off))
			lo = mid + 1;
		else
			hi = mid;
	}
	for (size_t k = 0; k < 4 && lo > k; k++) {
		const struct trace_event *f = b->at[lo - 1 - k];

		if (layer_of(f) == layer && dev_off < f->flight.dev_end && f->end <= before)
			return f;
	}
	return NULL;
}

static enum trace_source source_of(const struct trace_request *rq, const struct brought *b,
				   bool has_place, uint32_t layer, uint64_t dev_off)
{
	const struct trace_event *e = rq->e, *f = rq->flight;

	if (e->fuse.result < 0)
		return TRACE_FROM_NOWHERE;
	if (e->flags & TRACE_READ_HOLE)
		return TRACE_FROM_HOLE;
	if (e->flags & TRACE_READ_MEMORY)
		return TRACE_FROM_MEMORY;
	if (f && f->code != TRACE_CHECK)
		return f->code == TRACE_PREFETCH ? TRACE_FROM_PREFETCH : TRACE_FROM_NETWORK;
	f = has_place ? brought_find(b, (uint64_t)e->image << 32 | layer, dev_off, e->end) : NULL;
	if (!f)
		return TRACE_FROM_CACHE;
	return f->code == TRACE_PREFETCH ? TRACE_FROM_PREFETCH : TRACE_FROM_READAHEAD;
}

/* ---- the model ---- */

static const char *text_join(struct trace_parts *t, uint64_t id)
{
	struct list l = group_find(&t->texts, id);
	char *start = t->strings + t->n_strings;

	if (!l.n || l.n * sizeof(l.at[0]->text) >= t->cap_strings - t->n_strings)
		return ""; /* several of one number, which can't be, would need more room */
	for (size_t i = 0; i < l.n; i++) {
		memcpy(t->strings + t->n_strings, l.at[i]->text,
		       min_u64(l.at[i]->flags, sizeof(l.at[i]->text)));
		t->n_strings += min_u64(l.at[i]->flags, sizeof(l.at[i]->text));
	}
	t->strings[t->n_strings++] = 0;
	return start;
}

static void http_fill(struct trace_parts *t, const struct trace_event *e,
		      const struct trace_names *names, struct trace_request *ret)
{
	struct list f = group_find(&t->flights, e->http.flight);

	if (!f.n)
		return;
	ret->flight = f.at[0];
	ret->layer = names->layer(names->userdata, f.at[0]->image, f.at[0]->flight.layer);
}

static void request_fill(struct trace_parts *t, const struct trace_event *e,
			 const struct trace_names *names, const struct brought *b,
			 struct trace_request *ret, struct slice *ret_slice)
{
	uint64_t dev_off = 0;
	uint32_t layer = 0;
	bool has_place;

	*ret = (struct trace_request){.e = e, .layer = "", .text = text_join(t, e->id)};
	if (e->kind == TRACE_HTTP) {
		http_fill(t, e, names, ret);
		*ret_slice = http_sweep(t, e);
		return;
	}
	*ret_slice = fuse_sweep(t, e, ret);
	has_place =
		names->where(names->userdata, e->image, e->fuse.ino, e->fuse.off, &layer, &dev_off);
	if (has_place)
		ret->layer = names->layer(names->userdata, e->image, layer);
	ret->source = source_of(ret, b, has_place, layer, dev_off);
}

static int request_compare(const void *x, const void *y)
{
	const struct trace_request *a = x, *b = y;

	if (a->e->start != b->e->start)
		return a->e->start < b->e->start ? -1 : 1;
	return a->e->id < b->e->id ? -1 : a->e->id > b->e->id;
}

static int requests_make(struct trace_model *m, const struct trace_names *names)
{
	struct trace_parts *t = m->parts;
	size_t n = t->fuse.n + t->http.n;
	_cleanup_(freep) const struct trace_event **places = NULL;
	struct brought b = {0};

	m->requests = calloc(n + 1, sizeof(*m->requests));
	t->request_slices = calloc(n + 1, sizeof(*t->request_slices));
	t->flight_slices = calloc(t->flights.n + 1, sizeof(*t->flight_slices));
	t->cap_strings = t->texts.n * (sizeof(((struct trace_event *)0)->text) + 1) + 1;
	t->strings = malloc(t->cap_strings);
	if (!m->requests || !t->request_slices || !t->flight_slices || !t->strings ||
	    brought_make(t, &b) < 0)
		return -ENOMEM;
	places = b.at;
	for (size_t i = 0; i < t->flights.n; i++)
		t->flight_slices[i] = flight_sweep(t, t->flights.at[i]);
	for (size_t i = 0; i < n; i++, m->n++)
		request_fill(t, i < t->fuse.n ? t->fuse.at[i] : t->http.at[i - t->fuse.n], names,
			     &b, &m->requests[i], &t->request_slices[i]);
	for (size_t i = 0; i < n; i++) { /* now that they move no more */
		m->requests[i].segments = t->sweep.segments + t->request_slices[i].first;
		m->requests[i].n_segments = t->request_slices[i].n;
	}
	if (n)
		qsort(m->requests, n, sizeof(*m->requests), request_compare);
	return t->sweep.failed ? -ENOMEM : 0;
}

int trace_model_new(const struct trace_log *log, const struct trace_names *names,
		    struct trace_model **ret)
{
	_cleanup_(trace_model_freep) struct trace_model *m = calloc(1, sizeof(*m));
	int r;

	if (!m || !(m->parts = calloc(1, sizeof(*m->parts))))
		return -ENOMEM;
	m->log = log;
	r = events_sort(m->parts, log, names);
	if (r >= 0)
		r = requests_make(m, names);
	if (r >= 0)
		*ret = steal_ptr(m);
	return r;
}

void trace_model_free(struct trace_model *m)
{
	struct trace_parts *t = m ? m->parts : NULL;

	if (t) {
		struct list *all[] = {&t->fuse,	 &t->http,  &t->flights,
				      &t->spans, &t->waits, &t->texts};

		for (size_t k = 0; k < ARRAY_SIZE(all); k++)
			free(all[k]->at);
		free(t->flight_slices);
		free(t->request_slices);
		sweep_fini(&t->sweep);
		free(t->strings);
		free(t);
	}
	if (m)
		free(m->requests);
	free(m);
}

/* ---- asked of a request ---- */

void trace_request_name(const struct trace_request *rq, char *ret, size_t n)
{
	if (rq->e->kind == TRACE_HTTP)
		snprintf(ret, n, "http.%.*s", (int)strcspn(rq->text, " "), rq->text);
	else
		snprintf(ret, n, "fuse.%s", trace_fuse_name(rq->e->code));
}

void trace_request_phases(const struct trace_request *rq, uint64_t ret[static TRACE_PHASES])
{
	memset(ret, 0, TRACE_PHASES * sizeof(*ret));
	for (size_t i = 0; i < rq->n_segments; i++)
		ret[rq->segments[i].phase] += rq->segments[i].end - rq->segments[i].start;
}

int trace_lanes(const struct trace_model *m, uint32_t **ret, uint32_t *ret_n)
{
	_cleanup_(freep) uint32_t *lanes = calloc(m->n + 1, sizeof(*lanes));
	_cleanup_(freep) uint64_t *busy_until = calloc(m->n + 1, sizeof(*busy_until));
	_cleanup_(freep) uint8_t *kinds = calloc(m->n + 1, sizeof(*kinds));
	uint32_t n = 0;

	if (!lanes || !busy_until || !kinds)
		return -ENOMEM;
	for (size_t i = 0; i < m->n; i++) {
		const struct trace_event *e = m->requests[i].e;
		uint32_t k = 0;

		while (k < n && (busy_until[k] > e->start || kinds[k] != e->kind))
			k++;
		n += k == n;
		busy_until[k] = e->end;
		kinds[k] = e->kind;
		lanes[i] = k;
	}
	*ret = steal_ptr(lanes);
	*ret_n = n;
	return 0;
}
