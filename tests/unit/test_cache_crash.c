/* SPDX-License-Identifier: MIT */
/*
 * What is left after the power went. Everything that the cache does to files goes through the seam,
 * so it can be recorded: creations, writes, cuts, punches, renames, removals, and fsyncs. A crash
 * state is made from the first k of these: what an fsync has covered is there; of the rest each
 * write may be there, not there, or torn in sectors, in any combination; and each change of a
 * directory may be there or not, in order or, in half of the states, in any combination. A cache is
 * opened over it, as after a reboot: what it serves must be right, and what was published must
 * still be there.
 */
#include "cache_rig.h"

#include "cache/reader_impl.h"

#define N_STATES 2400
#define OPS_MAX 4096
#define SECTOR 512u

enum op_kind { OP_CREATE, OP_WRITE, OP_TRUNCATE, OP_PUNCH, OP_FSYNC, OP_RENAME, OP_UNLINK };

struct op {
	enum op_kind kind;
	uint64_t file; /* number of its creation: inodes are used again */
	uint64_t inode;
	bool forced;		 /* scratch: an fsync within the prefix covers it */
	char path[160], to[160]; /* below the cache's directory */
	uint64_t off, len;
	uint8_t *data;
};

static struct recording {
	pthread_mutex_t lock;
	const char *dir;
	size_t n;
	bool on;
	struct op ops[OPS_MAX];
} rec = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- recording ---- */

static void relative(int dir_fd, const char *name, char out[static 160])
{
	char link[64], full[400] = "";
	size_t skip = strlen(rec.dir);
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
	n = readlink(link, full, sizeof(full) - 1);
	assert_true(n > 0);
	full[n] = 0;
	if (name && strcmp(name, ".")) {
		strcat(full, "/");
		strcat(full, name);
	}
	assert_int_equal(strncmp(full, rec.dir, skip), 0);
	snprintf(out, 160, "%s", full[skip] ? full + skip + 1 : ".");
}

static uint64_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

/* Which of the created files an open descriptor stands for. */
static uint64_t file_of(int fd)
{
	uint64_t inode = inode_of(fd);

	for (size_t i = rec.n; i--;)
		if (rec.ops[i].kind == OP_CREATE && rec.ops[i].inode == inode)
			return rec.ops[i].file;
	fail_msg("a file that nobody made");
	return 0;
}

static struct op *record(enum op_kind kind)
{
	struct op *op;

	if (!rec.on)
		return NULL;
	assert_true(rec.n < OPS_MAX);
	op = &rec.ops[rec.n++];
	*op = (struct op){.kind = kind};
	return op;
}

