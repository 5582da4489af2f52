/* SPDX-License-Identifier: MIT */
/* What traces become: phases that add up, and files that others can read. */
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "prof/trace_write.h"

#define US 1000u
#define REAL (INT64_C(1700000000) * 1000000000)

static const char *name_image(void *userdata, uint32_t image)
{
	return image == 1 ? "example.test/app:1" : NULL;
}

static const char *name_path(void *userdata, uint32_t image, uint64_t ino)
{
	static const char *const paths[] = {"/", "/usr/bin/env", "/b\"\\\n", "/bad\xff\xc3\xa9",
					    "/usr"};

	return ino < ARRAY_SIZE(paths) ? paths[ino] : "(unknown)";
}

static bool name_where(void *userdata, uint32_t image, uint64_t ino, uint64_t off,
		       uint32_t *ret_layer, uint64_t *ret_dev_off)
{
	*ret_layer = 0;
	*ret_dev_off = ino * 4096 + off;
	return ino && ino < 4;
}

static const char *name_layer(void *userdata, uint32_t image, uint32_t layer)
{
	return layer ? "" : "sha256:aa";
}

static void name_process(void *userdata, uint32_t process, struct process *ret)
{
	*ret = process ? (struct process){.pid = 40 + process, .command = "cat"}
		       : (struct process){0};
}

static const struct trace_names names = {.image = name_image,
					 .path = name_path,
					 .where = name_where,
					 .layer = name_layer,
					 .process = name_process};

static struct trace_event read_event(uint64_t id, uint64_t start, uint64_t end, uint64_t ino)
{
	return (struct trace_event){
		.start = start * US,
		.end = end * US,
		.id = id,
		.kind = TRACE_FUSE,
		.code = TRACE_FUSE_READ,
		.image = 1,
		.fuse = {.ino = ino, .off = 16, .size = 100, .delivered = 100, .process = 2}};
}

static struct trace_event span(uint64_t id, enum trace_phase p, uint64_t start, uint64_t end)
{
	return (struct trace_event){.start = start * US,
				    .end = end * US,
				    .id = id,
				    .kind = TRACE_SPAN,
				    .code = (uint16_t)p};
}

static struct trace_event flight(uint64_t id, enum trace_flight why, uint64_t start, uint64_t run,
				 uint64_t end)
{
	return (struct trace_event){.start = start * US,
				    .end = end * US,
				    .id = id,
				    .kind = TRACE_FLIGHT,
				    .code = (uint16_t)why,
				    .image = 1,
				    .flight = {.dev_off = 4096, .dev_end = 8192, .run = run * US}};
}

static struct trace_event http(uint64_t id, uint64_t of, uint64_t start, uint64_t end)
{
	return (struct trace_event){.start = start * US,
				    .end = end * US,
				    .id = id,
				    .kind = TRACE_HTTP,
				    .code = 206,
				    .http = {.flight = of,
					     .queue_us = 10,
					     .connect_ns = 20 * US,
					     .first_byte_ns = 30 * US,
					     .body_kib = 4}};
}

static struct trace_event wait(uint64_t id, uint64_t of)
{
	return (struct trace_event){
		.start = 1, .end = 1, .id = id, .kind = TRACE_WAIT, .wait.flight = of};
}

static struct trace_model *model(struct trace_log *log)
{
	struct trace_model *m;

	log->begin_ns = 0;
	log->realtime_ns = REAL;
	assert_int_equal(trace_model_new(log, &names, &m), 0);
	return m;
}

/* Without gaps or overlaps, from beginning to end. */
static void check_covered(const struct trace_request *rq)
{
	uint64_t at = rq->e->start;

	for (size_t i = 0; i < rq->n_segments; i++) {
		assert_int_equal(rq->segments[i].start, at);
		assert_true(rq->segments[i].end > at);
		assert_true(i == 0 || rq->segments[i].phase != rq->segments[i - 1].phase);
		at = rq->segments[i].end;
	}
	assert_int_equal(at, rq->e->end);
}

