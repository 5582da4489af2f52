/* SPDX-License-Identifier: MIT */
/* Traces in, sums, tables and pages out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include "prof/report.h"

#define LAYER "sha256:aa"

static const char trace[] =
	"{\"time\":1700000000.25,\"pid\":7,\"command\":\"sh\",\"path\":\"/bin/sh\",\"offset\":0,"
	"\"length\":4096,\"layer\":\"" LAYER "\",\"source\":\"network\",\"duration_ns\":3000000,"
	"\"flight\":9,\"device\":8192,\"phases\":{\"queue\":1000000,\"transfer\":2000000}}\n"
	"\n"
	"{\"time\":1700000001,\"pid\":7,\"command\":\"sh\",\"path\":\"/bin/sh\",\"offset\":4096,"
	"\"length\":100,\"layer\":\"" LAYER "\",\"source\":\"cache\",\"duration_ns\":5000,"
	"\"phases\":{\"cache\":5000}}\n"
	"{\"time\":1700000002,\"pid\":8,\"command\":\"a\\\"<b>\",\"path\":\"/"
	"x\\\\xff\",\"path_hex\":"
	"\"2f78ff\",\"offset\":0,\"length\":1,\"layer\":\"\",\"source\":\"hole\"}";
static const char fetches[] =
	"{\"fetch\":\"read\",\"time\":1700000000.2,\"duration_ns\":40000000,\"layer\":\"" LAYER
	"\","
	"\"device\":8192,\"length\":16384,\"bytes\":5000}\n";

static void add(struct report *r, const char *name, const char *text)
{
	struct error err = ERROR_INIT;

	assert_int_equal(report_add(r, name, text, strlen(text), &err), 0);
}

static void what_the_lines_say(void **state)
{
	struct access_log log = ACCESS_LOG_INIT;
	struct report_totals t;
	size_t len;

	assert_int_equal(access_log_parse(&log, trace, strlen(trace), "t", NULL), 0);
	assert_int_equal(access_log_parse(&log, fetches, strlen(fetches), "f", NULL), 0);
	assert_int_equal(log.n_reads, 3);
	assert_int_equal(log.n_fetches, 1);
	/* A double knows it to a few hundred nanoseconds. */
	assert_true(llabs(log.reads[0].time_ns - INT64_C(1700000000250000000)) < 1000);
	assert_int_equal(log.reads[0].phases_ns[TRACE_TRANSFER], 2000000);
	assert_true(log.reads[0].waited && !log.reads[1].waited);
	assert_int_equal(log.reads[0].device, 8192);
	assert_true(log.reads[1].device == ACCESS_NOWHERE);
	assert_int_equal(log.reads[0].path, log.reads[1].path);
	assert_memory_equal(intern_get(&log.paths, log.reads[2].path, &len), "/x\xff", 3);
	assert_int_equal(len, 3);
	assert_int_equal(log.reads[0].wait_ns, 3000000); /* who says no more waited all the time */
	report_totals(&log, &t);
	assert_int_equal(t.reads, 3);
	assert_int_equal(t.bytes, 4197);
	assert_int_equal(t.waits, 1);
	assert_int_equal(t.wait_ns, 3000000);
	assert_int_equal(t.fetched_bytes, 5000);
	assert_int_equal(t.phases_ns[TRACE_QUEUE], 1000000);
	assert_int_equal(t.phases_ns[TRACE_CACHE], 0); /* it did not wait */
	assert_int_equal((t.end_ns - t.begin_ns) / 1000000, 1800);
	access_log_fini(&log);
}

