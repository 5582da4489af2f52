/* SPDX-License-Identifier: MIT */
/* Directories as layers: the same bytes whatever the number of threads, read again by our own tar
 * walk; what is left out, what comes first, what changes meanwhile, what the cache remembers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/seam.h"
#include "cache/cache.h"
#include "image/tar.h"
#include "transfer/layer_write.h"
#include "transfer/tree_walk.h"

#define MIB (1u << 20)

struct rig {
	char dir[64];
	int fd;
	struct buf blob;
	struct layer_result result;
	struct error err;
	/* What the sink does. */
	int sink_code;
	_Atomic bool *cancel_at;
	const char *grow; /* a file */
	char log[4096];
};

static int sink_write(void *userdata, const void *data, size_t n, struct error *err)
{
	struct rig *rig = userdata;

	if (rig->cancel_at)
		*rig->cancel_at = true;
	if (rig->grow && rig->blob.len > 20 * MIB) { /* it is being read */
		int fd = openat(rig->fd, rig->grow, O_WRONLY | O_APPEND);

		assert_int_equal(write(fd, "x", 1), 1);
		close(fd);
		rig->grow = NULL;
	}
	assert_int_equal(buf_append(&rig->blob, data, n), 0);
	return rig->sink_code ? error_set(err, rig->sink_code, "the sink says no") : 0;
}

static void log_line(void *userdata, enum log_level level, const char *line)
{
	struct rig *rig = userdata;

	strncat(rig->log, line, sizeof(rig->log) - strlen(rig->log) - 1);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	return remove(path);
}

static void dir_remove(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void file_make(int dir, const char *name, const void *data, size_t n)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0640);

	assert_true(fd >= 0);
	assert_int_equal(seam_pwrite_full(seam_real(), fd, data, n, 0), 0);
	close(fd);
}

/* Bytes that compress to about the half. */
static void noise_file(int dir, const char *name, size_t n, uint32_t seed)
{
	_cleanup_(freep) uint8_t *data = malloc(n);

	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525 + 1013904223;
		data[i] = (uint8_t)(seed >> 28);
	}
	file_make(dir, name, data, n);
}

/* Times as given, so that a tree made again is the same tree. */
static void time_set(int dir, const char *name, int64_t s, long ns)
{
	struct timespec t[2] = {{.tv_sec = s, .tv_nsec = ns}, {.tv_sec = s, .tv_nsec = ns}};

	assert_int_equal(utimensat(dir, name, t, AT_SYMLINK_NOFOLLOW), 0);
}

