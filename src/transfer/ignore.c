/* SPDX-License-Identifier: MIT */
/*
 * A pattern is compiled to a string of small operations. Matching keeps the set of operations that
 * may come next, as one bit each, so that no pattern makes it slow. The grammar is what moby's
 * patternmatcher makes of it, also where that is odd: in "a**b" the stars match nothing, or
 * anything that ends in "/".
 */
#include "transfer/ignore.h"

#include <errno.h>
#include <stdio.h>

#include "base/buf.h"

#define PATTERNS_MAX 10000u
#define PATTERN_LEN_MAX 4096u

enum op_kind {
	OP_BYTE,
	OP_ANY_BYTE, /* "?" */
	OP_ANY_NAME, /* "*": any bytes but "/" */
	OP_ANY_DIRS, /* "**" before more: nothing, or anything that ends in "/" */
	OP_ANY_PATH, /* "**" at the end: anything */
	OP_CLASS,
};

struct op {
	enum op_kind kind;
	uint8_t byte;
	uint8_t set[32]; /* OP_CLASS: one bit a byte */
};

struct pattern {
	struct op *ops; /* owned */
	size_t n_ops;
	char *literal; /* owned: what a path must begin with */
	bool take_back;
};

struct ignore_list {
	struct pattern *patterns;
	size_t n, cap;
};

/* ---- compiling ---- */

static int class_parse(const char *p, size_t n, size_t *at, struct op *op)
{
	size_t i = *at + 1;
	bool negate = i < n && p[i] == '^', any = false;

	*op = (struct op){.kind = OP_CLASS};
	for (i += negate; i < n && (p[i] != ']' || !any); i++) {
		unsigned from, to;

		if (p[i] == '\\' && ++i == n)
			return -EBADMSG;
		from = to = (uint8_t)p[i];
		if (i + 2 < n && p[i + 1] == '-' && p[i + 2] != ']') {
			i += 2;
			if (p[i] == '\\' && ++i == n)
				return -EBADMSG;
			to = (uint8_t)p[i];
		}
		if (from > to)
			return -EBADMSG;
		for (unsigned c = from; c <= to; c++)
			op->set[c / 8] |= (uint8_t)(1u << c % 8);
		any = true;
	}
	if (i >= n)
		return -EBADMSG;
	if (negate)
		for (size_t k = 0; k < sizeof(op->set); k++)
			op->set[k] = (uint8_t)~op->set[k];
	*at = i;
	return 0;
}

static int star_parse(const char *p, size_t n, size_t *at, struct op *op)
{
	size_t i = *at;

	*op = (struct op){.kind = OP_ANY_NAME};
	if (i + 1 >= n || p[i + 1] != '*')
		return 0;
	i++;
	if (i + 1 < n && p[i + 1] == '/')
		i++;
	op->kind = i + 1 == n ? OP_ANY_PATH : OP_ANY_DIRS;
	*at = i;
	return 0;
}

static int op_parse(const char *p, size_t n, size_t *at, struct op *op)
{
	switch (p[*at]) {
	case '*':
		return star_parse(p, n, at, op);
	case '?':
		*op = (struct op){.kind = OP_ANY_BYTE};
		return 0;
	case '[':
		return class_parse(p, n, at, op);
	case '\\':
		if (++*at == n)
			return -EBADMSG;
		/* fall through */
	default:
		*op = (struct op){.kind = OP_BYTE, .byte = (uint8_t)p[*at]};
		return 0;
	}
}

static int pattern_compile(const char *p, size_t n, struct pattern *ret)
{
	_cleanup_(freep) struct op *ops = malloc(n * sizeof(*ops));
	_cleanup_(freep) char *literal = calloc(1, n + 1);
	size_t n_ops = 0, n_literal = 0;

	if (!ops || !literal)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		int r = op_parse(p, n, &i, &ops[n_ops]);

		if (r < 0)
			return r;
		if (ops[n_ops].kind == OP_BYTE && n_literal == n_ops)
			literal[n_literal++] = (char)ops[n_ops].byte;
		n_ops++;
	}
	*ret = (struct pattern){
		.ops = steal_ptr(ops), .n_ops = n_ops, .literal = steal_ptr(literal)};
	return 0;
}

/* As Go's filepath.Clean, and without the leading "/": patterns are relative to the root. */
static size_t clean(char *p, size_t n)
{
	size_t out = 0, i = 0;

	while (i < n) {
		size_t start = i, len;

		while (i < n && p[i] != '/')
			i++;
		len = i++ - start;
		if (!len || (len == 1 && p[start] == '.'))
			continue;
		if (len == 2 && !memcmp(p + start, "..", 2)) {
			while (out && p[--out] != '/')
				;
			continue;
		}
		if (out)
			p[out++] = '/';
		memmove(p + out, p + start, len);
		out += len;
	}
	return out;
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void trim(const char **p, size_t *n)
{
	while (*n && is_space(**p)) {
		(*p)++;
		(*n)--;
	}
	while (*n && is_space((*p)[*n - 1]))
		(*n)--;
}

static int pattern_append(struct ignore_list *l, const struct pattern *p)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 16;
		struct pattern *more = reallocarray(l->patterns, cap, sizeof(*more));

		if (!more)
			return -ENOMEM;
		l->patterns = more;
		l->cap = cap;
	}
	l->patterns[l->n++] = *p;
	return 0;
}

