/* SPDX-License-Identifier: MIT */
/*
 * Two passes over the messages, since a table's entries may stand anywhere: the first collects
 * strings, functions and locations, the second makes stacks of names. Ids are any numbers, so that
 * functions and locations are sorted by theirs and looked up.
 */
#include "prof/pprof_read.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <zlib.h>

#include "prof/pprof_drop.h"

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
       F_DEFAULT_TYPE = 14,
};

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

#define INFLATE_STEP ((size_t)256 << 10)
#define LINES_MAX 64 /* inlined functions at one address */

struct bytes {
	const uint8_t *at, *end;
};

struct field {
	uint64_t number;
	enum wire wire;
	uint64_t value;	    /* VARINT */
	struct bytes bytes; /* BYTES */
};

struct named { /* a function, a mapping, or a location: by id */
	uint64_t id;
	uint64_t name; /* function, mapping: of the string; location: its first line in lines[] */
	uint32_t n;    /* location: lines; mapping: UINT32_MAX when name is one of its own */
	uint64_t mapping, address; /* location */
};

struct table {
	struct named *v;
	size_t n, room;
};

struct reading {
	struct profile *p;
	struct bytes all;
	uint64_t type_strings[PROFILE_TYPES_MAX][2];
	uint64_t default_string, drop_string;
	struct pprof_drop drop;
	struct bytes *strings;
	size_t n_strings, room_strings;
	struct table functions, locations, mappings;
	uint64_t *lines; /* function ids */
	size_t n_lines, room_lines;
	size_t room_names, room_frames, room_stacks;
};

/* ---- the wire ---- */

static int varint(struct bytes *b, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64 && b->at < b->end; shift += 7) {
		uint8_t byte = *b->at++;

		v |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			*ret = v;
			return 0;
		}
	}
	return -EBADMSG;
}

/* 0; 1 at the end; -EBADMSG. */
static int field_next(struct bytes *b, struct field *f)
{
	uint64_t key, n;

	if (b->at == b->end)
		return 1;
	if (varint(b, &key) < 0)
		return -EBADMSG;
	*f = (struct field){.number = key >> 3, .wire = key & 7};
	switch (f->wire) {
	case WIRE_VARINT:
		return varint(b, &f->value);
	case WIRE_BYTES:
		if (varint(b, &n) < 0)
			return -EBADMSG;
		f->bytes.at = b->at;
		break;
	case WIRE_64:
		n = 8;
		break;
	case WIRE_32:
		n = 4;
		break;
	default:
		return -EBADMSG;
	}
	if (n > (size_t)(b->end - b->at))
		return -EBADMSG;
	b->at += n;
	f->bytes.end = b->at;
	return 0;
}

/* Values of a repeated number, packed or not: the next one of field f. 0; 1: no more. */
static int number_next(struct field *f, bool *first, uint64_t *ret)
{
	if (f->wire == WIRE_VARINT) {
		*ret = f->value;
		return *first ? (*first = false, 0) : 1;
	}
	if (f->wire != WIRE_BYTES)
		return -EBADMSG;
	return f->bytes.at == f->bytes.end ? 1 : varint(&f->bytes, ret);
}

static void *grown(void *array, size_t n, size_t *room, size_t size)
{
	size_t more = *room ? 2 * *room : 64;
	void *p = array;

	if (n < *room)
		return array;
	p = reallocarray(array, more, size);
	if (p)
		*room = more;
	return p;
}

#define GROW(array, n, room)                                                                       \
	({                                                                                         \
		__typeof__(array) grown_ = grown((array), (n), (room), sizeof(*(array)));          \
		if (grown_)                                                                        \
			(array) = grown_;                                                          \
		grown_ != NULL;                                                                    \
	})

/* ---- tables ---- */

static int table_add(struct table *t, const struct named *n)
{
	if (!GROW(t->v, t->n, &t->room))
		return -ENOMEM;
	t->v[t->n++] = *n;
	return 0;
}