static int setup(void **state)
{
	static const char *const names[] = {"a",   "b/big", "b/empty", "b/fifo", "b/link",
					    "b/s", "c/x.o", "c",       "b",	 "."};
	struct rig *rig = calloc(1, sizeof(*rig));

	strcpy(rig->dir, "/tmp/morsel-layer-XXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	rig->fd = open(rig->dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(mkdirat(rig->fd, "b", 0755), 0);
	assert_int_equal(mkdirat(rig->fd, "c", 0700), 0);
	file_make(rig->fd, "a", "hello", 5);
	noise_file(rig->fd, "b/big", 3 * MIB + 7, 1);
	file_make(rig->fd, "b/empty", "", 0);
	assert_int_equal(mkfifoat(rig->fd, "b/fifo", 0600), 0);
	assert_int_equal(linkat(rig->fd, "a", rig->fd, "b/link", 0), 0);
	assert_int_equal(symlinkat("../nowhere", rig->fd, "b/s"), 0);
	file_make(rig->fd, "c/x.o", "object", 6);
	assert_int_equal(fchmodat(rig->fd, "a", 04755, 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		time_set(rig->fd, names[i], i == 4 ? 1700000000 : -1 + (int64_t)i,
			 i % 2 ? 250000000 : 0);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	close(rig->fd);
	dir_remove(rig->dir);
	buf_fini(&rig->blob);
	free(rig);
	return 0;
}

static struct layer_source source_of(const struct rig *rig)
{
	return (struct layer_source){.root_fd = rig->fd,
				     .root_name = "tree",
				     .set_owner = true,
				     .uid = 7,
				     .gid = 3000000};
}

static int write_it(struct rig *rig, const struct layer_params *params,
		    const struct layer_source *source)
{
	struct layer_sink sink = {.write = sink_write, .userdata = rig};
	struct log log = {.level = LOG_INFO, .write = log_line, .userdata = rig};
	struct layer_params p = *params;

	p.log = &log;
	rig->blob.len = 0;
	rig->err = ERROR_INIT;
	return layer_write(&p, source, &sink, &rig->result, &rig->err);
}

static void test_same_bytes(void **state)
{
	struct rig *rig = *state;
	struct layer_source source = source_of(rig);
	struct layer_result first[5];
	struct digest d;

	for (int c = LAYER_COMPRESS_ESTARGZ; c <= LAYER_COMPRESS_NONE; c++) {
		for (unsigned threads = 1; threads <= 4; threads++) {
			struct layer_params p = {.compression = (enum layer_compression)c,
						 .threads = threads,
						 .chunk_size = 100000};

			assert_int_equal(write_it(rig, &p, &source), 0);
			if (threads == 1)
				first[c] = rig->result;
			assert_true(digest_equal(&rig->result.digest, &first[c].digest));
			digest_of(DIGEST_SHA256, rig->blob.data, rig->blob.len, &d);
			assert_true(digest_equal(&rig->result.digest, &d));
			assert_int_equal(rig->result.size, rig->blob.len);
		}
		/* Only eStargz has more in the archive than the tree. */
		if (c != LAYER_COMPRESS_ESTARGZ)
			assert_true(digest_equal(&first[c].diff_id,
						 &first[LAYER_COMPRESS_ZSTD_CHUNKED].diff_id));
	}
	assert_true(digest_equal(&rig->result.digest, &rig->result.diff_id)); /* none */
	assert_int_equal(first[0].n_annotations, 2);
	assert_int_equal(first[1].n_annotations, 3);
	assert_int_equal(first[0].files, 4);
	assert_int_equal(first[0].hardlinks, 1);
	assert_int_equal(first[0].file_bytes, 5 + 3 * MIB + 7 + 6);
}

/* ---- the archive, read again ---- */

static int on_entry(void *userdata, const struct tar_entry *e)
{
	struct buf *text = userdata;
	int r = buf_printf(text, "%o %u:%u %lld.%02u %llu %s", e->meta.mode, e->meta.uid,
			   e->meta.gid, (long long)e->meta.mtime_s, e->meta.mtime_ns / 10000000,
			   (unsigned long long)e->meta.size, e->path_len ? e->path : ".");

	if (r >= 0 && e->link_len)
		r = buf_printf(text, " -> %.*s", (int)e->link_len, e->link);
	return r < 0 ? r : buf_append_str(text, "\n");
}

static int on_data(void *userdata, uint64_t off, const void *data, size_t n, uint64_t stream_off)
{
	return 0;
}

static int on_end(void *userdata)
{
	return 0;
}

/* Of a blob that is a tar archive. */
static void check_entries(const struct rig *rig, const char *want)
{
	_cleanup_(buf_fini) struct buf text = BUF_INIT;
	_cleanup_(tar_walk_freep) struct tar_walk *w = NULL;
	struct tar_callbacks cb = {on_entry, on_data, on_end, &text};

	assert_int_equal(tar_walk_new(&cb, &w), 0);
	assert_int_equal(tar_walk_feed(w, rig->blob.data, rig->blob.len, NULL), 0);
	assert_int_equal(tar_walk_finish(w, NULL), 0);
	assert_string_equal(buf_str(&text), want);
}

static void test_entries(void **state)
{
	struct rig *rig = *state;
	struct layer_source source = source_of(rig);
	struct layer_params p = {.compression = LAYER_COMPRESS_NONE};

	assert_int_equal(write_it(rig, &p, &source), 0);
	check_entries(rig, "40700 7:3000000 8.25 0 .\n"
			   "104755 7:3000000 1700000000.00 5 a\n"
			   "40755 7:3000000 7.00 0 b\n"
			   "100640 7:3000000 0.25 3145735 b/big\n"
			   "100640 7:3000000 1.00 0 b/empty\n"
			   "10600 7:3000000 2.25 0 b/fifo\n"
			   "104755 7:3000000 1700000000.00 0 b/link -> a\n"
			   "120777 7:3000000 4.25 10 b/s -> ../nowhere\n"
			   "40700 7:3000000 6.25 0 c\n"
			   "100640 7:3000000 5.00 6 c/x.o\n");
}

/* Left out, taken back, put somewhere else, put first, made up, made older. */
static void test_choices(void **state)
{
	struct rig *rig = *state;
	struct layer_source source = source_of(rig);
	struct layer_params p = {.compression = LAYER_COMPRESS_NONE};
	const char *excludes[] = {"c", "!**/*.o", "b/e*", "b/fifo"};
	const char *first[] = {"/opt/x/b/link", "opt/x/missing", "b/big", "/opt/x/b/s", "opt/x/b"};

	source.prefix = "/opt/x/";
	source.excludes = excludes;
	source.n_excludes = ARRAY_SIZE(excludes);
	source.first = first;
	source.n_first = ARRAY_SIZE(first);
	source.extra_name = ".profile-run.txt";
	source.extra_data = "made up";
	source.extra_len = 7;
	source.clamp_mtime = true;
	source.mtime_max_s = 6;
	assert_int_equal(write_it(rig, &p, &source), 0);
	check_entries(rig, "40700 7:3000000 6.00 0 opt/x\n"
			   "40755 7:3000000 6.00 0 opt/x/b\n"
			   "104755 7:3000000 6.00 5 opt/x/b/link\n"
			   "120777 7:3000000 4.25 10 opt/x/b/s -> ../nowhere\n"
			   "104755 7:3000000 6.00 0 opt/x/a -> opt/x/b/link\n"
			   "100640 7:3000000 0.25 3145735 opt/x/b/big\n"
			   "40700 7:3000000 6.00 0 opt/x/c\n"
			   "100640 7:3000000 5.00 6 opt/x/c/x.o\n"
			   "100644 7:3000000 6.00 7 .profile-run.txt\n");
	file_make(rig->fd, ".dockerignore", "*\n!a\n", 5);
	source = source_of(rig);
	source.use_ignore_file = true;
	time_set(rig->fd, ".", 1, 0);
	assert_int_equal(write_it(rig, &p, &source), 0);
	check_entries(rig, "40700 7:3000000 1.00 0 .\n104755 7:3000000 1700000000.00 5 a\n");
}

/* ---- what goes wrong ---- */

static void test_changed(void **state)
{
	struct rig *rig = *state;
	struct layer_source source = source_of(rig);
	struct layer_params p = {.compression = LAYER_COMPRESS_NONE, .threads = 1};

	char path[100];

	/* More than the ring holds, so that its end is not read before its beginning is written. */
	file_make(rig->fd, "b/large", "", 0);
	snprintf(path, sizeof(path), "%s/b/large", rig->dir);
	assert_int_equal(truncate(path, 200 * MIB), 0);
	rig->grow = "b/large";
	assert_int_equal(write_it(rig, &p, &source), -ESTALE);
	assert_non_null(strstr(rig->err.text, "tree/b/large changed"));
	rig->grow = "b/large";
	source.allow_changed = true;
	assert_int_equal(write_it(rig, &p, &source), 0);
	assert_non_null(strstr(rig->log, "tree/b/large changed"));
}

static int sibling_remove(void *userdata, const struct tar_header *h, int fd, struct error *err)
{
	if (!strcmp(h->path, "opt/gone/a"))
		unlinkat(*(int *)userdata, "gone/b", 0);
	return 0;
}

/* A file that goes while its directory is walked: what happened and what to do, below a prefix too.
 */
static void test_gone(void **state)
{
	struct rig *rig = *state;
	struct tree_walk_options o = {.root_fd = rig->fd,
				      .root_name = "some/tree",
				      .prefix = "opt",
				      .contents = true,
				      .entry = sibling_remove,
				      .userdata = &rig->fd};

	mkdirat(rig->fd, "gone", 0755);
	for (int i = 0; i < 2; i++) {
		_cleanup_(tree_walk_freep) struct tree_walk *w = NULL;
		struct error err = ERROR_INIT;

		file_make(rig->fd, "gone/a", "a", 1);
		file_make(rig->fd, "gone/b", "b", 1);
		o.allow_changed = i;
		assert_int_equal(tree_walk_new(&o, &w), 0);
		assert_int_equal(tree_walk_all(w, &err), i ? 0 : -ESTALE);
		if (i)
			continue;
		assert_non_null(strstr(err.text, "some/tree/gone/b disappeared"));
		assert_non_null(strstr(err.text, "--allow-changed"));
	}
}

static void test_refused(void **state)
{
	struct rig *rig = *state;
	struct layer_source source = source_of(rig);
	_Atomic bool cancel = false;
	struct layer_params p = {.level = 13};

	assert_int_equal(write_it(rig, &p, &source), -EINVAL);
	p = (struct layer_params){.compression = LAYER_COMPRESS_NONE, .level = 1};
	assert_int_equal(write_it(rig, &p, &source), -EINVAL);
	p = (struct layer_params){.chunk_size = 4095};
	assert_int_equal(write_it(rig, &p, &source), -EINVAL);
	p = (struct layer_params){.cancel = &cancel};
	rig->cancel_at = &cancel;
	assert_int_equal(write_it(rig, &p, &source), -ECANCELED);
	rig->cancel_at = NULL;
	cancel = false;
	rig->sink_code = -ENOSPC;
	assert_int_equal(write_it(rig, &p, &source), -ENOSPC);
	assert_string_equal(rig->err.text, "the sink says no");
	rig->sink_code = 0;
	source.prefix = "../x";
	assert_int_equal(write_it(rig, &p, &source), -EINVAL);
	source = source_of(rig);
	source.ignore_text = "x\n[";
	source.ignore_name = "some/file";
	source.ignore_len = 3;
	assert_int_equal(write_it(rig, &p, &source), -EINVAL);
	assert_non_null(strstr(rig->err.text, "some/file:2: "));
}

static void test_socket_and_device(void **state)
{
	struct rig *rig = *state;
	struct layer_source source = source_of(rig);
	struct layer_params p = {0};

	if (mknodat(rig->fd, "c/sock", S_IFSOCK | 0600, 0) < 0)
		skip();
	assert_int_equal(write_it(rig, &p, &source), 0);
	assert_int_equal(rig->result.sockets, 1);
	assert_non_null(strstr(rig->log, "tree/c/sock is a socket"));
	if (mknodat(rig->fd, "c/whiteout", S_IFCHR | 0600, 0) < 0)
		skip();
	assert_int_equal(write_it(rig, &p, &source), -ENOTSUP);
	assert_non_null(strstr(rig->err.text, "c/whiteout"));
}

static void test_whiteout_names(void **state)
{
	struct rig *rig = *state;
	struct layer_source source = source_of(rig);
	struct layer_params p = {.compression = LAYER_COMPRESS_NONE};

	file_make(rig->fd, "c/.wh.gone", "", 0);
	assert_int_equal(write_it(rig, &p, &source), 0);
	assert_non_null(strstr(rig->log, "/c/.wh.gone is no file"));
	file_make(rig->fd, "c/.wh.", "", 0);
	assert_int_equal(write_it(rig, &p, &source), -ENOTSUP);
	assert_non_null(strstr(rig->err.text, "/c/.wh. is a name"));
}

/* Files of /sys say that they have a page. */
static void test_ends_early(void **state)
{
	struct rig *rig = *state;
	struct layer_source source = source_of(rig);
	struct layer_params p = {.compression = LAYER_COMPRESS_NONE};
	const char *others[] = {"*", "!uevent_seqnum"};
	int fd = open("/sys/kernel", O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		skip();
	source.root_fd = fd;
	source.excludes = others;
	source.n_excludes = ARRAY_SIZE(others);
	assert_int_equal(write_it(rig, &p, &source), -ESTALE);
	assert_non_null(strstr(rig->err.text, "uevent_seqnum"));
	source.allow_changed = true;
	assert_int_equal(write_it(rig, &p, &source), 0);
	close(fd);
}

/* ---- the cache ---- */

static struct cache *cache_at(const char *dir)
{
	struct cache_options o = {.seam = seam_real(), .dir = dir};
	struct cache *c = NULL;

	assert_int_equal(cache_open(&o, &c, NULL), 0);
	return c;
}

static int damage(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	int fd;

	if (!S_ISREG(st->st_mode) || !strstr(path, "/members/"))
		return 0;
	fd = open(path, O_WRONLY);
	for (off_t off = 100; off < st->st_size / 2; off += 5000)
		assert_int_equal(pwrite(fd, "damage", 6, off), 6);
	close(fd);
	return 0;
}

static void test_cached(void **state)
{
	struct rig *rig = *state;
	struct layer_source source = source_of(rig);
	char dir[80];

	snprintf(dir, sizeof(dir), "%s.cache", rig->dir);
	for (int c = LAYER_COMPRESS_ESTARGZ; c <= LAYER_COMPRESS_NONE; c++) {
		struct layer_params p = {.compression = (enum layer_compression)c,
					 .chunk_size = 100000};
		struct layer_result plain;

		assert_int_equal(write_it(rig, &p, &source), 0);
		plain = rig->result;
		assert_int_equal(plain.members_cached, 0);
		for (int round = 0; round < 4; round++) {
			struct cache *cache = cache_at(dir);
			uint64_t want = c == LAYER_COMPRESS_NONE || !round ? 0 : plain.members;

			p.cache = cache;
			assert_int_equal(write_it(rig, &p, &source), 0);
			cache_close(cache);
			assert_true(digest_equal(&rig->result.digest, &plain.digest));
			if (round == 2 && want)
				assert_in_range(rig->result.members_cached, 0, want - 1);
			else
				assert_int_equal(rig->result.members_cached, want);
			if (round == 1)
				nftw(dir, damage, 16, FTW_PHYS);
		}
		dir_remove(dir);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_same_bytes),	      TEST(test_entries), TEST(test_choices),
		TEST(test_changed),	      TEST(test_gone),	  TEST(test_refused),
		TEST(test_socket_and_device), TEST(test_cached),  TEST(test_whiteout_names),
		TEST(test_ends_early),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
