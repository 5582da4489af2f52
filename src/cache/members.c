/* SPDX-License-Identifier: MIT */
#include "cache/members.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

#include "cache/cache_impl.h"

#define PACK_MAGIC UINT64_C(0x324b4341504d524d) /* "MRMPACK2" */
#define PACKS_MAX 64u
#define TABLES_BYTES_MAX (UINT64_C(32) << 20) /* of all packs, in memory */
#define STAGE_BYTES (1u << 20)
#define SHARE                                                                                      \
	4u /* of the cache's limit all packs may have one part in so many, one half of that        \
	    */
#define FILE_NAME "pack"

struct record {
	uint8_t key[MEMBER_KEY_BYTES], note[MEMBER_NOTE_BYTES];
	uint64_t off, crc;
	uint32_t len, reserved;
};
static_assert(sizeof(struct record) == 72, "on-disk record");

struct footer {
	uint64_t magic, n_records, table_crc, data_bytes;
	uint8_t secret[FINGERPRINT_KEY_BYTES];
};
static_assert(sizeof(struct footer) == 48, "on-disk record");

struct pack {
	int fd;
	struct record *records; /* sorted; owned */
	uint64_t n;
	_Atomic bool used;
};

struct members {
	struct cache *c;
	struct pack packs[PACKS_MAX];
	size_t n_packs;
	uint64_t tables_bytes;
	uint8_t secret[FINGERPRINT_KEY_BYTES]; /* the newest pack's, or random */
	_Atomic bool damaged;		       /* that was said */
	/* The pack of this push. */
	pthread_mutex_t lock;
	struct tmp_dir tmp;
	int fd; /* -1: nothing is kept */
	uint64_t len;
	struct buf stage, records;
};

/* ---- reading ---- */

static int by_key(const void *a, const void *b)
{
	return memcmp(a, b, MEMBER_KEY_BYTES);
}

/* The table of a pack, with all that stands in it possible. */
static int table_read(struct cache *c, int fd, uint64_t max_bytes, struct footer *ret_footer,
		      struct record **ret)
{
	_cleanup_(freep) struct record *records = NULL;
	struct footer f;
	struct stat st;
	uint64_t size;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	size = (uint64_t)st.st_size;
	if (size < sizeof(f))
		return -EBADMSG;
	r = seam_pread_full(c->seam, fd, &f, sizeof(f), size - sizeof(f));
	if (r < 0)
		return r;
	if (f.magic != PACK_MAGIC || !f.n_records || f.n_records > size / sizeof(*records) ||
	    f.data_bytes > size ||
	    f.data_bytes + f.n_records * sizeof(*records) + sizeof(f) != size)
		return -EBADMSG;
	if (f.n_records * sizeof(*records) > max_bytes)
		return -E2BIG;
	records = calloc(f.n_records, sizeof(*records));
	if (!records)
		return -ENOMEM;
	r = seam_pread_full(c->seam, fd, records, f.n_records * sizeof(*records), f.data_bytes);
	if (r < 0)
		return r;
	if (cache_crc64(0, records, f.n_records * sizeof(*records)) != f.table_crc)
		return -EBADMSG;
	for (uint64_t i = 0; i < f.n_records; i++)
		if (records[i].len > MEMBER_BYTES_MAX || records[i].off > f.data_bytes ||
		    records[i].len > f.data_bytes - records[i].off)
			return -EBADMSG;
	*ret_footer = f;
	*ret = steal_ptr(records);
	return 0;
}

struct found_pack {
	char name[24];
	struct timespec written;
};

struct found_packs {
	struct found_pack list[PACKS_MAX];
	size_t n;
};

