/* SPDX-License-Identifier: MIT */
/*
 * Two batches go back and forth: the walk's thread fills one while libarchive's reads the other. A
 * batch holds bytes, cut into segments (so many bytes, then so many that are not shown), and the
 * entries that the walk saw in them. Since an entry is told before the last byte of its header, it
 * is there when libarchive has read that header.
 */
#include "image/tar_opinion.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

#define BATCH_BYTES (256u << 10)
#define END_BYTES 8192u /* of zeros behind the end: padding and end marker that may be missing */

struct segment {
	size_t bytes;
	uint64_t hidden;
};

struct expected {
	uint64_t size;
	uint32_t type;	/* S_IFMT bits */
	uint32_t flags; /* of struct layer_entry */
	uint64_t path_len;
	/* the path follows, with a NUL, padded to 8 bytes */
};

struct batch {
	struct buf bytes, segments, entries;
};

struct tar_opinion {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct batch *full; /* under lock, as the next four: handed over and not taken yet */
	bool end, quit;	    /* no more will come; nobody wants to know any more */
	bool disagree;
	struct error verdict;
	struct batch batches[2];
	struct batch *filling;
	/* the thread's own */
	struct batch *now;
	size_t byte_at, segment_at;
	struct buf expect; /* entries from expect_at on that libarchive has still to come to */
	size_t expect_at;
	bool zeros_given;
};

/* ---- the walk's side ---- */

static struct segment *last_segment(struct batch *b)
{
	return (struct segment *)(b->segments.data + b->segments.len) - 1;
}

static int hand_over(struct tar_opinion *o, bool end, struct error *err)
{
	int r = 0;

	pthread_mutex_lock(&o->lock);
	if (o->disagree)
		r = error_set(err, o->verdict.code, "%s", o->verdict.text);
	o->full = o->filling;
	o->end = end;
	pthread_cond_broadcast(&o->changed);
	while (o->full) /* until it is taken; the other one is free then */
		pthread_cond_wait(&o->changed, &o->lock);
	pthread_mutex_unlock(&o->lock);
	o->filling = &o->batches[o->filling == &o->batches[0]];
	o->filling->bytes.len = o->filling->segments.len = o->filling->entries.len = 0;
	return r;
}

int tar_opinion_meta(struct tar_opinion *o, const void *data, size_t n, struct error *err)
{
	struct batch *b = o->filling;
	struct segment s = {n, 0};
	int r = 0;

	if (!n)
		return 0;
	if (b->segments.len && !last_segment(b)->hidden)
		last_segment(b)->bytes += n;
	else
		r = buf_append(&b->segments, &s, sizeof(s));
	if (r >= 0)
		r = buf_append(&b->bytes, data, n);
	if (r < 0 || b->bytes.len < BATCH_BYTES)
		return r;
	return hand_over(o, false, err);
}

int tar_opinion_contents(struct tar_opinion *o, uint64_t n)
{
	struct batch *b = o->filling;
	struct segment s = {0, n};

	if (b->segments.len) {
		last_segment(b)->hidden += n;
		return 0;
	}
	return buf_append(&b->segments, &s, sizeof(s));
}

int tar_opinion_entry(struct tar_opinion *o, const struct tar_entry *e)
{
	static const uint8_t zeros[8];
	struct expected x = {.size = e->meta.size,
			     .type = e->meta.mode & S_IFMT,
			     .flags = e->meta.flags,
			     .path_len = e->path_len};
	struct buf *b = &o->filling->entries;
	int r = buf_append(b, &x, sizeof(x));

	if (r >= 0)
		r = buf_append(b, e->path, e->path_len);
	return r < 0 ? r : buf_append(b, zeros, 8 - e->path_len % 8);
}

/* ---- libarchive's side ---- */

static void verdict_set(struct tar_opinion *o, int code, const char *path, const char *what)
{
	pthread_mutex_lock(&o->lock);
	if (!o->disagree)
		error_set(&o->verdict, code, "entry \"%.120s\": %s", path, what);
	o->disagree = true;
	pthread_mutex_unlock(&o->lock);
}

static int expect_more(struct tar_opinion *o, const struct buf *entries)
{
	o->expect.len -= o->expect_at;
	if (o->expect.len)
		memmove(o->expect.data, o->expect.data + o->expect_at, o->expect.len);
	o->expect_at = 0;
	return buf_append(&o->expect, entries->data, entries->len);
}

/* The next batch; false: there are no more. */
static bool batch_take(struct tar_opinion *o)
{
	pthread_mutex_lock(&o->lock);
	while (!o->full && !o->end && !o->quit)
		pthread_cond_wait(&o->changed, &o->lock);
	o->now = o->quit ? NULL : o->full;
	o->full = NULL;
	pthread_cond_broadcast(&o->changed);
	pthread_mutex_unlock(&o->lock);
	o->byte_at = o->segment_at = 0;
	if (o->now && expect_more(o, &o->now->entries) < 0)
		verdict_set(o, -ENOMEM, "", "no memory");
	return o->now;
}

/* The segment under way, or the next one that is not used up. */
static struct segment *segment_now(struct tar_opinion *o)
{
	for (;;) {
		struct segment *s;

		if (!o->now && !batch_take(o))
			return NULL;
		s = (struct segment *)(o->now->segments.data + o->segment_at);
		if (o->segment_at == o->now->segments.len) {
			if (!batch_take(o))
				return NULL;
		} else if (s->bytes || s->hidden)
			return s;
		else
			o->segment_at += sizeof(*s);
	}
}

