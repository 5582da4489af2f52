/* SPDX-License-Identifier: MIT */
/* What is to come first in a layer: lists of paths, traces and profiles of accesses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "prof/pprof.h"
#include "transfer/layer_order.h"

/* The paths, each with a newline, or NULL and the error. */
static char *order_of(const void *data, size_t n, struct error *err)
{
	char file[] = "/tmp/morsel-order-XXXXXX";
	struct layer_order o = LAYER_ORDER_INIT;
	struct buf text = BUF_INIT;
	int fd = mkstemp(file), r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, n), n);
	close(fd);
	*err = ERROR_INIT;
	r = layer_order_read(&o, file, err);
	unlink(file);
	for (size_t i = 0; i < o.n; i++)
		assert_int_equal(buf_printf(&text, "%s\n", o.paths[i]), 0);
	layer_order_fini(&o);
	assert_int_equal(r, err->code);
	assert_non_null(buf_str(&text));
	if (r < 0)
		buf_fini(&text);
	return (char *)text.data;
}

static void check(const char *data, const char *want)
{
	struct error err;
	_cleanup_(freep) char *got = order_of(data, strlen(data), &err);

	assert_non_null(got);
	assert_string_equal(got, want);
}

static void test_lists(void **state)
{
	check("", "");
	check("/usr/bin/env\n\nusr/lib/x\n/usr/bin/env\nno end",
	      "/usr/bin/env\nusr/lib/x\nno end\n");
	check(" spaces \n#no comment\n", " spaces \n#no comment\n");
}

/* What is given by mistake: a program, a heap profile, a trace of fetches. */
static void test_others(void **state)
{
	static const char elf[] = "\177ELF\2\1\1\0\0\nx\n",
			  fetch[] = "{\"fetch\":\"read\",\"length\":1}\n";
	static const struct pprof_type heap[] = {{"inuse_space", "bytes"}};
	struct pprof_options o = {.types = heap, .n_types = 1, .period_type = heap[0]};
	_cleanup_(pprof_freep) struct pprof *p = NULL;
	_cleanup_(buf_fini) struct buf file = BUF_INIT;
	struct error err;

	assert_null(order_of(elf, sizeof(elf) - 1, &err));
	assert_int_equal(err.code, -EBADMSG);
	assert_non_null(strstr(err.text, "line 1 is no path"));
	assert_null(order_of(fetch, sizeof(fetch) - 1, &err));
	assert_int_equal(err.code, -EBADMSG);
	assert_non_null(strstr(err.text, "names no file"));
	assert_int_equal(pprof_new(&o, &p), 0);
	pprof_sample(p, (const uint64_t[]){pprof_frame(p, 0, "main", "main", NULL)}, 1,
		     (const int64_t[]){3}, NULL, 0);
	assert_int_equal(pprof_finish(p, &file), 0);
	assert_null(order_of(file.data, file.len, &err));
	assert_int_equal(err.code, -EBADMSG);
	assert_non_null(strstr(err.text, "inuse_space"));
}

static void test_traces(void **state)
{
	struct error err;

	check("{\"time\":1.5,\"pid\":7,\"command\":\"sh\",\"path\":\"/"
	      "b\",\"offset\":0,\"length\":9}\n"
	      "{\"path\":\"/a\"}\n{\"path\":\"/b\",\"layer\":null}\n{\"pid\":1}\n"
	      "{\"path\":\"/x\\\\xff\",\"path_hex\":\"2f78ff\"}\n",
	      "/b\n/a\n/x\xff\n");
	assert_null(order_of("{\"path\":\"/a\"}\n{\"path\":", 23, &err));
	assert_int_equal(err.code, -EBADMSG);
	assert_null(order_of("{\"path\":7}\n", 11, &err));
	assert_int_equal(err.code, -EBADMSG);
	assert_null(order_of("{\"path_hex\":\"2f7\"}\n", 19, &err));
	assert_int_equal(err.code, -EBADMSG);
	assert_non_null(strstr(err.text, "line 1"));
}

/* Rows as access_*.pprof has them: a frame a component, the root last. */
static void test_profiles(void **state)
{
	static const struct pprof_type types[] = {{"opens", "count"}};
	static const char *const rows[][4] = {
		{"env", "bin/", "usr/", "/"}, {"(prefetch)"}, {"conf", "etc/", "/"}};
	_cleanup_(pprof_freep) struct pprof *p = NULL;
	_cleanup_(buf_fini) struct buf file = BUF_INIT;
	struct pprof_options o = {.types = types, .n_types = 1, .period_type = types[0]};
	_cleanup_(freep) char *got = NULL;
	struct error err;

	assert_int_equal(pprof_new(&o, &p), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t frames[4];
		size_t n = 0;

		for (; n < 4 && rows[i][n]; n++)
			frames[n] = pprof_frame(p, 0, rows[i][n], rows[i][n], NULL);
		pprof_sample(p, frames, n, (const int64_t[]){3}, NULL, 0);
	}
	assert_int_equal(pprof_finish(p, &file), 0);
	got = order_of(file.data, file.len, &err);
	assert_non_null(got);
	assert_string_equal(got, "/usr/bin/env\n/etc/conf\n");
	assert_null(order_of(file.data, file.len / 2, &err));
	assert_int_equal(err.code, -EBADMSG);
}

static void test_missing(void **state)
{
	struct layer_order o = LAYER_ORDER_INIT;
	struct error err = ERROR_INIT;

	assert_int_equal(layer_order_read(&o, "/nowhere/list", &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nowhere/list"));
	layer_order_fini(&o);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists),	 cmocka_unit_test(test_traces),
		cmocka_unit_test(test_profiles), cmocka_unit_test(test_missing),
		cmocka_unit_test(test_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
