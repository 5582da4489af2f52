/* SPDX-License-Identifier: MIT */
#include "image/path.h"

#include <errno.h>

#define WH ".wh."
#define WH_LEN 4

static int component_push(char *out, size_t *len, const char *p, size_t n, const char *name,
			  size_t name_len, struct error *err)
{
	int shown = (int)min_u64(name_len, 120);

	if (n > NAME_LEN_MAX)
		return error_set(err, -E2BIG,
				 "entry \"%.*s\": a name of %zu bytes, the limit is %u", shown,
				 name, n, NAME_LEN_MAX);
	if (*len + (*len > 0) + n > PATH_LEN_MAX)
		return error_set(err, -E2BIG, "entry \"%.*s...\": a path of more than %u bytes",
				 shown, name, PATH_LEN_MAX);
	if (*len)
		out[(*len)++] = '/';
	memcpy(out + *len, p, n);
	*len += n;
	return 0;
}

int path_clean(const void *name, size_t n, char *out, size_t *ret_len, struct error *err)
{
	const char *p = n ? name : "", *end = p + n; /* an empty name may be NULL */
	size_t len = 0;
	unsigned depth = 0;
	int r;

	if (memchr(p, 0, n))
		return error_set(err, -EBADMSG, "entry \"%.120s\": its name has a NUL byte", p);
	while (p < end) {
		const char *slash = memchr(p, '/', (size_t)(end - p));
		size_t c = (size_t)((slash ? slash : end) - p);

		if (c == 2 && p[0] == '.' && p[1] == '.') {
			if (!depth)
				return error_set(err, -EBADMSG,
						 "entry \"%.*s\": its name climbs out of the image",
						 (int)min_u64(n, 120), (const char *)name);
			while (len && out[len - 1] != '/')
				len--;
			len -= len > 0;
			depth--;
		} else if (c && !(c == 1 && p[0] == '.')) {
			if (++depth > PATH_DEPTH_MAX)
				return error_set(err, -E2BIG,
						 "entry \"%.*s...\": deeper than %u directories",
						 (int)min_u64(n, 120), (const char *)name,
						 PATH_DEPTH_MAX);
			r = component_push(out, &len, p, c, name, n, err);
			if (r < 0)
				return r;
		}
		p += c + 1;
	}
	out[len] = 0;
	*ret_len = len;
	return 0;
}

static bool has_plumbing(const char *path, size_t len)
{
	for (size_t start = 0; start < len;) {
		const char *slash = memchr(path + start, '/', len - start);
		size_t c = slash ? (size_t)(slash - path) - start : len - start;

		if (c >= 8 && !memcmp(path + start, ".wh..wh.", 8) &&
		    !(c == 12 && !memcmp(path + start + 8, ".opq", 4)))
			return true;
		start += c + 1;
	}
	return false;
}

int path_classify(char *path, size_t *len, enum path_kind *ret, struct error *err)
{
	const char *slash = memrchr(path, '/', *len);
	size_t dir = slash ? (size_t)(slash - path) : 0, base = slash ? dir + 1 : 0,
	       n = *len - base;
	const char *rest = path + base + WH_LEN;

	*ret = PATH_PLAIN;
	if (n == 12 && !memcmp(path + base, ".wh..wh..opq", 12)) {
		*ret = PATH_OPAQUE;
		*len = dir;
		path[dir] = 0;
		return 0;
	}
	if (has_plumbing(path, *len)) {
		*ret = PATH_PLUMBING;
		return 0;
	}
	if (n < WH_LEN || memcmp(path + base, WH, WH_LEN))
		return 0;
	n -= WH_LEN;
	if (!n || (n == 1 && rest[0] == '.') || (n == 2 && !memcmp(rest, "..", 2)))
		return error_set(err, -EBADMSG, "entry \"%.120s\": a whiteout of nothing", path);
	*ret = PATH_WHITEOUT;
	memmove(path + base, rest, n + 1);
	*len = base + n;
	return 0;
}

const char *path_below(const char *path, const char *prefix)
{
	size_t n = strlen(prefix);

	if (!n)
		return path;
	if (strncmp(path, prefix, n) || (path[n] && path[n] != '/'))
		return NULL;
	return path + n + (path[n] == '/');
}
