/* SPDX-License-Identifier: MIT */
#include "cache/ref_record.h"

#include <errno.h>
#include <isa-l/crc64.h>
#include <stdio.h>

#define HEAD "morsel ref 1\n"

static bool name_is_text(const char *name, size_t len)
{
	if (!len || len > REF_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
			return false;
	return true;
}

int ref_record_format(const char *name, const struct cache_ref *ref, struct buf *ret)
{
	char digest[DIGEST_TEXT_MAX];
	int r;

	if (!name_is_text(name, strlen(name)))
		return -EINVAL;
	digest_format(&ref->digest, digest);
	r = buf_printf(ret, HEAD "name %s\ndigest %s\nconfirmed %lld\n", name, digest,
		       (long long)ref->confirmed_s);
	if (r >= 0)
		r = buf_printf(ret, "sum %016llx\n",
			       (unsigned long long)crc64_ecma_refl(0, ret->data, ret->len));
	return r;
}

/* The rest of a line that begins with key; moves *p behind the line. */
static bool line_take(const char **p, const char *end, const char *key, const char **ret,
		      size_t *ret_len)
{
	size_t key_len = strlen(key);
	const char *nl;

	if ((size_t)(end - *p) < key_len || memcmp(*p, key, key_len))
		return false;
	*ret = *p + key_len;
	nl = memchr(*ret, '\n', (size_t)(end - *ret));
	if (!nl)
		return false;
	*ret_len = (size_t)(nl - *ret);
	*p = nl + 1;
	return true;
}

static bool seconds_parse(const char *s, size_t len, int64_t *ret)
{
	char text[24], *end;

	if (!len || len >= sizeof(text))
		return false;
	memcpy(text, s, len);
	text[len] = 0;
	if (strspn(text + (*text == '-'), "0123456789") + (*text == '-') != len)
		return false;
	errno = 0;
	*ret = strtoll(text, &end, 10);
	return !errno && end != text && !*end;
}

int ref_record_parse(const char *text, size_t len, char **ret_name, struct cache_ref *ret)
{
	const char *p = text, *end = text + len, *v, *name;
	size_t v_len, name_len;
	struct cache_ref ref;
	char sum[17];

	if (!line_take(&p, end, "morsel ref 1", &v, &v_len) || v_len ||
	    !line_take(&p, end, "name ", &name, &name_len) || !name_is_text(name, name_len) ||
	    !line_take(&p, end, "digest ", &v, &v_len) ||
	    digest_parse_n(v, v_len, &ref.digest, NULL) < 0 ||
	    !line_take(&p, end, "confirmed ", &v, &v_len) ||
	    !seconds_parse(v, v_len, &ref.confirmed_s))
		return -EBADMSG;
	snprintf(sum, sizeof(sum), "%016llx",
		 (unsigned long long)crc64_ecma_refl(0, (const unsigned char *)text,
						     (uint64_t)(p - text)));
	if (!line_take(&p, end, "sum ", &v, &v_len) || v_len != 16 || memcmp(v, sum, 16) ||
	    p != end)
		return -EBADMSG;
	if (ret_name && !(*ret_name = strndup(name, name_len)))
		return -ENOMEM;
	*ret = ref;
	return 0;
}
