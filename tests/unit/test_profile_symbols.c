/* SPDX-License-Identifier: MIT */
/* Where functions, files and lines come from when the program itself has none left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "base/seam.h"
#include "pprof_raw.h"

static char *dir;

static void shell(const char *fmt, ...) _printf_(1, 2);

/* Runs in a new directory; $CHILD is the program as it was built. */
static void shell(const char *fmt, ...)
{
	_cleanup_(freep) char *text = NULL, *cmd = NULL;
	va_list ap;

	va_start(ap, fmt);
	assert_true(vasprintf(&text, fmt, ap) >= 0);
	va_end(ap);
	assert_true(asprintf(&cmd, "cd %s && CHILD=%s/tests/unit/profile_child && (%s)", dir,
			     getenv("MORSEL_BUILD_DIR"), text) >= 0);
	if (system(cmd))
		fail_msg("%s", cmd);
}

static void run(struct raw *ret)
{
	_cleanup_(closep) int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct buf profile = BUF_INIT;
	char *data;

	shell("./child out");
	assert_int_equal(seam_read_file(seam_real(), at, "out", 1 << 20, &data, &profile.len), 0);
	profile.data = (uint8_t *)data;
	*ret = raw_read(&profile);
	buf_fini(&profile);
}

/* The samples of its loop are named, in the right file, the inlined function inside the one it went
 * into. */
static void has_all(const char *how)
{
	_cleanup_(raw_free) struct raw r = {0};

	run(&r);
	if (!RAW_TRUTH)
		return;
	if (raw_sum(&r, 0, "spin_inlined", NULL) < 5 || raw_sum(&r, 0, "spin", NULL) < 10 ||
	    !raw_sum(&r, 0, "main", NULL) || !strstr(r.tail, "profile_child.c:"))
		fail_msg("%s: %s", how, r.tail);
}

static int setup(void **state)
{
	static char name[] = "/tmp/morsel-test-XXXXXX";

	strcpy(name + sizeof(name) - 7, "XXXXXX");
	dir = mkdtemp(name);
	if (!dir || system("objcopy --version >/dev/null 2>&1"))
		return -1;
	return 0;
}

static int teardown(void **state)
{
	shell("rm -rf %s", dir);
	return 0;
}

static void in_the_program(void **state)
{
	shell("cp $CHILD child");
	has_all("not stripped");
}

static void nowhere(void **state)
{
	_cleanup_(raw_free) struct raw r = {0};
	_cleanup_(freep) char *mapping = NULL;
	char *at;

	shell("strip -o child $CHILD");
	run(&r);
	if (!RAW_TRUTH)
		return;
	assert_true(raw_sum(&r, 0, NULL, NULL) >= 10);
	assert_int_equal(raw_sum(&r, 0, "spin", NULL), 0);
	/* The viewer is told where to look, and that it has to. */
	assert_true(asprintf(&mapping, "%s/child ", dir) > 0);
	at = strstr(r.tail, mapping);
	assert_non_null(at);
	at = strtok(at + strlen(mapping), "\n");
	assert_true(strspn(at, "0123456789abcdef") >= 32);
	assert_null(strchr(at, '['));
}

static void beside_it(void **state)
{
	shell("strip -o child $CHILD && objcopy --only-keep-debug $CHILD child.debug");
	has_all("child.debug");
}

static void in_dot_debug(void **state)
{
	shell("mkdir .debug && objcopy --only-keep-debug $CHILD .debug/x.dbg && strip -o child "
	      "$CHILD && "
	      "cd .debug && objcopy --add-gnu-debuglink=x.dbg ../child");
	has_all("by its debug link");
}

static void inside_it(void **state)
{
	shell("objcopy --only-keep-debug --compress-debug-sections=zlib --remove-section=.symtab "
	      "--remove-section=.strtab "
	      "$CHILD d && objcopy --add-section .morsel_debug=d $CHILD child && strip child && rm "
	      "d");
	has_all("in its own section");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(in_the_program, setup, teardown),
		cmocka_unit_test_setup_teardown(nowhere, setup, teardown),
		cmocka_unit_test_setup_teardown(beside_it, setup, teardown),
		cmocka_unit_test_setup_teardown(in_dot_debug, setup, teardown),
		cmocka_unit_test_setup_teardown(inside_it, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