static int rec_openat(const struct seam *s, int dir_fd, const char *path, int flags, mode_t mode)
{
	bool make;
	struct op *op;
	int fd;

	pthread_mutex_lock(&rec.lock);
	make = flags & O_CREAT && faccessat(dir_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
	fd = seam_real()->openat(s, dir_fd, path, flags, mode);
	if (fd >= 0 && make && (op = record(OP_CREATE))) {
		relative(dir_fd, path, op->path);
		op->inode = inode_of(fd);
		op->file = rec.n;
	}
	pthread_mutex_unlock(&rec.lock);
	return fd;
}

static ssize_t rec_pwrite(const struct seam *s, int fd, const void *buf, size_t n, uint64_t off)
{
	struct op *op;
	ssize_t r;

	pthread_mutex_lock(&rec.lock);
	r = seam_real()->pwrite(s, fd, buf, n, off);
	if (r > 0 && (op = record(OP_WRITE))) {
		op->file = file_of(fd);
		op->off = off;
		op->len = (uint64_t)r;
		op->data = malloc((size_t)r);
		memcpy(op->data, buf, (size_t)r);
	}
	pthread_mutex_unlock(&rec.lock);
	return r;
}

static int rec_ftruncate(const struct seam *s, int fd, uint64_t size)
{
	struct op *op;

	pthread_mutex_lock(&rec.lock);
	if ((op = record(OP_TRUNCATE))) {
		op->file = file_of(fd);
		op->len = size;
	}
	pthread_mutex_unlock(&rec.lock);
	return seam_real()->ftruncate(s, fd, size);
}

static int rec_punch(const struct seam *s, int fd, uint64_t off, uint64_t len)
{
	struct op *op;

	pthread_mutex_lock(&rec.lock);
	if ((op = record(OP_PUNCH))) {
		op->file = file_of(fd);
		op->off = off;
		op->len = len;
	}
	pthread_mutex_unlock(&rec.lock);
	return seam_real()->punch(s, fd, off, len);
}

static int rec_fsync(const struct seam *s, int fd)
{
	struct op *op;
	struct stat st;

	pthread_mutex_lock(&rec.lock);
	if ((op = record(OP_FSYNC))) {
		assert_int_equal(fstat(fd, &st), 0);
		if (S_ISDIR(st.st_mode))
			relative(fd, NULL, op->path);
		else
			op->file = file_of(fd);
	}
	pthread_mutex_unlock(&rec.lock);
	return 0;
}

static int rec_renameat(const struct seam *s, int from_dir, const char *from, int to_dir,
			const char *to)
{
	struct op *op;
	int r;

	pthread_mutex_lock(&rec.lock);
	r = seam_real()->renameat(s, from_dir, from, to_dir, to);
	if (r >= 0 && (op = record(OP_RENAME))) {
		relative(from_dir, from, op->path);
		relative(to_dir, to, op->to);
	}
	pthread_mutex_unlock(&rec.lock);
	return r;
}

static int rec_unlinkat(const struct seam *s, int dir_fd, const char *path, int flags)
{
	struct op *op;
	int r;

	pthread_mutex_lock(&rec.lock);
	r = seam_real()->unlinkat(s, dir_fd, path, flags);
	if (r >= 0 && (op = record(OP_UNLINK))) {
		relative(dir_fd, path, op->path);
		op->len = (uint64_t)flags;
	}
	pthread_mutex_unlock(&rec.lock);
	return r;
}

/* ---- what happens ---- */

static const struct rig_shape lazy_shape = {
	.file_bytes = 9000, .n_files = 6, .chunk_bytes = 4096, .span_bytes = 5000, .seed = 21};
static const struct rig_shape full_shape = {
	.file_bytes = 20000, .n_files = 3, .chunk_bytes = 8192, .span_bytes = 8192, .seed = 22};

static struct scene {
	struct rig g;
	struct rig_layer lazy, full;
	struct digest document;
	struct cache_ref refs[2];
	char image_key[65];
	uint8_t images[2][5000];
	/* how many operations had been recorded when each was published */
	size_t document_at, ref_at[2], image_at[2], lazy_at, full_at;
} sc;

static const char document[] = "{\"schemaVersion\": 2}";

static void play_documents(unsigned which)
{
	struct image_map m;

	assert_int_equal(cache_ref_put(sc.g.c, "r.example/a:b", &sc.refs[which]), 0);
	sc.ref_at[which] = rec.n;
	assert_int_equal(cache_image_put(sc.g.c, sc.image_key, sc.images[which], 5000, &m, NULL),
			 0);
	sc.image_at[which] = rec.n;
	image_map_fini(&m);
}

static void play_reads(struct reader *r, unsigned n, uint64_t seed)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t off = rig_random(&seed) % sc.lazy.device_bytes;

		assert_int_equal(
			rig_check(r, &sc.lazy, off, min_u64(6000, sc.lazy.device_bytes - off)), 0);
	}
}

static void play(void)
{
	struct layer *lazy, *full;
	struct reader *r;
	uint64_t freed;

	assert_int_equal(cache_blob_put(sc.g.c, &sc.document, document, sizeof(document)), 0);
	sc.document_at = rec.n;
	play_documents(0);
	assert_int_equal(rig_stage(sc.g.c, &sc.lazy, false, &lazy, NULL), 0);
	sc.lazy_at = rec.n;
	r = rig_reader_of(&sc.g, lazy, &sc.lazy, 0);
	play_reads(r, 6, 1);
	assert_int_equal(rig_stage(sc.g.c, &sc.full, true, &full, NULL), 0);
	sc.full_at = rec.n;
	play_reads(r, 6, 2);
	play_documents(1);
	cache_make_room(sc.g.c, 10000, &freed);
	assert_true(freed > 0);
	play_reads(r, 10, 3);
	/* Rot, which is found, withdrawn and put right. */
	assert_int_equal(pwrite(layer_data_fd(lazy), "rot", 3, 50), 3);
	for (uint64_t i = 0; i < sc.lazy.n_chunks; i++)
		layer_mine_set(lazy, i, 0);
	assert_int_equal(rig_check(r, &sc.lazy, 0, sc.lazy.device_bytes), 0);
	reader_free(r);
	layer_close(lazy);
	layer_close(full);
}