#define CHECK_PHASES(rq, ...)                                                                      \
	do {                                                                                       \
		const uint64_t expected[TRACE_PHASES] = {__VA_ARGS__};                             \
		uint64_t got[TRACE_PHASES];                                                        \
                                                                                                   \
		check_covered(rq);                                                                 \
		trace_request_phases(rq, got);                                                     \
		for (int phase = 0; phase < TRACE_PHASES; phase++)                                 \
			assert_int_equal(got[phase], expected[phase] * US);                        \
	} while (0)

/* The whole way: a read that waits for a fetch. */
static void read_by_network(void **state)
{
	struct trace_event events[] = {
		wait(1, 10),
		span(10, TRACE_TRANSFER, 150, 950),
		span(10, TRACE_DECOMPRESS, 700, 800),
		span(10, TRACE_VERIFY, 720, 740),
		span(10, TRACE_CACHE, 740, 750),
		span(1, TRACE_CACHE, 960, 980),
		http(20, 10, 200, 900),
		flight(10, TRACE_FETCH, 110, 140, 970),
		read_event(1, 100, 1000, 1),
	};
	struct trace_log log = {.events = events, .n = ARRAY_SIZE(events)};
	struct trace_model *m = model(&log);

	assert_int_equal(m->n, 2);
	/* queue: 110-200 (delay, lock) + 200-210 + 900-950 after HTTP. cache: before, after, inside
	 */
	CHECK_PHASES(&m->requests[0], [TRACE_QUEUE] = 90 + 10 + 50, [TRACE_CONNECT] = 20,
		     [TRACE_FIRST_BYTE] = 30, [TRACE_TRANSFER] = 640 - 100, [TRACE_DECOMPRESS] = 70,
		     [TRACE_VERIFY] = 20, [TRACE_CACHE] = 10 + 10 + 50);
	assert_int_equal(m->requests[0].source, TRACE_FROM_NETWORK);
	assert_int_equal(m->requests[0].flight->id, 10);
	assert_string_equal(m->requests[0].layer, "sha256:aa");
	CHECK_PHASES(&m->requests[1], [TRACE_QUEUE] = 10, [TRACE_CONNECT] = 20,
		     [TRACE_FIRST_BYTE] = 30, [TRACE_TRANSFER] = 540, [TRACE_DECOMPRESS] = 70,
		     [TRACE_VERIFY] = 20, [TRACE_CACHE] = 10);
	assert_int_equal(m->requests[1].flight->id, 10);
	trace_model_free(m);
}

static void sources_are_told_apart(void **state)
{
	struct trace_event events[] = {
		read_event(1, 10, 20, 1),
		read_event(2, 200, 210, 1),
		read_event(3, 200, 210, 2),
		read_event(4, 300, 310, 1),
		read_event(5, 300, 310, 1),
		read_event(6, 400, 500, 2),
		flight(10, TRACE_PREFETCH, 50, 60, 100),
		flight(11, TRACE_CHECK, 400, 410, 490),
		wait(6, 11),
		span(11, TRACE_VERIFY, 420, 480),
	};
	const enum trace_source want[] = {TRACE_FROM_CACHE, TRACE_FROM_PREFETCH, TRACE_FROM_CACHE,
					  TRACE_FROM_HOLE,  TRACE_FROM_NOWHERE,	 TRACE_FROM_CACHE};
	struct trace_log log = {.events = events, .n = ARRAY_SIZE(events)};
	struct trace_model *m;

	events[3].flags = TRACE_READ_HOLE;
	events[4].fuse.result = -EIO;
	m = model(&log);
	assert_int_equal(m->n, ARRAY_SIZE(want));
	for (size_t i = 0; i < m->n; i++)
		assert_int_equal(m->requests[i].source, want[i]);
	CHECK_PHASES(&m->requests[5], [TRACE_QUEUE] = 10, [TRACE_VERIFY] = 60, [TRACE_CACHE] = 30);
	trace_model_free(m);
}

/* A request that never got an answer shows where it hung. */
static void failures_of_http(void **state)
{
	struct trace_event events[] = {http(1, 0, 0, 100), http(2, 0, 200, 300),
				       http(3, 0, 400, 405)};
	struct trace_log log = {.events = events, .n = ARRAY_SIZE(events)};
	struct trace_model *m;

	events[0].code = events[1].code = 0;
	events[0].http.connect_ns = events[0].http.first_byte_ns = 0;
	events[1].http.first_byte_ns = 0;
	m = model(&log);
	CHECK_PHASES(&m->requests[0], [TRACE_QUEUE] = 10, [TRACE_CONNECT] = 90);
	CHECK_PHASES(
		&m->requests[1], [TRACE_QUEUE] = 10, [TRACE_CONNECT] = 20, [TRACE_FIRST_BYTE] = 70);
	CHECK_PHASES(&m->requests[2], [TRACE_QUEUE] = 5); /* shorter than its parts say */
	trace_model_free(m);
}

