/* SPDX-License-Identifier: MIT */
#include "cache_rig.h"

#include <sys/file.h>
#include <sys/wait.h>
#include "cache/ref_record.h"

static const struct rig_shape small = {
	.file_bytes = 10000, .n_files = 5, .chunk_bytes = 4096, .span_bytes = 6000, .seed = 1};

static int path_fd(const struct rig *g, const char *path, int flags)
{
	char full[300];

	snprintf(full, sizeof(full), "%s/%s", g->dir, path);
	return open(full, flags | O_CLOEXEC, 0600);
}

static char *layer_path(const struct rig_layer *rl, const char *file, char out[static 200])
{
	snprintf(out, 200, "layers/%s/%s", rl->key.hex, file);
	return out;
}

static int count_items(void *userdata, const struct cache_item *it)
{
	unsigned *n = userdata;

	n[0]++;
	n[1] += !it->ok;
	return 0;
}

/* ---- the directory ---- */

static void directory_is_private(void **state)
{
	struct rig g;
	struct stat st;
	char path[300];

	rig_init(&g);
	for (int i = 0; i < SUB_COUNT; i++) {
		snprintf(path, sizeof(path), "%s/%s", g.dir, cache_subdir_names[i]);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0700);
	}
	snprintf(path, sizeof(path), "%s/version", g.dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	rig_fini(&g);
}

static int open_code(const char *dir, bool any_version, struct error *err)
{
	struct cache_options o = {.seam = seam_real(), .dir = dir, .any_version = any_version};
	struct cache *c = NULL;
	int r = cache_open(&o, &c, err);

	if (r >= 0)
		cache_close(c);
	return r;
}

static void directories_of_others_are_refused(void **state)
{
	struct error err = ERROR_INIT;
	struct rig g;
	char path[300];

	rig_init(&g);
	assert_int_equal(chmod(g.dir, 0770), 0);
	assert_int_equal(open_code(g.dir, false, &err), -EACCES);
	assert_non_null(strstr(err.text, "chmod 700"));
	assert_int_equal(chmod(g.dir, 0755), 0); /* readable is fine: what is inside is not */
	assert_int_equal(open_code(g.dir, false, NULL), 0);
	snprintf(path, sizeof(path), "%s/layers", g.dir);
	assert_int_equal(chmod(path, 0777), 0);
	assert_int_equal(open_code(g.dir, false, NULL), -EACCES);
	assert_int_equal(chmod(path, 0700), 0);
	if (!geteuid()) {
		assert_int_equal(chown(g.dir, 1234, 1234), 0);
		err = ERROR_INIT;
		assert_int_equal(open_code(g.dir, false, &err), -EACCES);
		assert_non_null(strstr(err.text, "1234"));
		assert_int_equal(chown(g.dir, 0, 0), 0);
	}
	rig_fini(&g);
}

static void planted_symlink_is_refused(void **state)
{
	struct rig g;
	char path[300];

	rig_init(&g);
	snprintf(path, sizeof(path), "%s/refs", g.dir);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(symlink("/tmp", path), 0);
	assert_int_equal(open_code(g.dir, false, NULL), -EACCES);
	rig_fini(&g);
}

static void other_version_is_named_and_can_be_cleared(void **state)
{
	struct error err = ERROR_INIT;
	struct cache_options o = {.seam = seam_real(), .any_version = true};
	struct cache *c;
	struct rig g;
	uint64_t freed;
	int fd;

	rig_init(&g);
	fd = path_fd(&g, "version", O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, "morsel cache 2\n", 15), 15);
	close(fd);
	assert_int_equal(open_code(g.dir, false, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "morsel cache clear"));
	o.dir = g.dir;
	assert_int_equal(cache_open(&o, &c, NULL), 0);
	assert_int_equal(cache_clear(c, &freed, NULL), 0);
	cache_close(c);
	assert_int_equal(open_code(g.dir, false, NULL), 0);
	rig_fini(&g);
}