static int scene_set(void **state)
{
	rig_init(&sc.g);
	rec.dir = sc.g.dir;
	rig_layer_init(&sc.lazy, &lazy_shape);
	rig_layer_init(&sc.full, &full_shape);
	digest_of(DIGEST_SHA256, document, sizeof(document), &sc.document);
	for (unsigned i = 0; i < 2; i++) {
		rig_fill(sc.images[i], sizeof(sc.images[i]), i);
		digest_of(DIGEST_SHA256, &i, sizeof(i), &sc.refs[i].digest);
		sc.refs[i].confirmed_s = 1000 + i;
	}
	memset(sc.image_key, 'c', 64);
	sc.g.seam.openat = rec_openat;
	sc.g.seam.pwrite = rec_pwrite;
	sc.g.seam.ftruncate = rec_ftruncate;
	sc.g.seam.punch = rec_punch;
	sc.g.seam.fsync = rec_fsync;
	sc.g.seam.renameat = rec_renameat;
	sc.g.seam.unlinkat = rec_unlinkat;
	rec.on = true;
	play();
	rec.on = false;
	return 0;
}

static int scene_strike(void **state)
{
	for (size_t i = 0; i < rec.n; i++)
		free(rec.ops[i].data);
	rig_layer_fini(&sc.lazy);
	rig_layer_fini(&sc.full);
	rig_fini(&sc.g);
	return 0;
}

/* ---- a crash state ---- */

static bool is_namespace(const struct op *op)
{
	return op->kind == OP_CREATE || op->kind == OP_RENAME || op->kind == OP_UNLINK;
}

static bool same_parent(const char *path, const char *dir)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return !strcmp(dir, ".");
	return strlen(dir) == (size_t)(slash - path) && !strncmp(path, dir, strlen(dir));
}

static void mark_forced(size_t k)
{
	for (size_t i = 0; i < k; i++)
		rec.ops[i].forced = false;
	for (size_t i = 0; i < k; i++) {
		const struct op *f = &rec.ops[i];

		if (f->kind != OP_FSYNC)
			continue;
		for (size_t j = 0; j < i; j++) {
			struct op *op = &rec.ops[j];

			if (is_namespace(op))
				op->forced |=
					*f->path && (same_parent(op->path, f->path) ||
						     (*op->to && same_parent(op->to, f->path)));
			else
				op->forced |= op->file == f->file;
		}
	}
}

/* Where each file's bytes are kept while names come and go. */
static void file_path(const char *dir, uint64_t file, char out[static 300])
{
	snprintf(out, 300, "%s/.files/%llu", dir, (unsigned long long)file);
}

static void op_write(const char *dir, const struct op *op, bool torn, uint64_t *seed)
{
	char path[300];
	int fd;

	file_path(dir, op->file, path);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	for (uint64_t at = 0; at < op->len;) {
		uint64_t n = min_u64(op->len - at, SECTOR - (op->off + at) % SECTOR);

		if (!torn || rig_random(seed) % 2)
			assert_int_equal(pwrite(fd, op->data + at, n, (off_t)(op->off + at)),
					 (ssize_t)n);
		at += n;
	}
	close(fd);
}

static void op_file(const char *dir, const struct op *op)
{
	char path[300];
	int fd;

	file_path(dir, op->file, path);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	if (op->kind == OP_TRUNCATE)
		assert_int_equal(ftruncate(fd, (off_t)op->len), 0);
	else
		seam_real()->punch(seam_real(), fd, op->off, op->len);
	close(fd);
}

static void make_parents(char *path)
{
	for (char *p = path + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		mkdir(path, 0700);
		*p = '/';
	}
}

/* Names are hard links to the files; an operation whose ground is missing did not happen. */
static void op_name(const char *dir, const struct op *op)
{
	char path[300], to[300], file[300];

	snprintf(path, sizeof(path), "%s/%s", dir, op->path);
	if (op->kind == OP_CREATE) {
		file_path(dir, op->file, file);
		close(open(file, O_WRONLY | O_CREAT, 0600));
		make_parents(path);
		unlink(path);
		assert_int_equal(link(file, path), 0);
	} else if (op->kind == OP_RENAME) {
		snprintf(to, sizeof(to), "%s/%s", dir, op->to);
		rename(path, to);
	} else if (op->len & AT_REMOVEDIR)
		rmdir(path);
	else
		unlink(path);
}

