/* SPDX-License-Identifier: MIT */
/*
 * Messages are written in any order and as they come, for the format allows that: a table is
 * whatever entries of it stand anywhere in the file, in their order. What nests (a sample's labels,
 * a location's lines) is put together in a buffer of its own first, since its length goes before
 * it.
 */
#include "prof/pprof.h"

#include <errno.h>
#include <zlib.h>

#include "base/utf8.h"

#include "prof/intern.h"

enum { /* fields of Profile */
       F_SAMPLE_TYPE = 1,
       F_SAMPLE = 2,
       F_MAPPING = 3,
       F_LOCATION = 4,
       F_FUNCTION = 5,
       F_STRING = 6,
       F_DROP_FRAMES = 7,
       F_TIME_NS = 9,
       F_DURATION_NS = 10,
       F_PERIOD_TYPE = 11,
       F_PERIOD = 12,
       F_COMMENT = 13,
       F_DEFAULT_TYPE = 14,
};

#define DEFLATE_STEP (64 * 1024)

struct pprof {
	int error; /* the first one */
	size_t n_types;
	struct intern strings;	 /* number = index in the string table */
	struct intern functions; /* of struct function_key; number + 1 = id */
	struct intern frames;	 /* of mapping and function id; number = index in frame_ids */
	uint64_t *frame_ids;
	uint64_t n_locations;
	struct buf msg, sub,
		text; /* the message being made, what nests in it, a sanitised string */
	z_stream z;
	struct buf out;
};

struct function_key {
	uint64_t name, system_name, file;
	int64_t start_line;
};

static void note(struct pprof *p, int64_t r)
{
	if (r < 0 && !p->error)
		p->error = (int)r;
}

static void put_varint(struct pprof *p, struct buf *b, uint64_t v)
{
	uint8_t bytes[10];
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		bytes[n++] = (uint8_t)(v | 0x80);
	bytes[n++] = (uint8_t)v;
	note(p, buf_append(b, bytes, n));
}

/* Zero is what an absent field means. */
static void put_int(struct pprof *p, struct buf *b, unsigned field, uint64_t v)
{
	if (!v)
		return;
	put_varint(p, b, field << 3);
	put_varint(p, b, v);
}

static void put_bytes(struct pprof *p, struct buf *b, unsigned field, const void *data, size_t n)
{
	put_varint(p, b, field << 3 | 2);
	put_varint(p, b, n);
	note(p, buf_append(b, data, n));
}

static void put_packed(struct pprof *p, struct buf *b, unsigned field, const uint64_t *v, size_t n)
{
	p->sub.len = 0;
	for (size_t i = 0; i < n; i++)
		put_varint(p, &p->sub, v[i]);
	put_bytes(p, b, field, p->sub.data, p->sub.len);
}

/* Compresses what one message of Profile's became: a field's tag and its bytes. */
static void compress_bytes(struct pprof *p, const void *data, size_t n, int flush)
{
	int z;

	if (p->error)
		return;
	p->z.next_in = (Bytef *)data;
	p->z.avail_in = (uInt)n;
	do {
		int r = buf_reserve(&p->out, DEFLATE_STEP);

		if (r < 0) {
			note(p, r);
			return;
		}
		p->z.next_out = p->out.data + p->out.len;
		p->z.avail_out = DEFLATE_STEP;
		z = deflate(&p->z, flush);
		p->out.len += DEFLATE_STEP - p->z.avail_out;
	} while (p->z.avail_in || (flush == Z_FINISH && z == Z_OK));
}

static void emit(struct pprof *p, unsigned field, const struct buf *msg)
{
	uint8_t head[12];
	size_t n = 0;
	uint64_t len = msg->len;

	head[n++] = (uint8_t)(field << 3 | 2);
	for (; len >= 0x80; len >>= 7)
		head[n++] = (uint8_t)(len | 0x80);
	head[n++] = (uint8_t)len;
	if (msg->len > UINT32_MAX)
		note(p, -E2BIG);
	compress_bytes(p, head, n, Z_NO_FLUSH);
	if (msg->len)
		compress_bytes(p, msg->data, msg->len, Z_NO_FLUSH);
}