static la_ssize_t on_read(struct archive *a, void *userdata, const void **ret)
{
	static const uint8_t zeros[END_BYTES];
	struct tar_opinion *o = userdata;
	struct segment *s = segment_now(o);
	size_t n;

	*ret = zeros;
	if (!s) {
		n = o->zeros_given ? 0 : sizeof(zeros);
		o->zeros_given = true;
		return (la_ssize_t)n;
	}
	if (!s->bytes) { /* it wants contents: any will do */
		n = min_u64(s->hidden, sizeof(zeros));
		s->hidden -= n;
		return (la_ssize_t)n;
	}
	n = s->bytes;
	*ret = o->now->bytes.data + o->byte_at;
	o->byte_at += n;
	s->bytes = 0;
	return (la_ssize_t)n;
}

static la_int64_t on_skip(struct archive *a, void *userdata, la_int64_t request)
{
	struct tar_opinion *o = userdata;
	struct segment *s = segment_now(o);
	uint64_t n = s && !s->bytes ? min_u64(s->hidden, (uint64_t)request) : 0;

	if (s)
		s->hidden -= n;
	return (la_int64_t)n;
}

static const struct expected *expect_next(struct tar_opinion *o)
{
	const struct expected *x = (const struct expected *)(o->expect.data + o->expect_at);

	if (o->expect_at == o->expect.len)
		return NULL;
	o->expect_at += align_up(sizeof(*x) + x->path_len + 1, 8);
	return x;
}

/* NULL, or what they disagree about. */
static const char *compare(const struct expected *x, struct archive_entry *e)
{
	const char *theirs = archive_entry_pathname(e), *ours = (const char *)(x + 1);
	uint32_t flags = 0, whole = ENTRY_WHITEOUT | ENTRY_OPAQUE_MARK;
	bool is_file = archive_entry_filetype(e) == S_IFREG;
	char clean[PATH_LEN_MAX + 1];
	enum path_kind kind;
	size_t len;

	if (!theirs || path_clean(theirs, strlen(theirs), clean, &len, NULL) < 0 ||
	    path_classify(clean, &len, &kind, NULL) < 0 || len != x->path_len ||
	    memcmp(clean, ours, len) != 0)
		return "its name";
	flags = kind == PATH_WHITEOUT ? ENTRY_WHITEOUT
		: kind == PATH_OPAQUE ? ENTRY_OPAQUE_MARK
				      : 0;
	if (flags != (x->flags & whole))
		return "its name";
	if (flags)
		return NULL;
	if (x->flags & ENTRY_HARDLINK)
		return archive_entry_hardlink(e) || (is_file && !archive_entry_size(e))
			       ? NULL
			       : "its type";
	if (archive_entry_hardlink(e) || archive_entry_filetype(e) != x->type)
		return "its type";
	if (is_file && (uint64_t)archive_entry_size(e) != x->size)
		return "its size";
	return NULL;
}

static void disagree(struct tar_opinion *o, const char *path, const char *what)
{
	char text[300];

	snprintf(
		text, sizeof(text),
		"libarchive does not agree on %s: the archive can be read in more than one way and "
		"is refused",
		what);
	verdict_set(o, -EBADMSG, path, text);
}

static void archive_follow(struct tar_opinion *o, struct archive *a)
{
	const struct expected *x = NULL;
	struct archive_entry *e;
	const char *what = NULL;
	char text[200];
	int r = archive_read_open(a, o, NULL, on_read, NULL);

	while (!what && r >= ARCHIVE_WARN) {
		r = archive_read_next_header(a, &e);
		if (r < ARCHIVE_WARN || r == ARCHIVE_EOF)
			break;
		x = expect_next(o);
		what = x ? compare(x, e) : "where it ends";
	}
	if (r < ARCHIVE_WARN) {
		snprintf(text, sizeof(text), "what follows it (%.120s)", archive_error_string(a));
		what = text;
	}
	if (what)
		disagree(o, x ? (const char *)(x + 1) : "(before the first)", what);
}

static void *opinion_thread(void *arg)
{
	struct tar_opinion *o = arg;
	struct archive *a = archive_read_new();
	const struct expected *x;

	if (a && archive_read_support_format_tar(a) == ARCHIVE_OK &&
	    archive_read_set_skip_callback(a, on_skip) == ARCHIVE_OK)
		archive_follow(o, a);
	else
		verdict_set(o, -ENOMEM, "", "no memory");
	archive_read_free(a);
	do
		for (; (x = expect_next(o));) /* it sees the end before we do */
			disagree(o, (const char *)(x + 1), "whether it is there");
	while (batch_take(o));
	return NULL;
}

/* ---- life ---- */

int tar_opinion_new(struct tar_opinion **ret)
{
	struct tar_opinion *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	o->filling = &o->batches[0];
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->changed, NULL);
	if (pthread_create(&o->thread, NULL, opinion_thread, o)) {
		free(o);
		return -EAGAIN;
	}
	*ret = o;
	return 0;
}

int tar_opinion_finish(struct tar_opinion *o, struct error *err)
{
	int r = hand_over(o, true, err);

	pthread_join(o->thread, NULL);
	o->quit = true;
	if (r >= 0 && o->disagree)
		r = error_set(err, o->verdict.code, "%s", o->verdict.text);
	return r;
}

void tar_opinion_free(struct tar_opinion *o)
{
	if (!o)
		return;
	if (!o->quit) {
		pthread_mutex_lock(&o->lock);
		o->quit = true;
		pthread_cond_broadcast(&o->changed);
		pthread_mutex_unlock(&o->lock);
		pthread_join(o->thread, NULL);
	}
	for (size_t i = 0; i < ARRAY_SIZE(o->batches); i++) {
		buf_fini(&o->batches[i].bytes);
		buf_fini(&o->batches[i].segments);
		buf_fini(&o->batches[i].entries);
	}
	buf_fini(&o->expect);
	pthread_cond_destroy(&o->changed);
	pthread_mutex_destroy(&o->lock);
	free(o);
}