static bool older(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* Keeps the newest, in this order. */
static int found_add(void *userdata, int dir_fd, const char *name)
{
	struct found_packs *f = userdata;
	struct found_pack p;
	struct stat st;
	size_t i;

	if (strlen(name) >= sizeof(p.name) || fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	strcpy(p.name, name);
	p.written = st.st_mtim;
	for (i = f->n; i && older(&f->list[i - 1].written, &p.written); i--)
		if (i < PACKS_MAX)
			f->list[i] = f->list[i - 1];
	if (i < PACKS_MAX) {
		f->list[i] = p;
		f->n += f->n < PACKS_MAX;
	}
	return 0;
}

static int pack_open(struct members *m, const char *name)
{
	struct cache *c = m->c;
	struct pack *p = &m->packs[m->n_packs];
	_cleanup_(closep) int fd = cache_open_file(c, c->sub_fd[SUB_MEMBERS], name, O_RDONLY);
	_cleanup_(freep) struct record *records = NULL;
	struct footer f;
	int r;

	if (fd < 0)
		return fd == -ENOMEM ? fd : 0;
	r = table_read(c, fd, TABLES_BYTES_MAX - m->tables_bytes, &f, &records);
	if (r == -EBADMSG && c->writable)
		cache_remove_tree(c, c->sub_fd[SUB_MEMBERS], name);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	if (!m->n_packs)
		memcpy(m->secret, f.secret, sizeof(m->secret));
	else if (memcmp(m->secret, f.secret, sizeof(m->secret)) != 0)
		return 0; /* two first pushes at once */
	p->records = steal_ptr(records);
	p->n = f.n_records;
	m->tables_bytes += p->n * sizeof(*p->records);
	p->fd = steal_fd(&fd);
	m->n_packs++;
	return 0;
}

int members_open(struct cache *c, struct members **ret)
{
	_cleanup_(freep) struct found_packs *found = calloc(1, sizeof(*found));
	_cleanup_(members_closep) struct members *m = found ? calloc(1, sizeof(*m)) : NULL;
	int r = 0;

	if (!m)
		return -ENOMEM;
	m->c = c;
	m->fd = -1;
	m->tmp = TMP_DIR_INIT;
	pthread_mutex_init(&m->lock, NULL);
	c->seam->random(c->seam, m->secret, sizeof(m->secret));
	if (c->sub_fd[SUB_MEMBERS] >= 0)
		cache_each_name(c->sub_fd[SUB_MEMBERS], found_add, found);
	for (size_t i = 0; i < found->n && r >= 0; i++)
		r = pack_open(m, found->list[i].name);
	if (r < 0)
		return r;
	*ret = steal_ptr(m);
	return 0;
}

static int record_read(struct members *m, int fd, const struct record *rec, struct buf *out)
{
	int r = buf_reserve(out, rec->len);

	if (r < 0)
		return r;
	r = seam_pread_full(m->c->seam, fd, out->data + out->len, rec->len, rec->off);
	if (r >= 0 && cache_crc64(0, out->data + out->len, rec->len) != rec->crc)
		r = -EBADMSG;
	if (r >= 0)
		out->len += rec->len;
	return r;
}

int members_fingerprint(const struct members *m, struct fingerprint **ret)
{
	return fingerprint_new(m->secret, ret);
}

int members_get(struct members *m, const uint8_t key[static MEMBER_KEY_BYTES], uint8_t *ret_note,
		struct buf *out)
{
	for (size_t i = 0; i < m->n_packs; i++) {
		struct pack *p = &m->packs[i];
		const struct record *rec =
			bsearch(key, p->records, p->n, sizeof(*p->records), by_key);
		int r = rec ? record_read(m, p->fd, rec, out) : CACHE_MISS;

		if (!r)
			p->used = true;
		if (!r && ret_note)
			memcpy(ret_note, rec->note, sizeof(rec->note));
		if (!r || r == -ENOMEM)
			return r;
		if (r < 0 && !atomic_exchange(&m->damaged, true))
			log_write(m->c->log, LOG_WARN,
				  "cache %s: compressed files of an earlier push are damaged; they "
				  "are compressed again",
				  m->c->dir);
	}
	return CACHE_MISS;
}

/* ---- writing ---- */

static uint64_t share_bytes(const struct members *m)
{
	return m->c->limit_bytes / SHARE;
}

static void pack_drop(struct members *m)
{
	closep(&m->fd);
	m->fd = -1;
	cache_tmp_remove(m->c, &m->tmp);
	m->stage.len = m->records.len = 0;
}

static int pack_begin(struct members *m)
{
	int r = cache_tmp_new(m->c, &m->tmp);

	if (r < 0)
		return r;
	m->fd = m->c->seam->openat(m->c->seam, m->tmp.fd, FILE_NAME,
				   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return m->fd < 0 ? m->fd : 0;
}

static int stage_flush(struct members *m)
{
	int r = seam_pwrite_full(m->c->seam, m->fd, m->stage.data, m->stage.len,
				 m->len - m->stage.len);

	m->stage.len = 0;
	return r;
}

static int put(struct members *m, const uint8_t *key, const uint8_t *note, const void *data,
	       size_t n)
{
	struct record rec = {.off = m->len, .len = (uint32_t)n, .crc = cache_crc64(0, data, n)};
	int r = m->fd < 0 ? pack_begin(m) : 0;

	memcpy(rec.key, key, sizeof(rec.key));
	if (note)
		memcpy(rec.note, note, sizeof(rec.note));
	if (r >= 0)
		r = buf_append(&m->records, &rec, sizeof(rec));
	if (r >= 0)
		r = buf_append(&m->stage, data, n);
	if (r < 0)
		return r;
	m->len += n;
	return m->stage.len >= STAGE_BYTES ? stage_flush(m) : 0;
}

void members_put(struct members *m, const uint8_t key[static MEMBER_KEY_BYTES], const uint8_t *note,
		 const void *data, size_t n)
{
	int r = 0;

	pthread_mutex_lock(&m->lock);
	if (n <= MEMBER_BYTES_MAX && m->len + n <= share_bytes(m) / 2 &&
	    m->records.len < TABLES_BYTES_MAX / 2 && cache_disk_ok(m->c))
		r = put(m, key, note, data, n);
	if (r < 0) {
		pack_drop(m);
		m->len = UINT64_MAX / 2; /* nothing more is put */
		cache_disk_failed(m->c, r);
	}
	pthread_mutex_unlock(&m->lock);
}

static int pack_finish(struct members *m)
{
	struct footer f = {.magic = PACK_MAGIC,
			   .n_records = m->records.len / sizeof(struct record),
			   .data_bytes = m->len};
	int r = stage_flush(m);

	memcpy(f.secret, m->secret, sizeof(f.secret));
	qsort(m->records.data, f.n_records, sizeof(struct record), by_key);
	f.table_crc = cache_crc64(0, m->records.data, m->records.len);
	if (r >= 0)
		r = seam_pwrite_full(m->c->seam, m->fd, m->records.data, m->records.len, m->len);
	if (r >= 0)
		r = seam_pwrite_full(m->c->seam, m->fd, &f, sizeof(f), m->len + m->records.len);
	if (r >= 0)
		r = m->c->seam->renameat(m->c->seam, m->tmp.fd, FILE_NAME,
					 m->c->sub_fd[SUB_MEMBERS], m->tmp.name);
	return r;
}

void members_commit(struct members *m)
{
	struct cache *c = m->c;
	uint64_t bytes = m->len + m->records.len;
	int r;

	if (m->fd < 0)
		return;
	r = pack_finish(m);
	if (r < 0)
		cache_disk_failed(c, r);
	else {
		atomic_fetch_add(&c->stored_bytes, bytes);
		cache_members_bound(c, share_bytes(m));
		cache_evict_if_over(c);
	}
	pack_drop(m);
}

void members_close(struct members *m)
{
	for (size_t i = 0; i < m->n_packs; i++) {
		struct pack *p = &m->packs[i];

		if (p->used)
			futimens(p->fd, NULL);
		close(p->fd);
		free(p->records);
	}
	pack_drop(m);
	buf_fini(&m->stage);
	buf_fini(&m->records);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

int members_verify(struct cache *c, const char *name, cache_step_fn step, void *userdata)
{
	_cleanup_(buf_fini) struct buf piece = BUF_INIT;
	_cleanup_(freep) struct record *records = NULL;
	_cleanup_(closep) int fd = cache_open_file(c, c->sub_fd[SUB_MEMBERS], name, O_RDONLY);
	struct members m = {.c = c};
	struct footer f = {0};
	int r = fd < 0 ? fd : table_read(c, fd, UINT64_MAX, &f, &records);

	for (uint64_t i = 0; i < f.n_records && r >= 0; i++) {
		piece.len = 0;
		r = record_read(&m, fd, &records[i], &piece);
		if (r >= 0 && step)
			r = step(userdata, piece.len);
	}
	return r == -ENODATA ? -EBADMSG : r;
}
