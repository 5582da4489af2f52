/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include "base/buf.h"
#include "registry/layout_write.h"

struct place {
	char dir[64];	 /* the test's own */
	char layout[80]; /* below it */
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->dir, "/tmp/morsel-layout-XXXXXX");
	if (!mkdtemp(p->dir))
		return -1;
	snprintf(p->layout, sizeof(p->layout), "%s/img", p->dir);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;
	char command[100];
	int r;

	snprintf(command, sizeof(command), "rm -rf %s", p->dir);
	r = system(command);
	free(p);
	return r;
}

static struct layout_writer *opened(const char *path)
{
	struct error err = ERROR_INIT;
	struct layout_writer *w;

	if (layout_writer_open(seam_real(), path, &w, &err) < 0)
		fail_msg("%s", err.text);
	return w;
}

static char *text_of(const struct place *p, const char *name)
{
	char path[400];
	char *text;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s", p->layout, name);
	assert_int_equal(seam_read_file(seam_real(), AT_FDCWD, path, 1 << 20, &text, &n), 0);
	return text;
}

static struct digest put(struct layout_writer *w, const char *text)
{
	struct digest d;

	digest_of(DIGEST_SHA256, text, strlen(text), &d);
	assert_int_equal(layout_put(w, &d, text, strlen(text), NULL), 0);
	return d;
}

static void tag(struct layout_writer *w, const char *name, const struct digest *d)
{
	assert_int_equal(
		layout_tag(w, name, "application/vnd.oci.image.manifest.v1+json", NULL, d, 1, NULL),
		0);
}

static unsigned count(const char *text, const char *part)
{
	unsigned n = 0;

	for (; (text = strstr(text, part)); text++)
		n++;
	return n;
}

static void tags_are_added_and_replaced(void **state)
{
	struct layout_writer *w = opened(((struct place *)*state)->layout);
	struct digest a = put(w, "a"), b = put(w, "b");
	char *text;

	tag(w, "one", &a);
	tag(w, "two", &a);
	tag(w, NULL, &a);
	layout_writer_close(w);
	w = opened(((struct place *)*state)->layout); /* what is there stays */
	tag(w, "one", &b);
	tag(w, NULL, &b);
	layout_writer_close(w);
	text = text_of(*state, "index.json");
	assert_int_equal(count(text, "\"digest\""), 3);
	assert_int_equal(count(text, "3e23e816"), 2); /* sha256 of "b" */
	assert_int_equal(count(text, "\"one\""), 1);
	assert_int_equal(count(text, "\"two\""), 1);
	free(text);
}

static void blobs_are_verified(void **state)
{
	struct layout_writer *w = opened(((struct place *)*state)->layout);
	struct layout_blob *b;
	struct error err = ERROR_INIT;
	struct digest d;

	digest_of(DIGEST_SHA256, "hello", 5, &d);
	assert_int_equal(layout_blob_new(w, DIGEST_SHA256, &b, &err), 0);
	assert_int_equal(layout_blob_write(b, "hel", 3, &err), 0);
	assert_false(layout_has(w, &d, -1));
	assert_int_equal(layout_blob_commit(b, &d, 5, &err), -EBADMSG);
	layout_blob_free(b);
	assert_int_equal(layout_blob_new(w, DIGEST_SHA256, &b, NULL), 0);
	assert_int_equal(layout_blob_write(b, "hellO", 5, NULL), 0);
	assert_int_equal(layout_blob_commit(b, &d, 5, NULL), -EBADMSG);
	layout_blob_free(b);
	assert_false(layout_has(w, &d, -1));
	assert_int_equal(layout_blob_new(w, DIGEST_SHA256, &b, NULL), 0);
	assert_int_equal(layout_blob_write(b, "hello", 5, NULL), 0);
	assert_int_equal(layout_blob_commit(b, &d, 5, NULL), 0);
	layout_blob_free(b);
	assert_true(layout_has(w, &d, 5));
	assert_false(layout_has(w, &d, 4));
	tag(w, "x", &d);
	layout_writer_close(w);
}

/* Nothing that was only begun stays; what holds something else is not touched. */
static void nothing_is_left(void **state)
{
	struct place *p = *state;
	struct layout_writer *w = opened(p->layout);
	struct layout_blob *b;
	struct error err = ERROR_INIT;

	put(w, "a");
	assert_int_equal(layout_blob_new(w, DIGEST_SHA256, &b, NULL), 0);
	layout_blob_free(b);
	layout_writer_close(w);
	assert_int_equal(access(p->layout, F_OK), -1);
	assert_int_equal(mkdir(p->layout, 0700), 0);
	w = opened(p->layout);
	layout_writer_close(w);
	assert_int_equal(rmdir(p->layout), 0);
	assert_int_equal(layout_writer_open(seam_real(), "/proc/self", &w, &err), -EEXIST);
}

static void other_versions(void **state)
{
	struct place *p = *state;
	struct layout_writer *w;
	struct error err = ERROR_INIT;
	static const char text[] = "{\"imageLayoutVersion\":\"2.0.0\"}";
	char path[120];

	mkdir(p->layout, 0700);
	snprintf(path, sizeof(path), "%s/oci-layout", p->layout);
	assert_int_equal(seam_write_file(seam_real(), AT_FDCWD, path, text, strlen(text)), 0);
	assert_int_equal(layout_writer_open(seam_real(), p->layout, &w, &err), -ENOTSUP);
}

static int fsync_fails(const struct seam *s, int fd)
{
	return -EIO;
}

static void full_disk(void **state)
{
	struct place *p = *state;
	struct layout_writer *w = opened(p->layout);
	struct seam broken = *seam_real();
	struct digest d = put(w, "a");
	struct error err = ERROR_INIT;
	char *before, *after;

	tag(w, "one", &d);
	layout_writer_close(w);
	before = text_of(p, "index.json");
	broken.fsync = fsync_fails;
	assert_int_equal(layout_writer_open(&broken, p->layout, &w, &err), 0);
	assert_int_equal(layout_tag(w, "two", "x/y", NULL, &d, 1, &err), -EIO);
	layout_writer_close(w);
	after = text_of(p, "index.json");
	assert_string_equal(before, after);
	free(before);
	free(after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(tags_are_added_and_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(blobs_are_verified, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_left, setup, teardown),
		cmocka_unit_test_setup_teardown(other_versions, setup, teardown),
		cmocka_unit_test_setup_teardown(full_disk, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