static void state_build(const char *dir, size_t k, uint64_t *seed)
{
	bool in_order = rig_random(seed) % 2, cut = false;
	char path[300];

	mark_forced(k);
	for (int i = 0; i < SUB_COUNT; i++) {
		snprintf(path, sizeof(path), "%s/%s/", dir, cache_subdir_names[i]);
		make_parents(path);
	}
	snprintf(path, sizeof(path), "%s/.files", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	for (size_t i = 0; i < k; i++) {
		const struct op *op = &rec.ops[i];
		unsigned luck = (unsigned)(rig_random(seed) % 4);

		if (op->kind == OP_FSYNC)
			continue;
		if (is_namespace(op)) {
			cut |= in_order && !op->forced && !luck;
			if (op->forced || (in_order ? !cut : luck > 1))
				op_name(dir, op);
		} else if (op->kind == OP_WRITE) {
			if (op->forced || luck)
				op_write(dir, op, !op->forced && luck == 1, seed);
		} else if (op->forced || luck > 1)
			op_file(dir, op);
	}
	snprintf(path, sizeof(path), "%s/.files", dir);
	rig_rmtree(path);
}

/* ---- what must hold ---- */

static struct rig after;

static int ignore(void *userdata, const struct cache_item *it)
{
	return 0;
}

static void check_documents(size_t k)
{
	_cleanup_(buf_fini) struct buf b = BUF_INIT;
	struct cache_ref ref;
	struct image_map m;
	int r;

	r = cache_blob_get(after.c, &sc.document, 1000, &b);
	if (!r)
		assert_memory_equal(b.data, document, sizeof(document));
	else
		assert_true(r == CACHE_MISS && k < sc.document_at);
	r = cache_ref_get(after.c, "r.example/a:b", &ref);
	if (!r) {
		bool is_new = digest_equal(&ref.digest, &sc.refs[1].digest);

		assert_true(is_new ||
			    (digest_equal(&ref.digest, &sc.refs[0].digest) && k < sc.ref_at[1]));
		assert_int_equal(ref.confirmed_s, sc.refs[is_new].confirmed_s);
	} else
		assert_true(r == CACHE_MISS && k < sc.ref_at[0]);
	r = cache_image_get(after.c, sc.image_key, &m);
	if (!r) {
		assert_true(!memcmp(m.bytes, sc.images[1], 5000) ||
			    (!memcmp(m.bytes, sc.images[0], 5000) && k < sc.image_at[1]));
		image_map_fini(&m);
	} else /* while it is replaced there may be none: it is made again from the layers */
		assert_true(r == CACHE_MISS &&
			    (k < sc.image_at[0] || (k > sc.image_at[0] && k < sc.image_at[1])));
}

static void check_layer(struct rig_layer *rl, size_t published_at, size_t k)
{
	struct reader *rd;
	struct layer *l;
	int r = layer_open(after.c, &rl->key, &l, NULL);

	if (r == CACHE_MISS) {
		assert_true(k < published_at);
		assert_int_equal(rig_stage(after.c, rl, true, &l, NULL), 0);
	} else
		assert_int_equal(r, 0);
	rd = rig_reader_of(&after, l, rl, 0);
	assert_int_equal(rig_check(rd, rl, 0, rl->device_bytes), 0);
	assert_true(layer_is_complete(l));
	reader_free(rd);
	layer_close(l);
}

static void state_check(size_t k, bool verify_first)
{
	struct error err = ERROR_INIT;
	int r;

	after.c->boot_id[0] ^= 1; /* the machine was off */
	if (verify_first) {
		r = cache_verify(after.c, ignore, NULL, NULL, NULL);
		assert_true(r == 0 || r == -EBADMSG);
		if (cache_verify(after.c, ignore, NULL, NULL, &err) < 0)
			fail_msg("not healed: %s", err.text);
	}
	check_documents(k);
	check_layer(&sc.lazy, sc.lazy_at, k);
	check_layer(&sc.full, sc.full_at, k);
	assert_int_equal(cache_verify(after.c, ignore, NULL, NULL, NULL), 0);
}

static void states_are_survived(void **state)
{
	uint64_t seed = 20261124;

	assert_true(rec.n > 100);
	for (unsigned i = 0; i < N_STATES; i++) {
		uint64_t own = seed + i;
		size_t k = i < 2 * rec.n ? i / 2
					 : rig_random(&own) % (rec.n + 1); /* every prefix, twice */
		struct cache_options o;

		memset(&after, 0, sizeof(after));
		strcpy(after.dir, "/dev/shm/morsel-crash-XXXXXX");
		if (!mkdtemp(after.dir)) {
			strcpy(after.dir, "/tmp/morsel-crash-XXXXXX");
			assert_non_null(mkdtemp(after.dir));
		}
		state_build(after.dir, k, &own);
		after.seam = *seam_real();
		pthread_mutex_init(&after.log.lock, NULL);
		after.pool = sc.g.pool;
		o = (struct cache_options){.seam = &after.seam, .dir = after.dir};
		assert_int_equal(cache_open(&o, &after.c, NULL), 0);
		state_check(k, i % 2);
		cache_close(after.c);
		rig_rmtree(after.dir);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(states_are_survived, scene_set, scene_strike),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