int ignore_add_pattern(struct ignore_list *l, const char *text, size_t n, const char *where,
		       struct error *err)
{
	_cleanup_(freep) char *copy = NULL;
	const char *p = text;
	struct pattern made;
	bool take_back;
	size_t len = n;
	int r;

	trim(&p, &len);
	take_back = len && *p == '!';
	if (take_back) {
		p++;
		len--;
		trim(&p, &len);
	}
	if (len > PATTERN_LEN_MAX || l->n >= PATTERNS_MAX)
		return error_set(err, -E2BIG,
				 "%s: more than %u patterns, or one of more than %u bytes", where,
				 PATTERNS_MAX, PATTERN_LEN_MAX);
	copy = malloc(len + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, p, len);
	len = clean(copy, len);
	if (!len)
		return take_back ? error_set(err, -EINVAL, "%s: \"!\" without a pattern", where)
				 : 0;
	r = pattern_compile(copy, len, &made);
	if (r == -EBADMSG)
		return error_set(err, -EINVAL,
				 "%s: \"%.*s\" is not a pattern: a \"[\" or \"\\\" is not ended",
				 where, (int)min_u64(n, 120), text);
	if (r < 0)
		return r;
	made.take_back = take_back;
	r = pattern_append(l, &made);
	if (r < 0) {
		free(made.ops);
		free(made.literal);
	}
	return r;
}

int ignore_add_text(struct ignore_list *l, const char *text, size_t n, const char *name,
		    struct error *err)
{
	unsigned line = 1;

	if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
		text += 3;
		n -= 3;
	}
	for (; n; line++) {
		const char *end = memchr(text, '\n', n);
		size_t len = end ? (size_t)(end - text) : n;
		char where[320];
		int r;

		snprintf(where, sizeof(where), "%.300s:%u", name, line);
		r = len && *text == '#' ? 0 : ignore_add_pattern(l, text, len, where, err);
		if (r < 0)
			return r;
		len += end ? 1 : 0;
		text += len;
		n -= len;
	}
	return 0;
}

/* ---- matching ---- */

#define BITS 64u

struct states {
	uint64_t words[PATTERN_LEN_MAX / BITS + 1];
};

static bool state_get(const struct states *s, size_t i)
{
	return s->words[i / BITS] >> i % BITS & 1;
}

static bool may_be_empty(const struct op *op)
{
	return op->kind == OP_ANY_NAME || op->kind == OP_ANY_DIRS || op->kind == OP_ANY_PATH;
}

/* Operation i may come next, and those behind it if it may match nothing. */
static void state_enter(const struct pattern *p, struct states *s, size_t i)
{
	do
		s->words[i / BITS] |= UINT64_C(1) << i % BITS;
	while (i < p->n_ops && may_be_empty(&p->ops[i++]));
}

static void op_step(const struct pattern *p, size_t i, uint8_t c, struct states *to)
{
	const struct op *op = &p->ops[i];

	switch (op->kind) {
	case OP_ANY_PATH:
		state_enter(p, to, i);
		return;
	case OP_ANY_NAME:
		if (c != '/')
			state_enter(p, to, i);
		return;
	case OP_ANY_DIRS: /* left only behind a "/" */
		to->words[i / BITS] |= UINT64_C(1) << i % BITS;
		if (c == '/')
			state_enter(p, to, i + 1);
		return;
	case OP_BYTE:
		if (c == op->byte)
			state_enter(p, to, i + 1);
		return;
	case OP_ANY_BYTE:
		if (c != '/')
			state_enter(p, to, i + 1);
		return;
	case OP_CLASS:
		if (op->set[c / 8] >> c % 8 & 1)
			state_enter(p, to, i + 1);
		return;
	}
}

/* The path, or a directory that it is in. */
static bool pattern_matches(const struct pattern *p, const char *path)
{
	size_t words = p->n_ops / BITS + 1;
	struct states now, next;

	if (strncmp(path, p->literal, strlen(p->literal)))
		return false;
	memset(now.words, 0, words * sizeof(now.words[0]));
	state_enter(p, &now, 0);
	for (; *path; path++) {
		bool alive = false;

		if (*path == '/' && state_get(&now, p->n_ops))
			return true;
		memset(next.words, 0, words * sizeof(next.words[0]));
		for (size_t i = 0; i < p->n_ops; i++)
			if (state_get(&now, i))
				op_step(p, i, (uint8_t)*path, &next);
		for (size_t i = 0; i < words; i++)
			alive |= next.words[i] != 0;
		if (!alive)
			return false;
		memcpy(now.words, next.words, words * sizeof(now.words[0]));
	}
	return state_get(&now, p->n_ops);
}

bool ignore_matches(const struct ignore_list *l, const char *path)
{
	bool ignored = false;

	for (size_t i = 0; i < l->n; i++)
		if (ignored == l->patterns[i].take_back && pattern_matches(&l->patterns[i], path))
			ignored = !ignored;
	return ignored;
}

bool ignore_may_take_back(const struct ignore_list *l, const char *dir)
{
	size_t n = strlen(dir);

	for (size_t i = 0; i < l->n; i++) {
		const char *literal = l->patterns[i].literal;

		if (l->patterns[i].take_back && !strncmp(dir, literal, min_u64(n, strlen(literal))))
			return true;
	}
	return false;
}

int ignore_new(struct ignore_list **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

void ignore_free(struct ignore_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->patterns[i].ops);
		free(l->patterns[i].literal);
	}
	free(l->patterns);
	free(l);
}