static void dead_owners_leave_nothing(void **state)
{
	struct tmp_dir mine, dead;
	struct rig g;
	int fd;

	rig_init(&g);
	assert_int_equal(cache_tmp_new(g.c, &mine), 0);
	assert_int_equal(cache_tmp_new(g.c, &dead), 0);
	fd = openat(dead.fd, "data", O_CREAT | O_WRONLY, 0600);
	close(fd);
	close(dead.fd); /* as the kernel does for a killed process */
	assert_int_equal(open_code(g.dir, false, NULL), 0);
	assert_int_equal(faccessat(g.c->sub_fd[SUB_TMP], mine.name, F_OK, 0), 0);
	assert_int_equal(faccessat(g.c->sub_fd[SUB_TMP], dead.name, F_OK, 0), -1);
	cache_tmp_remove(g.c, &mine);
	rig_fini(&g);
}

static void half_written_documents_are_swept(void **state)
{
	struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct rig g;
	uint64_t freed;

	rig_init(&g);
	close(path_fd(&g, "refs/.tmp-0123", O_CREAT | O_WRONLY));
	close(path_fd(&g, "refs/.tmp-4567", O_CREAT | O_WRONLY));
	assert_int_equal(utimensat(g.c->sub_fd[SUB_REFS], ".tmp-0123", old, 0), 0);
	assert_int_equal(cache_evict(g.c, UINT64_MAX, &freed, NULL), 0);
	assert_int_equal(faccessat(g.c->sub_fd[SUB_REFS], ".tmp-0123", F_OK, 0), -1);
	assert_int_equal(faccessat(g.c->sub_fd[SUB_REFS], ".tmp-4567", F_OK, 0), 0);
	assert_int_equal(cache_clear(g.c, &freed, NULL), 0);
	assert_int_equal(faccessat(g.c->sub_fd[SUB_REFS], ".tmp-4567", F_OK, 0), -1);
	rig_fini(&g);
}

/* ---- documents ---- */

static void documents_are_verified(void **state)
{
	_cleanup_(buf_fini) struct buf b = BUF_INIT;
	char hex[DIGEST_TEXT_MAX], path[300];
	struct digest d;
	struct rig g;
	int fd;

	rig_init(&g);
	digest_of(DIGEST_SHA256, "hello", 5, &d);
	assert_int_equal(cache_blob_get(g.c, &d, 100, &b), CACHE_MISS);
	assert_int_equal(cache_blob_put(g.c, &d, "hello", 5), 0);
	assert_int_equal(cache_blob_get(g.c, &d, 100, &b), 0);
	assert_int_equal(b.len, 5);
	digest_format_hex(&d, hex);
	snprintf(path, sizeof(path), "blobs/sha256/%s", hex);
	fd = path_fd(&g, path, O_WRONLY);
	assert_int_equal(pwrite(fd, "J", 1, 0), 1);
	close(fd);
	assert_int_equal(cache_blob_get(g.c, &d, 100, &b), CACHE_MISS);
	assert_int_equal(path_fd(&g, path, O_RDONLY), -1); /* gone */
	/* What stands in the way is a miss, whatever it is, and never a hang. */
	snprintf(path, sizeof(path), "%s/blobs/sha256/%s", g.dir, hex);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(cache_blob_get(g.c, &d, 100, &b), CACHE_MISS);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(cache_blob_get(g.c, &d, 100000, &b), CACHE_MISS);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(cache_blob_get(g.c, &d, 100, &b), CACHE_MISS);
	assert_int_equal(cache_blob_put(g.c, &d, "hello", 5), 0);
	assert_int_equal(cache_blob_get(g.c, &d, 4, &b), CACHE_MISS); /* over the caller's limit */
	rig_fini(&g);
}