/* ---- text ---- */

/* Bytes of the character at s when it can be shown, else 0: for control characters too. */
static size_t shown_length(const uint8_t *s)
{
	bool control = *s < 0x20 || *s == 0x7f || (*s == 0xc2 && s[1] < 0xa0);

	return control ? 0 : utf8_length(s, SIZE_MAX);
}

static void sanitise(struct pprof *p, const char *text)
{
	const uint8_t *s = (const uint8_t *)text;

	p->text.len = 0;
	while (*s) {
		size_t n = shown_length(s);

		note(p, n ? buf_append(&p->text, s, n) : buf_printf(&p->text, "\\x%02x", *s));
		s += n ? n : 1;
	}
}

static uint64_t string_index(struct pprof *p, const char *text)
{
	size_t n = p->strings.n;
	int64_t id;

	sanitise(p, text ? text : "");
	id = intern_id(&p->strings, p->text.data, p->text.len);
	if (id < 0) {
		note(p, id);
		return 0;
	}
	if (p->strings.n > n)
		emit(p, F_STRING, &p->text);
	return (uint64_t)id;
}

/* ---- tables ---- */

static uint64_t function_id(struct pprof *p, const struct pprof_line *l)
{
	struct function_key key = {
		.name = string_index(p, l->function),
		.system_name = string_index(p, l->system_name ? l->system_name : l->function),
		.file = string_index(p, l->file),
		.start_line = l->start_line,
	};
	size_t n = p->functions.n;
	int64_t id = intern_id(&p->functions, &key, sizeof(key));

	if (id < 0) {
		note(p, id);
		return 0;
	}
	if (p->functions.n > n) {
		p->msg.len = 0;
		put_int(p, &p->msg, 1, (uint64_t)id + 1);
		put_int(p, &p->msg, 2, key.name);
		put_int(p, &p->msg, 3, key.system_name);
		put_int(p, &p->msg, 4, key.file);
		put_int(p, &p->msg, 5, (uint64_t)key.start_line);
		emit(p, F_FUNCTION, &p->msg);
	}
	return (uint64_t)id + 1;
}

uint64_t pprof_location(struct pprof *p, uint64_t mapping_id, uint64_t address,
			const struct pprof_line *lines, size_t n)
{
	_cleanup_(buf_fini) struct buf msg = BUF_INIT;

	put_int(p, &msg, 1, ++p->n_locations);
	put_int(p, &msg, 2, mapping_id);
	put_int(p, &msg, 3, address);
	for (size_t i = 0; i < n; i++) {
		uint64_t id = function_id(p, &lines[i]);

		p->sub.len = 0;
		put_int(p, &p->sub, 1, id);
		put_int(p, &p->sub, 2, (uint64_t)lines[i].line);
		put_bytes(p, &msg, 4, p->sub.data, p->sub.len);
	}
	emit(p, F_LOCATION, &msg);
	return p->n_locations;
}

uint64_t pprof_frame(struct pprof *p, uint64_t mapping_id, const char *name,
		     const char *system_name, const char *file)
{
	struct pprof_line line = {.function = name, .system_name = system_name, .file = file};
	uint64_t key[2] = {mapping_id, function_id(p, &line)};
	uint64_t *ids = intern_beside(&p->frames, p->frame_ids, sizeof(*ids));
	size_t n = p->frames.n;
	int64_t id = -ENOMEM;

	if (ids) {
		p->frame_ids = ids;
		id = intern_id(&p->frames, key, sizeof(key));
	}
	if (id < 0) {
		note(p, id);
		return 0;
	}
	if (p->frames.n > n)
		ids[id] = pprof_location(p, mapping_id, 0, &line, 1);
	return ids[id];
}