static void other_images_are_left_out(void **state)
{
	struct trace_event events[] = {read_event(1, 0, 10, 1), read_event(2, 0, 10, 1)};
	struct trace_log log = {.events = events, .n = ARRAY_SIZE(events)};
	struct trace_model *m;

	events[1].image = 2;
	m = model(&log);
	assert_int_equal(m->n, 1);
	assert_int_equal(m->requests[0].e->id, 1);
	trace_model_free(m);
}

static void jsonl_lines(void **state)
{
	struct trace_event events[] = {read_event(1, 1, 11, 1),
				       read_event(2, 21, 31, 2),
				       read_event(3, 41, 51, 3),
				       read_event(4, 61, 71, 1),
				       read_event(5, 81, 91, 1),
				       flight(7, TRACE_FETCH, 50, 51, 59),
				       flight(8, TRACE_PREFETCH, 3, 3, 7),
				       flight(9, TRACE_CHECK, 3, 3, 7)};
	static const char fetch[] = "{\"fetch\":\"prefetch\",\"time\":1700000000.000003000,"
				    "\"duration_ns\":4000,\"flight\":8,\"layer\":\"sha256:aa\","
				    "\"device\":65536,\"length\":4096,\"bytes\":0}\n"
				    "{\"fetch\":\"read\",\"time\":1700000000.000050000,"
				    "\"duration_ns\":9000,\"flight\":7,\"layer\":\"sha256:aa\","
				    "\"device\":65536,\"length\":4096,\"bytes\":0}\n";
	static const char want[] =
		"{\"time\":1700000000.000001000,\"pid\":42,\"command\":\"cat\","
		"\"path\":\"/usr/bin/env\","
		"\"offset\":16,\"length\":100,\"layer\":\"sha256:aa\",\"device\":4112,"
		"\"source\":\"cache\",\"duration_ns\":10000,"
		"\"phases\":{\"cache\":10000}}\n"
		"{\"time\":1700000000.000021000,\"pid\":42,\"command\":\"cat\","
		"\"path\":\"/b\\\"\\\\\\u000a\","
		"\"offset\":16,\"length\":100,\"layer\":\"sha256:aa\",\"device\":8208,"
		"\"source\":\"cache\",\"duration_ns\":10000,"
		"\"phases\":{\"cache\":10000}}\n"
		"{\"time\":1700000000.000041000,\"pid\":42,\"command\":\"cat\","
		"\"path\":\"/bad\\\\xff\xc3\xa9\","
		"\"path_hex\":\"2f626164ffc3a9\","
		"\"offset\":16,\"length\":100,\"layer\":\"sha256:aa\",\"device\":12304,"
		"\"source\":\"cache\",\"duration_ns\":10000,"
		"\"phases\":{\"cache\":10000}}\n";
	struct trace_log log = {.events = events, .n = ARRAY_SIZE(events)};
	struct buf b = BUF_INIT;
	struct trace_model *m;

	for (size_t i = 5; i < 8; i++)
		events[i].flight.dev_off = 65536, events[i].flight.dev_end = 69632;
	events[3].code = 1; /* a look-up is no read */
	events[4].flags = TRACE_READ_END;
	m = model(&log);
	assert_int_equal(trace_write_jsonl(m, &names, &b), 0);
	assert_string_equal(buf_str(&b), want);
	b.len = 0;
	assert_int_equal(trace_write_fetches(m, &names, &b), 0);
	assert_string_equal(buf_str(&b), fetch);
	buf_fini(&b);
	trace_model_free(m);
}