static void references_survive_and_damage_is_a_miss(void **state)
{
	struct cache_ref ref = {.confirmed_s = 1764000000}, got;
	_cleanup_(buf_fini) struct buf text = BUF_INIT;
	char *name = NULL;
	struct rig g;

	rig_init(&g);
	digest_of(DIGEST_SHA512, "x", 1, &ref.digest);
	assert_int_equal(cache_ref_get(g.c, "r.example/a:b", &got), CACHE_MISS);
	assert_int_equal(cache_ref_put(g.c, "r.example/a:b", &ref), 0);
	assert_int_equal(cache_ref_get(g.c, "r.example/a:b", &got), 0);
	assert_true(digest_equal(&ref.digest, &got.digest));
	assert_int_equal(got.confirmed_s, ref.confirmed_s);
	assert_int_equal(cache_ref_get(g.c, "r.example/a:c", &got), CACHE_MISS);
	assert_int_equal(cache_ref_put(g.c, "a\nb", &ref), -EINVAL);
	assert_int_equal(ref_record_format("r.example/a:b", &ref, &text), 0);
	assert_int_equal(ref_record_parse((char *)text.data, text.len, &name, &got), 0);
	assert_string_equal(name, "r.example/a:b");
	free(name);
	for (size_t i = 0; i < text.len * 8; i++) { /* no single bit goes unnoticed */
		text.data[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_int_equal(ref_record_parse((char *)text.data, text.len, NULL, &got),
				 -EBADMSG);
		text.data[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	for (size_t n = 0; n < text.len; n++)
		assert_int_equal(ref_record_parse((char *)text.data, n, NULL, &got), -EBADMSG);
	rig_fini(&g);
}

static void images_are_whole_or_missing(void **state)
{
	char key[65], path[200];
	struct image_map m, again;
	uint8_t data[10000];
	struct rig g;
	int fd;

	rig_init(&g);
	memset(key, 'a', 64);
	key[64] = 0;
	rig_fill(data, sizeof(data), 7);
	assert_int_equal(cache_image_get(g.c, key, &m), CACHE_MISS);
	assert_int_equal(cache_image_get(g.c, "../../etc", &m), CACHE_MISS);
	assert_int_equal(cache_image_put(g.c, key, data, sizeof(data), &m, NULL), 0);
	assert_memory_equal(m.bytes, data, sizeof(data));
	snprintf(path, sizeof(path), "images/sha256/%s/tree.erofs", key);
	fd = path_fd(&g, path, O_WRONLY);
	assert_int_equal(pwrite(fd, "x", 1, 5000), 1);
	close(fd);
	assert_int_equal(cache_image_get(g.c, key, &again), CACHE_MISS);
	/* Made again over a good one: the caller had a reason; who maps the old one keeps it. */
	assert_int_equal(cache_image_put(g.c, key, data, 5000, &again, NULL), 0);
	image_map_fini(&m);
	assert_int_equal(cache_image_put(g.c, key, data, sizeof(data), &m, NULL), 0);
	assert_int_equal(again.len, 5000);
	image_map_fini(&again);
	image_map_fini(&m);
	rig_fini(&g);
}

/* ---- layers ---- */

static void keys_depend_on_everything(void **state)
{
	struct layer_key k[5];
	struct digest a, b;

	digest_of(DIGEST_SHA256, "a", 1, &a);
	digest_of(DIGEST_SHA256, "b", 1, &b);
	layer_key_make(&a, ANCHOR_BLOB, &a, &k[0]);
	layer_key_make(&a, ANCHOR_STARGZ_TOC, &a, &k[1]);
	layer_key_make(&a, ANCHOR_STARGZ_TOC, &b, &k[2]);
	layer_key_make(&b, ANCHOR_STARGZ_TOC, &a, &k[3]);
	layer_key_make(&b, ANCHOR_BLOB, &b, &k[4]);
	for (int i = 0; i < 5; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(k[i].hex, k[j].hex);
}

static void metas_are_exact(void **state)
{
	uint8_t bytes[LAYER_META_BYTES];
	struct layer_meta m = {.blob.algo = DIGEST_SHA256, .header.n_chunks = 7}, got;
	struct layer_key other;

	memset(m.key.hex, 'a', 64);
	memset(other.hex, 'a', 64);
	m.key.hex[64] = other.hex[64] = 0;
	other.hex[63] = 'b';
	m.sums[TABLE_SPANS] = 5;
	layer_meta_encode(&m, bytes);
	assert_int_equal(layer_meta_decode(bytes, sizeof(bytes), &m.key, &got), 0);
	assert_int_equal(got.header.n_chunks, 7);
	assert_int_equal(got.sums[TABLE_SPANS], 5);
	assert_int_equal(layer_meta_decode(bytes, sizeof(bytes), &other, &got), -EBADMSG);
	assert_int_equal(layer_meta_decode(bytes, sizeof(bytes) - 1, &m.key, &got), -EBADMSG);
	for (size_t i = 0; i < sizeof(bytes) * 8; i++) {
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_int_equal(layer_meta_decode(bytes, sizeof(bytes), &m.key, &got), -EBADMSG);
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	/* A sum that is right does not make sizes possible. */
	m.header.heap_bytes = UINT64_MAX;
	layer_meta_encode(&m, bytes);
	assert_int_equal(layer_meta_decode(bytes, sizeof(bytes), &m.key, &got), -EBADMSG);
}

static void layer_is_staged_and_opened(void **state)
{
	struct layer_index entries;
	struct rig_layer rl;
	struct layer *l, *again;
	struct rig g;
	unsigned n[2] = {0};

	rig_init(&g);
	rig_layer_init(&rl, &small);
	assert_int_equal(layer_open(g.c, &rl.key, &l, NULL), CACHE_MISS);
	assert_int_equal(rig_stage(g.c, &rl, true, &l, NULL), 0);
	assert_true(layer_is_complete(l));
	assert_int_equal(layer_present_bytes(l), 50000);
	assert_int_equal(layer_tables(l)->header.n_chunks, rl.n_chunks);
	assert_int_equal(layer_load_entries(l, 4, &entries, NULL), -E2BIG);
	assert_int_equal(layer_load_entries(l, 5, &entries, NULL), 0);
	assert_memory_equal(entries.heap + entries.entries[4].path_off, "file000004", 10);
	layer_unload_entries(l);
	/* A second one of the same key: the first one's is opened. */
	assert_int_equal(rig_stage(g.c, &rl, false, &again, NULL), 0);
	assert_true(layer_is_complete(again));
	layer_close(again);
	layer_close(l);
	assert_int_equal(cache_verify(g.c, count_items, NULL, n, NULL), 0);
	assert_int_equal(n[0], 1); /* and nothing under tmp/ */
	rig_layer_fini(&rl);
	rig_fini(&g);
}

static void bad_tables_are_never_published(void **state)
{
	struct layer_stage *st;
	struct rig_layer rl;
	struct layer *l;
	struct rig g;
	unsigned n[2] = {0};

	rig_init(&g);
	rig_layer_init(&rl, &small);
	assert_int_equal(layer_stage_new(g.c, &rl.key, &rl.digest, 1000, STAGE_DISK, &st, NULL), 0);
	assert_int_equal(layer_stage_commit(st, false, 100, &l, NULL), -EBADMSG);
	rl.tables.data[0] ^= 1;
	assert_int_equal(rig_stage(g.c, &rl, true, &l, NULL), -EBADMSG);
	rl.tables.data[0] ^= 1;
	assert_int_equal(cache_list(g.c, count_items, n, NULL), 0);
	assert_int_equal(n[0], 0);
	rig_layer_fini(&rl);
	rig_fini(&g);
}

/* Every bit of a small layer's files, one after the other: what is opened is right or not there. */
static void damaged_layers_are_missing(void **state)
{
	static const char *const files[] = {"meta", "chunks", "spans", "entries", "present"};
	struct layer_index entries;
	struct rig_layer rl;
	struct layer *l;
	struct rig g;
	char path[200];

	rig_init(&g);
	rig_layer_init(&rl, &small);
	for (size_t f = 0; f < ARRAY_SIZE(files); f++)
		for (unsigned step = 0; step < 40; step++) {
			uint64_t seed = f * 1000 + step;
			uint8_t byte;
			struct stat st;
			off_t at;
			int fd, r;

			assert_int_equal(rig_stage(g.c, &rl, true, &l, NULL), 0);
			layer_close(l);
			fd = path_fd(&g, layer_path(&rl, files[f], path), O_RDWR);
			assert_int_equal(fstat(fd, &st), 0);
			at = (off_t)(rig_random(&seed) % (uint64_t)st.st_size);
			assert_int_equal(pread(fd, &byte, 1, at), 1);
			byte ^= (uint8_t)(1u << rig_random(&seed) % 8);
			assert_int_equal(pwrite(fd, &byte, 1, at), 1);
			close(fd);
			r = layer_open(g.c, &rl.key, &l, NULL);
			if (r == 0) {
				struct reader *rd = rig_reader_of(&g, l, &rl, 0);

				if (!strcmp(files[f], "entries")) {
					assert_int_equal(layer_load_entries(l, 100, &entries, NULL),
							 -EBADMSG);
				} else
					assert_string_equal(files[f], "present");
				assert_int_equal(rig_check(rd, &rl, 0, rl.device_bytes), 0);
				reader_free(rd);
				layer_close(l);
			} else
				assert_int_equal(r, CACHE_MISS);
		}
	rig_layer_fini(&rl);
	rig_fini(&g);
}

enum harm {
	HARM_CUT,
	HARM_GROW,
	HARM_REMOVE,
	HARM_FIFO,
	HARM_DIR,
	HARM_SYMLINK,
	HARM_EMPTY,
	HARM_COUNT
};

static void do_harm(const struct rig *g, const char *rel, enum harm h)
{
	char path[300];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", g->dir, rel);
	assert_int_equal(stat(path, &st), 0);
	switch (h) {
	case HARM_CUT:
		assert_int_equal(truncate(path, st.st_size / 2), 0);
		return;
	case HARM_GROW:
		assert_int_equal(truncate(path, st.st_size + 8192), 0);
		return;
	case HARM_EMPTY:
		assert_int_equal(truncate(path, 0), 0);
		return;
	default:
		break;
	}
	assert_int_equal(unlink(path), 0);
	if (h == HARM_FIFO)
		assert_int_equal(mkfifo(path, 0600), 0);
	else if (h == HARM_DIR)
		assert_int_equal(mkdir(path, 0700), 0);
	else if (h == HARM_SYMLINK)
		assert_int_equal(symlink("/etc/passwd", path), 0);
}

static void strange_files_are_survived(void **state)
{
	static const char *const files[] = {"meta", "chunks", "spans", "present", "data"};
	struct rig_layer rl;
	struct layer *l;
	struct rig g;
	char path[200];

	rig_init(&g);
	rig_layer_init(&rl, &small);
	for (size_t f = 0; f < ARRAY_SIZE(files); f++)
		for (enum harm h = 0; h < HARM_COUNT; h++) {
			struct reader *rd;
			int r;

			assert_int_equal(rig_stage(g.c, &rl, true, &l, NULL), 0);
			layer_close(l);
			do_harm(&g, layer_path(&rl, files[f], path), h);
			r = layer_open(g.c, &rl.key, &l, NULL);
			if (r == CACHE_MISS)
				continue;
			assert_int_equal(r, 0);
			rd = rig_reader_of(&g, l, &rl, 0);
			assert_int_equal(rig_check(rd, &rl, 0, rl.device_bytes), 0);
			reader_free(rd);
			layer_close(l);
		}
	assert_int_equal(layer_open(g.c, &rl.key, &l, NULL), 0);
	layer_close(l);
	rig_layer_fini(&rl);
	rig_fini(&g);
}

static void swapped_layers_are_noticed(void **state)
{
	struct rig_shape shape = small;
	struct rig_layer a, b;
	struct layer *l;
	struct rig g;
	char from[400], to[400];

	rig_init(&g);
	rig_layer_init(&a, &small);
	shape.seed = 99;
	rig_layer_init(&b, &shape);
	assert_int_equal(rig_stage(g.c, &a, true, &l, NULL), 0);
	layer_close(l);
	snprintf(from, sizeof(from), "%s/layers/%s", g.dir, a.key.hex);
	snprintf(to, sizeof(to), "%s/layers/%s", g.dir, b.key.hex);
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(layer_open(g.c, &b.key, &l, NULL), CACHE_MISS);
	/* The same shape, so that only what binds present to its layer tells them apart. */
	assert_int_equal(rig_stage(g.c, &a, true, &l, NULL), 0);
	layer_close(l);
	assert_int_equal(rig_stage(g.c, &b, false, &l, NULL), 0);
	layer_close(l);
	strcat(from, "/present");
	strcat(to, "/present");
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(layer_open(g.c, &b.key, &l, NULL), CACHE_MISS);
	rig_layer_fini(&a);
	rig_layer_fini(&b);
	rig_fini(&g);
}

/* ---- without a disk ---- */

static int no_space(const struct seam *s, int fd, const void *buf, size_t n, uint64_t off)
{
	return -ENOSPC;
}

static ssize_t no_space_pwrite(const struct seam *s, int fd, const void *buf, size_t n,
			       uint64_t off)
{
	return no_space(s, fd, buf, n, off);
}

static void full_disk_degrades_to_memory(void **state)
{
	struct layer_index entries;
	struct image_map m;
	struct rig_layer rl;
	struct layer_stage *st;
	struct layer *l;
	struct digest d;
	char key[65];
	struct rig g;

	rig_init(&g);
	rig_layer_init(&rl, &small);
	/* The disk fills up between staging and commit. */
	assert_int_equal(layer_stage_new(g.c, &rl.key, &rl.digest, 1000, STAGE_DISK, &st, NULL), 0);
	assert_int_equal(seam_pwrite_full(&g.seam, layer_stage_table_fd(st), rl.tables.data,
					  rl.tables.len, 0),
			 0);
	assert_int_equal(
		seam_pwrite_full(&g.seam, layer_stage_data_fd(st), rl.device, rl.device_bytes, 0),
		0);
	g.seam.pwrite = no_space_pwrite;
	assert_int_equal(layer_stage_commit(st, true, 100, &l, NULL), 0);
	assert_true(layer_is_complete(l));
	assert_int_equal(layer_load_entries(l, 100, &entries, NULL), 0);
	assert_non_null(entries.entries);
	layer_close(l);
	assert_non_null(strstr(g.log.text, "held in memory"));
	/* And is full from the start; said once. */
	digest_of(DIGEST_SHA256, "x", 1, &d);
	assert_int_equal(cache_blob_put(g.c, &d, "x", 1), 0);
	memset(key, 'b', 64);
	key[64] = 0;
	assert_int_equal(cache_image_put(g.c, key, "image", 5, &m, NULL), 0);
	assert_memory_equal(m.bytes, "image", 5);
	image_map_fini(&m);
	assert_int_equal(layer_stage_new(g.c, &rl.key, &rl.digest, 1000, STAGE_DISK, &st, NULL), 0);
	layer_stage_free(st);
	assert_int_equal(g.log.lines, 1);
	rig_layer_fini(&rl);
	rig_fini(&g);
}

static void read_only_directory_is_used_as_it_is(void **state)
{
	struct rig_layer rl;
	struct layer *l;
	struct rig g;
	unsigned n[2];

	rig_init(&g);
	rig_layer_init(&rl, &small);
	assert_int_equal(rig_stage(g.c, &rl, true, &l, NULL), 0);
	layer_close(l);
	g.c->writable = false; /* as root every directory is writable */
	assert_int_equal(layer_open(g.c, &rl.key, &l, NULL), 0);
	assert_int_equal(fcntl(layer_data_fd(l), F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_true(layer_is_complete(l));
	layer_close(l);
	assert_int_equal(cache_verify(g.c, count_items, NULL, n, NULL), -EROFS);
	rig_layer_fini(&rl);
	rig_fini(&g);
}

static void no_directory_at_all(void **state)
{
	struct cache_options o = {.seam = seam_real(), .dir = "/proc/nowhere/cache"};
	struct rig_layer rl;
	struct cache_ref ref;
	struct cache *c;
	struct layer *l;
	struct rig g;

	rig_init(&g);
	rig_layer_init(&rl, &small);
	assert_int_equal(cache_open(&o, &c, NULL), 0);
	assert_int_equal(cache_ref_get(c, "x/y:z", &ref), CACHE_MISS);
	assert_int_equal(layer_open(c, &rl.key, &l, NULL), CACHE_MISS);
	assert_int_equal(rig_stage(c, &rl, false, &l, NULL), 0);
	assert_false(layer_is_complete(l));
	layer_close(l);
	cache_close(c);
	rig_layer_fini(&rl);
	rig_fini(&g);
}

/* ---- the verbs ---- */

static int collect(void *userdata, const struct cache_item *it)
{
	char *text = userdata;

	sprintf(text + strlen(text), "%s %s %s\n", it->kind, it->format ? it->format : "-",
		it->name);
	assert_true(it->bytes > 0);
	return 0;
}

static void list_verify_clear(void **state)
{
	char text[4096] = "", digest[DIGEST_TEXT_MAX], path[200];
	struct cache_ref ref = {.confirmed_s = 1};
	struct rig_layer rl;
	struct layer *l;
	struct rig g;
	unsigned n[2] = {0};
	uint64_t freed;
	int fd;

	rig_init(&g);
	rig_layer_init(&rl, &small);
	assert_int_equal(rig_stage(g.c, &rl, true, &l, NULL), 0);
	ref.digest = rl.digest;
	assert_int_equal(cache_ref_put(g.c, "r.example/a:b", &ref), 0);
	assert_int_equal(cache_blob_put(g.c, &rl.digest, rl.blob.data, rl.blob.base.size), 0);
	assert_int_equal(cache_list(g.c, collect, text, NULL), 0);
	digest_format(&rl.digest, digest);
	assert_non_null(strstr(text, "ref - r.example/a:b\n"));
	assert_non_null(strstr(strstr(text, "layer gzip "), digest));
	/* In use it stays. */
	assert_int_equal(cache_clear(g.c, &freed, NULL), 0);
	assert_true(freed > 0);
	layer_close(l);
	assert_int_equal(layer_open(g.c, &rl.key, &l, NULL), 0);
	layer_close(l);
	/* Damage is found, removed, and not found again. */
	fd = path_fd(&g, layer_path(&rl, "data", path), O_WRONLY);
	assert_int_equal(pwrite(fd, "\0", 1, 100), 1);
	close(fd);
	assert_int_equal(cache_verify(g.c, count_items, NULL, n, NULL), -EBADMSG);
	assert_int_equal(n[1], 1);
	assert_int_equal(cache_verify(g.c, count_items, NULL, n, NULL), 0);
	assert_int_equal(layer_open(g.c, &rl.key, &l, NULL), 0);
	assert_int_equal(layer_present_bytes(l), 50000 - 4096);
	layer_close(l);
	assert_int_equal(cache_clear(g.c, &freed, NULL), 0);
	assert_int_equal(layer_open(g.c, &rl.key, &l, NULL), CACHE_MISS);
	rig_layer_fini(&rl);
	rig_fini(&g);
}

static void another_boot_makes_claims_of_marks(void **state)
{
	struct rig_layer rl;
	struct layer *l;
	struct rig g;
	unsigned n[2] = {0};

	rig_init(&g);
	rig_layer_init(&rl, &small);
	assert_int_equal(rig_stage(g.c, &rl, true, &l, NULL), 0);
	layer_close(l);
	g.c->boot_id[0] ^= 1;
	assert_int_equal(layer_open(g.c, &rl.key, &l, NULL), 0);
	assert_false(layer_is_complete(l));
	layer_close(l);
	assert_int_equal(cache_verify(g.c, count_items, NULL, n, NULL), 0);
	assert_int_equal(layer_open(g.c, &rl.key, &l, NULL), 0);
	assert_true(layer_is_complete(l));
	layer_close(l);
	rig_layer_fini(&rl);
	rig_fini(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(directory_is_private),
		cmocka_unit_test(directories_of_others_are_refused),
		cmocka_unit_test(planted_symlink_is_refused),
		cmocka_unit_test(other_version_is_named_and_can_be_cleared),
		cmocka_unit_test(dead_owners_leave_nothing),
		cmocka_unit_test(half_written_documents_are_swept),
		cmocka_unit_test(documents_are_verified),
		cmocka_unit_test(references_survive_and_damage_is_a_miss),
		cmocka_unit_test(images_are_whole_or_missing),
		cmocka_unit_test(keys_depend_on_everything),
		cmocka_unit_test(metas_are_exact),
		cmocka_unit_test(layer_is_staged_and_opened),
		cmocka_unit_test(bad_tables_are_never_published),
		cmocka_unit_test(damaged_layers_are_missing),
		cmocka_unit_test(strange_files_are_survived),
		cmocka_unit_test(swapped_layers_are_noticed),
		cmocka_unit_test(full_disk_degrades_to_memory),
		cmocka_unit_test(read_only_directory_is_used_as_it_is),
		cmocka_unit_test(no_directory_at_all),
		cmocka_unit_test(list_verify_clear),
		cmocka_unit_test(another_boot_makes_claims_of_marks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
