/* SPDX-License-Identifier: MIT */
#include "registry/archive_index.h"

#include <errno.h>

#define BLOCK 512u
#define PAX_MAX (1u << 20) /* bytes of one pax header */
#define LINKS_MAX 10

/* What stands in front of a member and speaks of it. */
struct pending {
	char *name, *link; /* owned, NULL = not said */
	bool has_size;
	uint64_t size;
};

struct walk {
	const struct archive_input *in;
	struct archive_index *ix;
	struct pending next;
	uint64_t pos;
	struct error *err;
};

static int damaged(struct walk *w, const char *why)
{
	return error_set(w->err, -EBADMSG, "the archive is damaged at byte %llu: %s",
			 (unsigned long long)w->pos, why);
}

static void pending_fini(struct pending *p)
{
	free(p->name);
	free(p->link);
	*p = (struct pending){0};
}

/* ---- fields ---- */

/* Octal with blanks around it, or base-256. An empty field is 0. */
static bool number_parse(const uint8_t *p, size_t n, uint64_t *ret)
{
	uint64_t v = 0;
	size_t i = 0;

	if (p[0] & 0x80) {
		if (p[0] != 0x80) /* negative, or above 2^63 */
			return false;
		for (i = 1; i < n; i++) {
			if (v >> 55)
				return false;
			v = v << 8 | p[i];
		}
		*ret = v;
		return true;
	}
	while (i < n && p[i] == ' ')
		i++;
	for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
		v = v << 3 | (uint64_t)(p[i] - '0'); /* 12 digits at most */
	for (; i < n; i++)
		if (p[i] != ' ' && p[i])
			return false;
	*ret = v;
	return true;
}

static bool checksum_ok(const uint8_t *h)
{
	uint64_t want, sum = 0;

	for (size_t i = 0; i < BLOCK; i++)
		sum += i >= 148 && i < 156 ? ' ' : h[i];
	return number_parse(h + 148, 8, &want) && want == sum;
}

/* Removes ".", empty components and "x/.."; false: it climbs above the root. In place. */
static bool name_clean(char *name)
{
	char *out = name;

	for (const char *p = name;;) {
		size_t n;

		p += strspn(p, "/");
		n = strcspn(p, "/");
		if (!n)
			break;
		if (n == 2 && p[0] == '.' && p[1] == '.') {
			if (out == name)
				return false;
			do
				out--;
			while (out > name && *out != '/');
		} else if (n != 1 || p[0] != '.') {
			if (out > name)
				*out++ = '/';
			memmove(out, p, n);
			out += n;
		}
		p += n;
	}
	*out = 0;
	return true;
}

static char *field_dup(const uint8_t *p, size_t n)
{
	return strndup((const char *)p, n);
}

static char *header_name(const uint8_t *h)
{
	char *name;

	if (!memcmp(h + 257, "ustar\0", 6) && h[345]) {
		size_t a = strnlen((const char *)h + 345, 155), b = strnlen((const char *)h, 100);

		name = malloc(a + b + 2);
		if (!name)
			return NULL;
		memcpy(name, h + 345, a);
		name[a] = '/';
		memcpy(name + a + 1, h, b);
		name[a + 1 + b] = 0;
		return name;
	}
	return field_dup(h, 100);
}

/* ---- headers that speak of the next member ---- */

static int text_replace(char **at, const char *p, size_t n)
{
	if (n > ARCHIVE_NAME_MAX || memchr(p, 0, n))
		return -EBADMSG;
	free(*at);
	*at = strndup(p, n);
	return *at ? 0 : -ENOMEM;
}

static int pax_record(struct walk *w, const char *key, size_t key_len, const char *value, size_t n)
{
	if (key_len == 4 && !memcmp(key, "path", 4))
		return text_replace(&w->next.name, value, n);
	if (key_len == 8 && !memcmp(key, "linkpath", 8))
		return text_replace(&w->next.link, value, n);
	if (key_len != 4 || memcmp(key, "size", 4))
		return 0;
	w->next.size = 0;
	if (!n || n > 18)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++) {
		if (value[i] < '0' || value[i] > '9')
			return -EBADMSG;
		w->next.size = w->next.size * 10 + (uint64_t)(value[i] - '0');
	}
	w->next.has_size = true;
	return 0;
}