void pprof_mapping(struct pprof *p, const struct pprof_mapping *m)
{
	uint64_t file = string_index(p, m->file), build_id = string_index(p, m->build_id);

	p->msg.len = 0;
	put_int(p, &p->msg, 1, m->id);
	put_int(p, &p->msg, 2, m->start);
	put_int(p, &p->msg, 3, m->limit);
	put_int(p, &p->msg, 4, m->offset);
	put_int(p, &p->msg, 5, file);
	put_int(p, &p->msg, 6, build_id);
	put_int(p, &p->msg, 7, m->has_functions);
	put_int(p, &p->msg, 8, m->has_filenames);
	put_int(p, &p->msg, 9, m->has_lines);
	put_int(p, &p->msg, 10, m->has_inlines);
	emit(p, F_MAPPING, &p->msg);
}

void pprof_sample(struct pprof *p, const uint64_t *locations, size_t n, const int64_t *values,
		  const struct pprof_label *labels, size_t n_labels)
{
	_cleanup_(buf_fini) struct buf msg = BUF_INIT;

	put_packed(p, &msg, 1, locations, n);
	put_packed(p, &msg, 2, (const uint64_t *)values, p->n_types);
	for (size_t i = 0; i < n_labels; i++) {
		const struct pprof_label *l = &labels[i];
		uint64_t key = string_index(p, l->key);
		uint64_t str = l->str ? string_index(p, l->str) : 0;
		uint64_t unit = l->str ? 0 : string_index(p, l->unit);

		p->sub.len = 0;
		put_int(p, &p->sub, 1, key);
		put_int(p, &p->sub, 2, str);
		put_int(p, &p->sub, 3, l->str ? 0 : (uint64_t)l->num);
		put_int(p, &p->sub, 4, unit);
		put_bytes(p, &msg, 3, p->sub.data, p->sub.len);
	}
	emit(p, F_SAMPLE, &msg);
}

/* ---- the whole ---- */

static void put_type(struct pprof *p, unsigned field, const struct pprof_type *t)
{
	uint64_t type = string_index(p, t->type), unit = string_index(p, t->unit);

	p->msg.len = 0;
	put_int(p, &p->msg, 1, type);
	put_int(p, &p->msg, 2, unit);
	emit(p, field, &p->msg);
}

/* A number directly in Profile. */
static void put_number(struct pprof *p, unsigned field, uint64_t v)
{
	p->msg.len = 0;
	put_int(p, &p->msg, field, v);
	if (p->msg.len)
		compress_bytes(p, p->msg.data, p->msg.len, Z_NO_FLUSH);
}

void pprof_comment(struct pprof *p, const char *text)
{
	put_number(p, F_COMMENT, string_index(p, text));
}

int pprof_new(const struct pprof_options *o, struct pprof **ret)
{
	struct pprof *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	assert(o->n_types > 0);
	p->n_types = o->n_types;
	/* 16 + : a gzip header; 6 is what pprof's own writers use */
	if (deflateInit2(&p->z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
		free(p);
		return -ENOMEM;
	}
	string_index(p, ""); /* string 0 */
	for (size_t i = 0; i < o->n_types; i++)
		put_type(p, F_SAMPLE_TYPE, &o->types[i]);
	if (o->period_type.type)
		put_type(p, F_PERIOD_TYPE, &o->period_type);
	put_number(p, F_PERIOD, (uint64_t)o->period);
	put_number(p, F_TIME_NS, (uint64_t)o->time_ns);
	put_number(p, F_DURATION_NS, (uint64_t)o->duration_ns);
	if (o->default_type)
		put_number(p, F_DEFAULT_TYPE, string_index(p, o->default_type));
	if (o->drop_frames)
		put_number(p, F_DROP_FRAMES, string_index(p, o->drop_frames));
	*ret = p;
	return 0;
}

int pprof_finish(struct pprof *p, struct buf *out)
{
	compress_bytes(p, NULL, 0, Z_FINISH);
	if (p->error)
		return p->error;
	return buf_append(out, p->out.data, p->out.len);
}

void pprof_free(struct pprof *p)
{
	if (!p)
		return;
	deflateEnd(&p->z);
	intern_fini(&p->strings);
	intern_fini(&p->functions);
	intern_fini(&p->frames);
	free(p->frame_ids);
	buf_fini(&p->msg);
	buf_fini(&p->sub);
	buf_fini(&p->text);
	buf_fini(&p->out);
	free(p);
}
