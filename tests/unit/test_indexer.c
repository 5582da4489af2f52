/* SPDX-License-Identifier: MIT */
/* The real helper process: what it makes, how it fails, and that it is locked up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <zlib.h>
#include "image/indexer.h"

struct run {
	struct indexer *ix;
	int data_fd, table_fd;
};

static void run_start_format(struct run *r, enum layer_format_id format)
{
	char helper[4096];
	struct indexer_params p = {.format = format,
				   .blob_bytes = 1 << 20,
				   .data_end = 1 << 20,
				   .max_entries = 5,
				   .helper_path = helper};
	struct error err = ERROR_INIT;

	snprintf(helper, sizeof(helper), "%s/morsel-indexer", getenv("MORSEL_BUILD_DIR"));
	r->data_fd = memfd_create("data", MFD_CLOEXEC);
	p.data_fd = format == LAYER_ESTARGZ ? -1 : r->data_fd;
	r->table_fd = p.table_fd = memfd_create("tables", MFD_CLOEXEC);
	if (indexer_start(&p, &r->ix, &err) < 0)
		fail_msg("%s", err.text);
}

static void run_start(struct run *r)
{
	run_start_format(r, LAYER_GZIP);
}

static void run_end(struct run *r)
{
	indexer_free(r->ix);
	close(r->data_fd);
	close(r->table_fd);
}

/* A tar archive of n empty files (each one block) or of one with the text. */
static size_t archive(unsigned n, const char *text, uint8_t *out, size_t room)
{
	static uint8_t tar[64 << 10];
	z_stream z = {0};
	size_t len = 0;

	memset(tar, 0, sizeof(tar));
	for (unsigned i = 0; i < n; i++) {
		uint8_t *h = tar + len;
		unsigned sum = 0;

		snprintf((char *)h, 100, "file%u", i);
		snprintf((char *)h + 100, 8, "0000644");
		snprintf((char *)h + 124, 13, "%011zo", strlen(text));
		h[156] = '0';
		memset(h + 148, ' ', 8);
		for (int k = 0; k < 512; k++)
			sum += h[k];
		snprintf((char *)h + 148, 8, "%06o", sum);
		memcpy(h + 512, text, strlen(text));
		len += 512 + align_up(strlen(text), 512);
	}
	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = tar;
	z.avail_in = (uInt)len + 1024;
	z.next_out = out;
	z.avail_out = (uInt)room;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}

static void a_layer_is_indexed(void **state)
{
	uint8_t blob[4096], data[6];
	size_t n = archive(1, "hello", blob, sizeof(blob));
	struct layer_index ix;
	struct stat st;
	struct run r;
	void *map;

	run_start(&r);
	for (size_t i = 0; i < n; i++) /* byte by byte */
		assert_int_equal(indexer_feed(r.ix, blob + i, 1, NULL), 0);
	assert_int_equal(indexer_finish(r.ix, NULL), 0);
	assert_int_equal(fstat(r.table_fd, &st), 0);
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, r.table_fd, 0);
	assert_int_equal(layer_index_validate(map, (size_t)st.st_size, 5, &ix, NULL), 0);
	assert_int_equal(ix.header.n_entries, 1);
	assert_int_equal(ix.header.blob_bytes, n);
	assert_int_equal(pread(r.data_fd, data, 5, (off_t)ix.entries[0].data_off), 5);
	assert_memory_equal(data, "hello", 5);
	munmap(map, (size_t)st.st_size);
	run_end(&r);
}

static void its_errors_come_through(void **state)
{
	struct error err = ERROR_INIT;
	uint8_t blob[4096];
	size_t n;
	struct run r;

	run_start(&r);
	assert_int_equal(indexer_feed(r.ix, "not gzip", 8, &err), 0);
	assert_int_equal(indexer_finish(r.ix, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "gzip"));
	run_end(&r);

	n = archive(6, "", blob, sizeof(blob)); /* one more than the limit */
	err = ERROR_INIT;
	run_start(&r);
	indexer_feed(r.ix, blob, n, NULL);
	assert_int_equal(indexer_finish(r.ix, &err), -E2BIG);
	assert_non_null(strstr(err.text, "--max-entries"));
	run_end(&r);

	n = archive(5, "", blob, sizeof(blob));
	run_start(&r);
	indexer_feed(r.ix, blob, n, NULL);
	assert_int_equal(indexer_finish(r.ix, NULL), 0);
	run_end(&r);
}

/* The one child of ours: nothing else starts processes here. */
static pid_t helper_pid(void)
{
	char path[64];
	FILE *f;
	int pid = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	f = fopen(path, "re");
	if (f && fscanf(f, "%d", &pid) != 1)
		pid = 0;
	if (f)
		fclose(f);
	return pid;
}

static bool status_says(pid_t pid, const char *line)
{
	char path[64], text[4096];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = 0;
	fclose(f);
	return strstr(text, line) != NULL;
}

static void it_is_locked_up(void **state)
{
	struct run r;
	pid_t pid;
	char path[64];
	unsigned open_files = 0;
	struct dirent *e;
	DIR *d;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip();
#endif
	run_start(&r);
	pid = helper_pid();
	if (!pid)
		skip(); /* a kernel without CONFIG_PROC_CHILDREN */
	for (int i = 0; i < 500 && !status_says(pid, "Seccomp:\t2"); i++)
		usleep(10000);
	assert_true(status_says(pid, "Seccomp:\t2"));
	assert_true(status_says(pid, "NoNewPrivs:\t1"));
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d)))
		open_files += e->d_name[0] != '.';
	closedir(d);
	assert_true(open_files <= 5); /* 0, 1, 2, data, tables */
	run_end(&r);
	assert_int_equal(kill(pid, 0), -1); /* an abandoned one is gone */
}

/* What the host forgot to close on exec is not the helper's, also where no data file goes. */
static void it_inherits_nothing(void **state)
{
	int null = open("/dev/null", O_RDONLY); /* not close-on-exec */
	char path[64];
	struct run r;
	pid_t pid;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip();
#endif
	assert_true(null >= 3);
	if (null > 3 && fcntl(3, F_GETFD) < 0)
		assert_int_equal(dup2(null, 3), 3);
	assert_int_equal(fcntl(3, F_SETFD, 0), 0);
	run_start_format(&r, LAYER_ESTARGZ);
	pid = helper_pid();
	if (!pid)
		skip();
	for (int i = 0; i < 500 && !status_says(pid, "Seccomp:\t2"); i++)
		usleep(10000);
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/3", pid); /* fd/3 dangles for some files */
	assert_int_equal(access(path, F_OK), -1);
	run_end(&r);
	close(null);
}

static void a_killed_one_is_named(void **state)
{
	struct error err = ERROR_INIT;
	struct run r;
	pid_t pid;

	run_start(&r);
	pid = helper_pid();
	if (!pid)
		skip();
	kill(pid, SIGKILL);
	assert_int_equal(indexer_finish(r.ix, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "signal 9"));
	run_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_layer_is_indexed),	 cmocka_unit_test(its_errors_come_through),
		cmocka_unit_test(it_is_locked_up),	 cmocka_unit_test(it_inherits_nothing),
		cmocka_unit_test(a_killed_one_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