/* "LENGTH key=value\n" ... */
static int pax_parse(struct walk *w, const char *p, size_t n)
{
	const char *end = p + n;

	while (p < end && *p) {
		const char *s = p, *eq;
		size_t len = 0;
		int r;

		while (s < end && *s >= '0' && *s <= '9' && len <= PAX_MAX)
			len = len * 10 + (size_t)(*s++ - '0');
		if (s == p || s == end || *s != ' ' || len > (size_t)(end - p) ||
		    len < (size_t)(s - p) + 2 || p[len - 1] != '\n')
			return -EBADMSG;
		s++;
		eq = memchr(s, '=', (size_t)(p + len - s));
		if (!eq)
			return -EBADMSG;
		r = pax_record(w, s, (size_t)(eq - s), eq + 1, (size_t)(p + len - 1 - (eq + 1)));
		if (r < 0)
			return r;
		p += len;
	}
	return 0;
}

static int extension_read(struct walk *w, char type, uint64_t size)
{
	_cleanup_(freep) char *body = NULL;
	int r;

	if (size > PAX_MAX)
		return damaged(w, "an extended header is too long");
	body = malloc(size + 1);
	if (!body)
		return -ENOMEM;
	r = w->in->read(w->in->userdata, w->pos + BLOCK, body, size);
	if (r < 0)
		return error_set_errno(w->err, r, "can't read the archive");
	body[size] = 0;
	if (type == 'x')
		r = pax_parse(w, body, size);
	else
		r = text_replace(type == 'L' ? &w->next.name : &w->next.link, body, strlen(body));
	return r == -EBADMSG ? damaged(w, "an extended header makes no sense") : r;
}

/* ---- members ---- */

static enum member_kind kind_of(char type)
{
	switch (type) {
	case '0':
	case 0:
	case '7':
		return MEMBER_FILE;
	case '1':
		return MEMBER_HARDLINK;
	case '2':
		return MEMBER_SYMLINK;
	default:
		return MEMBER_OTHER;
	}
}

static int member_add(struct walk *w, const uint8_t *h, uint64_t size)
{
	struct archive_index *ix = w->ix;
	struct archive_member m = {
		.kind = kind_of((char)h[156]), .off = w->pos + BLOCK, .size = size};

	if (ix->n >= ARCHIVE_MEMBERS_MAX)
		return error_set(w->err, -E2BIG, "the archive has more than %u members",
				 ARCHIVE_MEMBERS_MAX);
	if (ix->n == ix->cap) {
		size_t cap = ix->cap ? 2 * ix->cap : 64;
		struct archive_member *more = reallocarray(ix->members, cap, sizeof(*more));

		if (!more)
			return -ENOMEM;
		ix->members = more;
		ix->cap = cap;
	}
	m.name = w->next.name ? steal_ptr(w->next.name) : header_name(h);
	if (m.kind == MEMBER_HARDLINK || m.kind == MEMBER_SYMLINK)
		m.link = w->next.link ? steal_ptr(w->next.link) : field_dup(h + 157, 100);
	ix->members[ix->n++] = m; /* owned there from here on, also when it is refused */
	if (!m.name || ((m.kind == MEMBER_HARDLINK || m.kind == MEMBER_SYMLINK) && !m.link))
		return -ENOMEM;
	if (!name_clean(m.name))
		return damaged(w, "a member's name climbs out of the archive");
	return 0;
}