static int named_compare(const void *a, const void *b)
{
	const struct named *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static void table_sort(struct table *t)
{
	if (t->n)
		qsort(t->v, t->n, sizeof(*t->v), named_compare);
}

static struct named *table_lookup(const struct table *t, uint64_t id)
{
	const struct named key = {.id = id};

	return t->n ? bsearch(&key, t->v, t->n, sizeof(*t->v), named_compare) : NULL;
}

static int function_read(struct reading *x, struct bytes b)
{
	struct named fn = {0};
	struct field f;
	int r;

	while (!(r = field_next(&b, &f)))
		if (f.wire == WIRE_VARINT && f.number == 1)
			fn.id = f.value;
		else if (f.wire == WIRE_VARINT && f.number == 2)
			fn.name = f.value;
	return r < 0 ? r : table_add(&x->functions, &fn);
}

static int mapping_read(struct reading *x, struct bytes b)
{
	struct named m = {0};
	struct field f;
	int r;

	while (!(r = field_next(&b, &f)))
		if (f.wire == WIRE_VARINT && f.number == 1)
			m.id = f.value;
		else if (f.wire == WIRE_VARINT && f.number == 5)
			m.name = f.value;
	return r < 0 ? r : table_add(&x->mappings, &m);
}

static int line_read(struct reading *x, struct bytes b)
{
	uint64_t function = 0;
	struct field f;
	int r;

	while (!(r = field_next(&b, &f)))
		if (f.wire == WIRE_VARINT && f.number == 1)
			function = f.value;
	if (r < 0)
		return r;
	if (!GROW(x->lines, x->n_lines, &x->room_lines))
		return -ENOMEM;
	x->lines[x->n_lines++] = function;
	return 0;
}

static int location_read(struct reading *x, struct bytes b)
{
	struct named at = {.name = x->n_lines};
	struct field f;
	int r;

	while (!(r = field_next(&b, &f))) {
		if (f.wire == WIRE_VARINT && f.number == 1)
			at.id = f.value;
		else if (f.wire == WIRE_VARINT && f.number == 2)
			at.mapping = f.value;
		else if (f.wire == WIRE_VARINT && f.number == 3)
			at.address = f.value;
		else if (f.wire == WIRE_BYTES && f.number == 4 && at.n < LINES_MAX) {
			r = line_read(x, f.bytes);
			if (r < 0)
				return r;
			at.n++;
		}
	}
	return r < 0 ? r : table_add(&x->locations, &at);
}

static int type_read(struct reading *x, struct bytes b)
{
	uint64_t *strings = x->type_strings[x->p->n_types];
	struct field f;
	int r;

	if (x->p->n_types == PROFILE_TYPES_MAX)
		return -E2BIG;
	while (!(r = field_next(&b, &f)))
		if (f.wire == WIRE_VARINT && (f.number == 1 || f.number == 2))
			strings[f.number - 1] = f.value;
	x->p->n_types++;
	return r < 0 ? r : 0;
}

static int tables_field(struct reading *x, struct field *f)
{
	if (f->wire == WIRE_BYTES && f->number == F_STRING) {
		if (!GROW(x->strings, x->n_strings, &x->room_strings))
			return -ENOMEM;
		x->strings[x->n_strings++] = f->bytes;
	} else if (f->wire == WIRE_BYTES && f->number == F_FUNCTION)
		return function_read(x, f->bytes);
	else if (f->wire == WIRE_BYTES && f->number == F_LOCATION)
		return location_read(x, f->bytes);
	else if (f->wire == WIRE_BYTES && f->number == F_MAPPING)
		return mapping_read(x, f->bytes);
	else if (f->wire == WIRE_BYTES && f->number == F_SAMPLE_TYPE)
		return type_read(x, f->bytes);
	else if (f->wire == WIRE_VARINT && f->number == F_TIME_NS)
		x->p->time_ns = (int64_t)f->value;
	else if (f->wire == WIRE_VARINT && f->number == F_DURATION_NS)
		x->p->duration_ns = (int64_t)f->value;
	else if (f->wire == WIRE_VARINT && f->number == F_DROP_FRAMES)
		x->drop_string = f->value;
	else if (f->wire == WIRE_VARINT && f->number == F_DEFAULT_TYPE)
		x->default_string = f->value;
	return 0;
}

/* ---- names ---- */

/* Strings get their NULs in one block, after all of them are known. */
static int strings_copy(struct reading *x, const char ***ret)
{
	size_t bytes = 0, at = 0;
	const char **s;

	for (size_t i = 0; i < x->n_strings; i++)
		bytes += (size_t)(x->strings[i].end - x->strings[i].at) + 1;
	x->p->text = malloc(bytes + 1);
	s = calloc(x->n_strings + 1, sizeof(*s));
	if (!x->p->text || !s) {
		free(s);
		return -ENOMEM;
	}
	for (size_t i = 0; i < x->n_strings; i++) {
		size_t n = (size_t)(x->strings[i].end - x->strings[i].at);

		if (n)
			memcpy(x->p->text + at, x->strings[i].at, n);
		x->p->text[at + n] = 0;
		s[i] = x->p->text + at;
		at += n + 1;
	}
	*ret = s;
	return 0;
}

static int frame_add(struct reading *x, uint32_t name)
{
	struct profile *p = x->p;

	if (p->n_frames == PROFILE_FRAMES_MAX)
		return -E2BIG;
	if (!GROW(p->frames, p->n_frames, &x->room_frames))
		return -ENOMEM;
	p->frames[p->n_frames++] = name;
	return 0;
}

/* Names of strings are numbered as the strings; others come behind them. Takes text, may be NULL.
 */
static int name_add(struct reading *x, char *text, uint32_t *ret)
{
	struct profile *p = x->p;

	if (!text || !GROW(p->names, p->n_names, &x->room_names)) {
		free(text);
		return -ENOMEM;
	}
	*ret = (uint32_t)p->n_names;
	p->names[p->n_names++] = text;
	return 0;
}

/* What has no function's name has its file's, as "go tool pprof" shows it, or is an address. */
static int address_name(struct reading *x, const struct named *at, uint32_t *ret)
{
	struct named *m = table_lookup(&x->mappings, at->mapping);
	const char *file = m && m->name < x->n_strings ? x->p->names[m->name] : "", *slash;
	char *text;
	int r;

	if (m && m->n == UINT32_MAX) {
		*ret = (uint32_t)m->name;
		return 0;
	}
	slash = strrchr(file, '/');
	if (slash)
		file = slash + 1;
	r = *file ? asprintf(&text, "[%s]", file) : asprintf(&text, "0x%" PRIx64, at->address);
	r = name_add(x, r < 0 ? NULL : text, ret);
	if (r >= 0 && *file)
		*m = (struct named){.id = m->id, .name = *ret, .n = UINT32_MAX};
	return r;
}

static int location_frames(struct reading *x, uint64_t id)
{
	struct named *at = table_lookup(&x->locations, id);
	uint32_t name;
	int r = 0;

	if (!at)
		return -EBADMSG;
	if (!at->n) { /* once an address: it is remembered as if it were a line's name */
		r = address_name(x, at, &name);
		if (r < 0 || !GROW(x->lines, x->n_lines, &x->room_lines))
			return r < 0 ? r : -ENOMEM;
		*at = (struct named){.id = id, .name = x->n_lines, .n = UINT32_MAX};
		x->lines[x->n_lines++] = name;
	}
	if (at->n == UINT32_MAX)
		return frame_add(x, (uint32_t)x->lines[at->name]);
	for (uint32_t i = 0; i < at->n && r >= 0; i++) {
		const struct named *fn = table_lookup(&x->functions, x->lines[at->name + i]);

		if (!fn || fn->name >= x->n_strings)
			return -EBADMSG;
		r = frame_add(x, (uint32_t)fn->name);
	}
	return r;
}

/* ---- samples ---- */

static int sample_read(struct reading *x, struct bytes b)
{
	struct profile *p = x->p;
	struct profile_stack st = {.first = p->n_frames};
	size_t n_values = 0;
	struct field f;
	int r;

	while (!(r = field_next(&b, &f))) {
		bool first = true;
		uint64_t v;
		int more;

		if (f.number != 1 && f.number != 2)
			continue;
		while (!(more = number_next(&f, &first, &v))) {
			if (f.number == 1)
				more = location_frames(x, v);
			else if (n_values < p->n_types)
				st.values[n_values++] = (int64_t)v;
			if (more < 0)
				break;
		}
		if (more < 0)
			return more;
	}
	if (r < 0 || n_values != p->n_types)
		return -EBADMSG;
	st.first +=
		pprof_drop_count(&x->drop, p->names, p->frames + st.first, p->n_frames - st.first);
	st.n = p->n_frames - st.first;
	if (!GROW(p->stacks, p->n_stacks, &x->room_stacks))
		return -ENOMEM;
	p->stacks[p->n_stacks++] = st;
	return 0;
}

static int types_name(struct reading *x)
{
	struct profile *p = x->p;

	p->default_type = p->n_types - 1;
	for (size_t i = 0; i < p->n_types; i++) {
		if (x->type_strings[i][0] >= x->n_strings || x->type_strings[i][1] >= x->n_strings)
			return -EBADMSG;
		p->types[i].type = p->names[x->type_strings[i][0]];
		p->types[i].unit = p->names[x->type_strings[i][1]];
		if (x->default_string && x->default_string == x->type_strings[i][0])
			p->default_type = i;
	}
	return 0;
}

static int passes(struct reading *x)
{
	struct bytes b = x->all;
	struct field f;
	int r;

	while (!(r = field_next(&b, &f))) {
		r = tables_field(x, &f);
		if (r < 0)
			return r;
	}
	if (r < 0 || !x->p->n_types || x->n_strings >= UINT32_MAX / 2)
		return -EBADMSG;
	table_sort(&x->functions);
	table_sort(&x->locations);
	table_sort(&x->mappings);
	r = strings_copy(x, &x->p->names);
	if (r >= 0) {
		x->p->n_names = x->p->n_shared = x->n_strings;
		x->room_names = x->n_strings + 1;
		r = types_name(x);
	}
	if (r >= 0 && x->drop_string < x->n_strings)
		r = pprof_drop_init(&x->drop, x->p->names[x->drop_string], x->n_strings);
	for (b = x->all; r >= 0 && !(r = field_next(&b, &f));)
		if (f.wire == WIRE_BYTES && f.number == F_SAMPLE)
			r = sample_read(x, f.bytes);
	return r < 0 ? r : 0;
}

/* ---- the file ---- */

static int decompress(const void *data, size_t len, struct buf *out)
{
	z_stream z = {.next_in = (Bytef *)data, .avail_in = (uInt)len};
	int r = 0, e = inflateInit2(&z, 15 + 16) == Z_OK ? 0 : -ENOMEM;

	while (e >= 0 && r != Z_STREAM_END) {
		e = buf_reserve(out, min_u64(INFLATE_STEP, out->max - out->len));
		if (e < 0 || out->len == out->max) {
			e = e < 0 ? e : -E2BIG;
			break;
		}
		z.next_out = out->data + out->len;
		z.avail_out = (uInt)(out->cap - out->len);
		r = inflate(&z, Z_NO_FLUSH);
		out->len = out->cap - z.avail_out;
		if (r != Z_OK && r != Z_STREAM_END)
			e = -EBADMSG;
	}
	inflateEnd(&z);
	return e;
}

int profile_read(const void *data, size_t len, const char *what, struct profile *ret,
		 struct error *err)
{
	_cleanup_(buf_fini) struct buf plain = BUF_INIT_MAX(PROFILE_BYTES_MAX);
	struct reading x = {.p = ret};
	const uint8_t *d = data;
	int r = 0;

	*ret = (struct profile){0};
	x.all = (struct bytes){d, d + len};
	if (len > PROFILE_BYTES_MAX)
		r = -E2BIG;
	else if (len > 2 && d[0] == 0x1f && d[1] == 0x8b) {
		r = decompress(data, len, &plain);
		x.all = (struct bytes){plain.data, plain.data + plain.len};
	}
	if (r >= 0)
		r = passes(&x);
	free(x.strings);
	free(x.functions.v);
	free(x.locations.v);
	free(x.mappings.v);
	free(x.lines);
	pprof_drop_fini(&x.drop);
	if (r == -EBADMSG)
		return error_set(err, r, "%s is no profile, or damaged", what);
	if (r == -E2BIG)
		return error_set(err, r, "%s is larger than profiles are (%zu MiB)", what,
				 PROFILE_BYTES_MAX >> 20);
	return r < 0 ? error_set_errno(err, r, "%s", what) : 0;
}

void profile_fini(struct profile *p)
{
	for (size_t i = p->n_shared; i < p->n_names; i++)
		free((char *)p->names[i]);
	free(p->names);
	free(p->frames);
	free(p->stacks);
	free(p->text);
	*p = (struct profile){0};
}
