/* SPDX-License-Identifier: MIT */
#include "transfer/entry_text.h"

#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "base/base64.h"
#include "base/utf8.h"

int json_text_string(struct buf *out, const void *text, size_t n, bool *lossy)
{
	const uint8_t *s = text;
	int r = buf_append(out, "\"", 1);

	for (size_t i = 0, len; i < n && r >= 0; i += len) {
		size_t plain = i;

		while (plain < n && s[plain] >= 0x20 && s[plain] < 0x7f && s[plain] != '"' &&
		       s[plain] != '\\')
			plain++;
		len = plain - i;
		if (len) {
			r = buf_append(out, s + i, len);
			continue;
		}
		len = utf8_length(s + i, n - i);
		if (!len) {
			len = 1;
			*lossy = true;
			r = buf_append(out, "\xef\xbf\xbd", 3);
		} else if (s[i] == '"' || s[i] == '\\')
			r = buf_printf(out, "\\%c", s[i]);
		else if (s[i] < 0x20 || s[i] == 0x7f)
			r = buf_printf(out, "\\u%04x", s[i]);
		else
			r = buf_append(out, s + i, len);
	}
	return r < 0 ? r : buf_append(out, "\"", 1);
}

static const char *type_name(const struct tar_header *h)
{
	if (S_ISLNK(h->mode))
		return "symlink";
	if (h->link)
		return "hardlink";
	switch (h->mode & S_IFMT) {
	case S_IFDIR:
		return "dir";
	case S_IFCHR:
		return "char";
	case S_IFBLK:
		return "block";
	case S_IFIFO:
		return "fifo";
	default:
		return "reg";
	}
}

/* RFC 3339, with what there is of a fraction. It has four digits for the year: a time outside of
 * them is left out. */
static int mtime_text(struct buf *out, int64_t s, uint32_t ns)
{
	time_t t = s;
	char text[64];
	struct tm tm;
	size_t n;

	if (!gmtime_r(&t, &tm) || tm.tm_year < -1900 || tm.tm_year > 9999 - 1900)
		return 0;
	n = (size_t)snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900,
			     tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	if (ns) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, ".%09u", (unsigned)ns);
		while (text[n - 1] == '0')
			n--;
	}
	return buf_printf(out, ",\"modtime\":\"%.*sZ\"", (int)n, text);
}

static int xattrs_text(struct buf *out, const struct tar_header *h, bool *lossy)
{
	int r = 0;

	for (size_t i = 0; i < h->n_xattrs && r >= 0; i++) {
		const struct tar_xattr *x = &h->xattrs[i];

		r = buf_append_str(out, i ? "," : ",\"xattrs\":{");
		if (r >= 0)
			r = json_text_string(out, x->name, strlen(x->name), lossy);
		if (r >= 0)
			r = buf_append_str(out, ":\"");
		if (r >= 0)
			r = base64_encode(x->value, x->len, out);
		if (r >= 0)
			r = buf_append_str(out, "\"");
	}
	return r < 0 || !h->n_xattrs ? r : buf_append_str(out, "}");
}

int entry_text(struct buf *out, const struct tar_header *h, const void *name, size_t name_len,
	       bool *lossy)
{
	int r = buf_append_str(out, "\"name\":");

	if (r >= 0)
		r = json_text_string(out, name, name_len, lossy);
	if (r >= 0)
		r = buf_printf(out, ",\"type\":\"%s\"", type_name(h));
	if (r >= 0 && h->size)
		r = buf_printf(out, ",\"size\":%llu", (unsigned long long)h->size);
	if (r >= 0)
		r = mtime_text(out, h->mtime_s, h->mtime_ns);
	if (r >= 0 && h->link) {
		r = buf_append_str(out, ",\"linkName\":");
		if (r >= 0)
			r = json_text_string(out, h->link, strlen(h->link), lossy);
	}
	if (r >= 0)
		r = buf_printf(out, ",\"mode\":%u,\"uid\":%u,\"gid\":%u", h->mode & 07777, h->uid,
			       h->gid);
	if (r >= 0 && (h->rdev_major || h->rdev_minor) && !h->link)
		r = buf_printf(out, ",\"devMajor\":%u,\"devMinor\":%u", h->rdev_major,
			       h->rdev_minor);
	return r < 0 ? r : xattrs_text(out, h, lossy);
}