static void sums_by_file(void **state)
{
	struct access_log log = ACCESS_LOG_INIT;
	struct report_sum *sums;
	size_t n;

	assert_int_equal(access_log_parse(&log, trace, strlen(trace), "t", NULL), 0);
	assert_int_equal(report_sums(&log, REPORT_PATH, &sums, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(sums[0].key, log.reads[0].path);
	assert_int_equal(sums[0].reads, 2);
	assert_int_equal(sums[0].bytes, 4196);
	assert_int_equal(sums[0].wait_ns, 3000000);
	free(sums);
	assert_int_equal(report_sums(&log, REPORT_PROCESS, &sums, &n), 0);
	assert_int_equal(n, 2);
	free(sums);
	access_log_fini(&log);
}

static void lines_that_are_wrong(void **state)
{
	static const char *const bad[] = {
		"{\"time\":\"now\",\"pid\":1,\"path\":\"/\",\"offset\":0,\"length\":1}",
		"{\"time\":-1,\"pid\":1,\"path\":\"/\",\"offset\":0,\"length\":1}",
		"{\"time\":1,\"path\":\"/\",\"offset\":0,\"length\":1}",
		"{\"time\":1,\"pid\":1,\"offset\":0,\"length\":1}",
		"{\"time\":1,\"pid\":1,\"path\":\"/\",\"offset\":-1,\"length\":1}",
		"{\"time\":1,\"pid\":1,\"path\":\"/\",\"offset\":0,\"length\":4294967296}",
		"{\"time\":1,\"pid\":1,\"path\":\"/"
		"\",\"path_hex\":\"2\",\"offset\":0,\"length\":1}",
		"{\"time\":1,\"pid\":1,\"path\":\"/\",\"offset\":0,\"length\":1,\"phases\":3}",
		"{\"fetch\":\"read\",\"time\":1,\"device\":9223372036854775807,\"length\":9,"
		"\"bytes\":1}",
		"{\"time\":1",
		"[]",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct access_log log = ACCESS_LOG_INIT;
		struct error err = ERROR_INIT;
		_cleanup_(buf_fini) struct buf b = BUF_INIT;

		assert_int_equal(buf_printf(&b, "%s\n%s", fetches, bad[i]), 0);
		assert_int_equal(access_log_parse(&log, b.data, b.len, "t", &err), -EBADMSG);
		assert_non_null(strstr(err.text, "t line 3"));
		access_log_fini(&log);
	}
}

/* Where a line says how much of it was waiting, that counts. */
static void waits(void **state)
{
	static const char line[] = "{\"time\":1,\"pid\":7,\"path\":\"/"
				   "x\",\"offset\":0,\"length\":1,\"duration_ns\":9000,"
				   "\"flight\":3,\"wait_ns\":7000,\"phases\":{\"cache\":9000}}\n";
	struct access_log log = ACCESS_LOG_INIT;
	struct report_totals t;

	assert_int_equal(access_log_parse(&log, line, strlen(line), "t", NULL), 0);
	report_totals(&log, &t);
	assert_int_equal(t.waits, 1);
	assert_int_equal(t.wait_ns, 7000);
	access_log_fini(&log);
}

/* The same run's reads and fetches are one trace; another run is another. */
static void files_of_a_run(void **state)
{
	struct report r = REPORT_INIT;

	add(&r, "d/access_pull_a.jsonl", trace);
	add(&r, "d/fetches_pull_a.jsonl", fetches);
	add(&r, "d/access_pull_b.jsonl", trace);
	assert_int_equal(r.n_traces, 2);
	assert_string_equal(r.traces[0].label, "pull_a");
	assert_int_equal(r.traces[0].log.n_fetches, 1);
	assert_int_equal(r.traces[1].log.n_fetches, 0);
	report_fini(&r);
}

static void text_and_page(void **state)
{
	_cleanup_(buf_fini) struct buf text = BUF_INIT, page = BUF_INIT;
	struct report r = REPORT_INIT;
	const char *s;

	add(&r, "access_x.jsonl", trace);
	add(&r, "fetches_x.jsonl", fetches);
	assert_int_equal(report_tables(&r, &text), 0);
	s = buf_str(&text);
	assert_non_null(strstr(s, "reads 3, 4.1 KiB; 1 waited, 3.0 ms in all; fetches 1, 4.9 KiB"));
	assert_non_null(strstr(s, "/bin/sh"));
	assert_int_equal(report_page(&r, &page), 0);
	s = buf_str(&page);
	assert_true(page.len < 300 * 1024);
	assert_non_null(strstr(s, "\"paths\":[\"/bin/sh\",\"/x\\\\xff\"]"));
	assert_non_null(strstr(s, "a\\\"\\u003cb>")); /* no markup from names */
	assert_null(strstr(s, "<b>"));
	assert_null(strstr(s, " src=")); /* nothing from anywhere else */
	assert_null(strstr(s, " href="));
	report_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_lines_say),	cmocka_unit_test(sums_by_file),
		cmocka_unit_test(lines_that_are_wrong), cmocka_unit_test(files_of_a_run),
		cmocka_unit_test(text_and_page),	cmocka_unit_test(waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