static void texts_are_joined(void **state)
{
	struct trace_event events[] = {
		{.start = 1,
		 .end = 5,
		 .id = 1,
		 .kind = TRACE_FUSE,
		 .code = 1,
		 .image = 1,
		 .fuse.ino = 4},
		{.id = 1, .kind = TRACE_TEXT, .code = 32, .flags = 2, .text = "yz"},
		{.id = 1,
		 .kind = TRACE_TEXT,
		 .code = 0,
		 .flags = 32,
		 .text = "abcdefghijklmnopqrstuvwxabcdefg"},
		{.start = 1, .end = 5, .id = 2, .kind = TRACE_HTTP, .code = 200},
		{.id = 2, .kind = TRACE_TEXT, .code = 0, .flags = 14, .text = "GET host/v2/ab"},
	};
	struct trace_log log = {.events = events, .n = ARRAY_SIZE(events)};
	struct buf b = BUF_INIT;
	struct trace_model *m;
	char name[32];

	memcpy(events[2].text, "abcdefghijklmnopqrstuvwxabcdefgh", 32);
	m = model(&log);
	assert_int_equal(trace_request_target(&m->requests[0], &names, &b), 0);
	assert_string_equal(buf_str(&b), "/usr/abcdefghijklmnopqrstuvwxabcdefghyz");
	trace_request_name(&m->requests[0], name, sizeof(name));
	assert_string_equal(name, "fuse.lookup");
	trace_request_name(&m->requests[1], name, sizeof(name));
	assert_string_equal(name, "http.GET");
	assert_string_equal(m->requests[1].text, "GET host/v2/ab");
	buf_fini(&b);
	trace_model_free(m);
}

/* ---- anything ---- */

static uint64_t seed;

static uint64_t any(uint64_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (seed >> 33) % n;
}

static struct trace_event any_event(void)
{
	uint64_t start = any(1000), end = start + any(300);
	struct trace_event e;

	switch (any(6)) {
	case 0:
		return http(any(50), any(20), start, end);
	case 1:
		return flight(any(20), (enum trace_flight)any(4), start, start + any(50), end);
	case 2:
		return wait(any(50), any(20));
	case 3:
		return span(any(50), (enum trace_phase)any(TRACE_PHASES), start, end);
	case 4:
		e = (struct trace_event){.id = any(50),
					 .kind = (uint8_t)(TRACE_TEXT + any(2)),
					 .flags = (uint8_t)any(33)};
		memset(e.text, (int)any(255) + 1, sizeof(e.text));
		return e;
	default:
		e = read_event(any(50), start, end, any(6));
		e.flags = (uint8_t)any(8);
		e.code = (uint16_t)any(60);
		return e;
	}
}

/* Whatever the events are, also such as no program makes: all is covered, and the files are
 * well-formed. */
static void random_traces(void **state)
{
	struct trace_event events[200];

	for (uint64_t round = 1; round <= 300; round++) {
		struct buf go = BUF_INIT, chrome = BUF_INIT, lines = BUF_INIT;
		struct trace_log log = {.events = events};
		struct trace_model *m;
		json_t *doc;

		seed = round * 7919;
		log.n = any(ARRAY_SIZE(events));
		for (size_t i = 0; i < log.n; i++)
			events[i] = any_event();
		m = model(&log);
		for (size_t i = 0; i < m->n; i++)
			check_covered(&m->requests[i]);
		assert_int_equal(trace_write_chrome(m, &names, &chrome), 0);
		doc = json_loadb((char *)chrome.data, chrome.len, 0, NULL);
		assert_non_null(doc);
		json_decref(doc);
		assert_int_equal(trace_write_jsonl(m, &names, &lines), 0);
		for (char *line = (char *)buf_str(&lines); line && *line;
		     line = strchr(line, '\n') + 1) {
			doc = json_loadb(line, strcspn(line, "\n"), 0, NULL);
			assert_non_null(doc);
			json_decref(doc);
		}
		assert_int_equal(trace_write_go(m, &names, &go), 0);
		assert_memory_equal(go.data, "go 1.19 trace\0\0\0", 16);
		buf_fini(&go);
		buf_fini(&chrome);
		buf_fini(&lines);
		trace_model_free(m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_by_network),  cmocka_unit_test(sources_are_told_apart),
		cmocka_unit_test(failures_of_http), cmocka_unit_test(other_images_are_left_out),
		cmocka_unit_test(jsonl_lines),	    cmocka_unit_test(texts_are_joined),
		cmocka_unit_test(random_traces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