/* The header at pos; moves pos behind its data. */
static int header_take(struct walk *w, const uint8_t *h)
{
	char type = (char)h[156];
	bool extension = type == 'x' || type == 'L' || type == 'K';
	uint64_t size, stored;
	int r;

	if (!checksum_ok(h))
		return w->pos ? damaged(w, "a header's checksum is wrong")
			      : error_set(w->err, -EBADMSG, "it is not a tar archive");
	if (!number_parse(h + 124, 12, &size))
		return damaged(w, "a member's size is not a number");
	if (!extension && w->next.has_size)
		size = w->next.size;
	if (type >= '1' && type <= '6')
		size = 0; /* links, devices, directories: headers only, whatever they say */
	if (size > w->in->size - w->pos - BLOCK)
		return error_set(w->err, -EBADMSG,
				 "the archive is truncated: a member of %llu bytes begins at %llu, "
				 "the file ends at %llu",
				 (unsigned long long)size, (unsigned long long)(w->pos + BLOCK),
				 (unsigned long long)w->in->size);
	if (extension)
		r = extension_read(w, type, size);
	else if (type == 'g')
		r = 0;
	else {
		r = member_add(w, h, size);
		pending_fini(&w->next);
	}
	stored = (size + BLOCK - 1) / BLOCK * BLOCK;
	w->pos += BLOCK + min_u64(stored, w->in->size - w->pos - BLOCK);
	return r;
}

static bool is_zero(const uint8_t *h)
{
	return !h[0] && !memcmp(h, h + 1, BLOCK - 1);
}

int archive_index_read(const struct archive_input *in, struct archive_index *ret, struct error *err)
{
	struct walk w = {.in = in, .ix = ret, .err = err};
	uint8_t h[BLOCK];
	bool ended = false;
	int r = 0;

	if (in->size < BLOCK)
		return error_set(err, -EBADMSG, "it is not a tar archive");
	while (r >= 0 && !ended && in->size - w.pos >= BLOCK) {
		r = in->read(in->userdata, w.pos, h, BLOCK);
		if (r < 0)
			error_set_errno(err, r, "can't read the archive");
		else if (is_zero(h))
			ended = true;
		else
			r = header_take(&w, h);
	}
	if (r >= 0 && !ended && w.pos < in->size)
		r = error_set(err, -EBADMSG, "the archive is truncated: it ends within a header");
	if (r >= 0 && (w.next.name || w.next.link || w.next.has_size))
		r = damaged(&w, "it ends behind an extended header");
	pending_fini(&w.next);
	return r;
}

void archive_index_fini(struct archive_index *ix)
{
	for (size_t i = 0; i < ix->n; i++) {
		free(ix->members[i].name);
		free(ix->members[i].link);
	}
	free(ix->members);
	*ix = (struct archive_index){0};
}

/* ---- looking up ---- */

/* Where a link leads, as a clean name; NULL: out of the archive, or no memory. */
static char *link_target(const struct archive_member *m)
{
	const char *slash = m->kind == MEMBER_SYMLINK ? strrchr(m->name, '/') : NULL;
	size_t dir = slash ? (size_t)(slash + 1 - m->name) : 0, n = strlen(m->link);
	char *target;

	if (m->link[0] == '/' || !(target = malloc(dir + n + 1)))
		return NULL;
	memcpy(target, m->name, dir);
	memcpy(target + dir, m->link, n + 1);
	if (name_clean(target))
		return target;
	free(target);
	return NULL;
}

static const struct archive_member *last_named(const struct archive_index *ix, const char *name)
{
	for (size_t i = ix->n; i-- > 0;)
		if (!strcmp(ix->members[i].name, name))
			return &ix->members[i];
	return NULL;
}

int archive_index_find(const struct archive_index *ix, const char *name,
		       const struct archive_member **ret)
{
	_cleanup_(freep) char *own = strdup(name);

	if (!own)
		return -ENOMEM;
	if (!name_clean(own))
		return -EINVAL;
	name = own;
	for (int links = 0; links <= LINKS_MAX; links++) {
		const struct archive_member *m = last_named(ix, name);

		if (!m)
			return -ENOENT;
		if (m->kind == MEMBER_FILE) {
			*ret = m;
			return 0;
		}
		if (m->kind == MEMBER_OTHER)
			return -EINVAL;
		free(own);
		name = own = link_target(m);
		if (!own)
			return -EINVAL;
	}
	return -ELOOP;
}
