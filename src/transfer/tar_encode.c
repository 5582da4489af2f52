/* SPDX-License-Identifier: MIT */
#include "transfer/tar_encode.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define NAME_BYTES 100u
#define PREFIX_BYTES 155u
#define OCTAL7_MAX 07777777u
#define OCTAL11_MAX UINT64_C(077777777777)

static const uint8_t zeros[TAR_BLOCK_BYTES];

static int pad(struct buf *out, size_t n)
{
	size_t rest = (size_t)(-(uint64_t)n & (TAR_BLOCK_BYTES - 1));

	return rest ? buf_append(out, zeros, rest) : 0;
}

static void octal(uint8_t *field, size_t n, uint64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "%0*llo", (int)n - 1, (unsigned long long)v);
	memcpy(field, text, n); /* with the NUL */
}

static char type_flag(const struct tar_header *h)
{
	switch (h->mode & S_IFMT) {
	case S_IFLNK:
		return '2';
	case S_IFCHR:
		return h->link ? '1' : '3';
	case S_IFBLK:
		return h->link ? '1' : '4';
	case S_IFDIR:
		return '5';
	case S_IFIFO:
		return h->link ? '1' : '6';
	default:
		return h->link ? '1' : '0';
	}
}

int tar_header_name(const struct tar_header *h, struct buf *out)
{
	int r = buf_append_str(out, *h->path ? h->path : ".");

	if (r >= 0 && S_ISDIR(h->mode))
		r = buf_append_str(out, "/");
	return r;
}

/* Where the prefix of a long name ends, so that both parts fit; 0 = it does not. */
static size_t prefix_len(const char *name, size_t n)
{
	for (size_t i = min_u64(PREFIX_BYTES, n - 2); i; i--)
		if (name[i] == '/')
			return n - i - 1 <= NAME_BYTES ? i : 0;
	return 0;
}

static bool name_put(uint8_t *block, const char *name, size_t n)
{
	size_t prefix = n <= NAME_BYTES ? 0 : prefix_len(name, n);

	if (prefix) {
		memcpy(block + 345, name, prefix);
		memcpy(block, name + prefix + 1, n - prefix - 1);
	} else
		memcpy(block, name, min_u64(n, NAME_BYTES));
	return prefix || n <= NAME_BYTES;
}

static void block_finish(uint8_t *block, char type)
{
	unsigned sum = 0;

	block[156] = (uint8_t)type;
	memcpy(block + 257, "ustar\00000", 8);
	memset(block + 148, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK_BYTES; i++)
		sum += block[i];
	octal(block + 148, 7, sum);
}

/* ---- pax records ---- */

/* "<length> <key>=<value>\n"; the length counts its own digits. */
static int record(struct buf *out, const char *prefix, const char *key, const void *value, size_t n)
{
	size_t rest = strlen(prefix) + strlen(key) + n + 3, len = rest + 1;
	int r;

	while (rest + (size_t)snprintf(NULL, 0, "%zu", len) != len)
		len++;
	r = buf_printf(out, "%zu %s%s=", len, prefix, key);
	if (r >= 0)
		r = buf_append(out, value, n);
	return r < 0 ? r : buf_append(out, "\n", 1);
}

static int record_number(struct buf *out, const char *key, uint64_t v)
{
	char text[24];

	return record(out, "", key, text,
		      (size_t)snprintf(text, sizeof(text), "%llu", (unsigned long long)v));
}

/* Seconds with as many digits as there are; before 1970 the fraction counts down. */
static int record_mtime(struct buf *out, int64_t s, uint32_t ns)
{
	bool negative = s < 0;
	uint64_t whole = negative ? -(uint64_t)s : (uint64_t)s;
	char text[48];
	int n;

	if (negative && ns) {
		whole--;
		ns = 1000000000 - ns;
	}
	n = snprintf(text, sizeof(text), "%s%llu", negative ? "-" : "", (unsigned long long)whole);
	if (ns) {
		n += snprintf(text + n, sizeof(text) - (size_t)n, ".%09u", (unsigned)ns);
		while (text[n - 1] == '0')
			n--;
	}
	return record(out, "", "mtime", text, (size_t)n);
}

static bool mtime_fits(const struct tar_header *h)
{
	return !h->mtime_ns && h->mtime_s >= 0 && (uint64_t)h->mtime_s <= OCTAL11_MAX;
}

/* In the order of their keys, as Go's writer has them. */
static int records(const struct tar_header *h, const char *long_name, size_t name_len,
		   struct buf *out)
{
	int r = 0;

	for (size_t i = 0; i < h->n_xattrs && r >= 0; i++)
		r = record(out, "SCHILY.xattr.", h->xattrs[i].name, h->xattrs[i].value,
			   h->xattrs[i].len);
	if (r >= 0 && h->gid > OCTAL7_MAX)
		r = record_number(out, "gid", h->gid);
	if (r >= 0 && h->link && strlen(h->link) > NAME_BYTES)
		r = record(out, "", "linkpath", h->link, strlen(h->link));
	if (r >= 0 && !mtime_fits(h))
		r = record_mtime(out, h->mtime_s, h->mtime_ns);
	if (r >= 0 && long_name)
		r = record(out, "", "path", long_name, name_len);
	if (r >= 0 && h->size > OCTAL11_MAX)
		r = record_number(out, "size", h->size);
	if (r >= 0 && h->uid > OCTAL7_MAX)
		r = record_number(out, "uid", h->uid);
	return r;
}

static int pax_header(const struct buf *body, const char *name, struct buf *out)
{
	uint8_t block[TAR_BLOCK_BYTES] = {0};
	const char *base = strrchr(name, '/');
	char own[NAME_BYTES + 1];
	int r;

	snprintf(own, sizeof(own), "PaxHeaders.0/%s", base && base[1] ? base + 1 : name);
	memcpy(block, own, strlen(own));
	octal(block + 100, 8, 0644);
	octal(block + 108, 8, 0);
	octal(block + 116, 8, 0);
	octal(block + 124, 12, body->len);
	octal(block + 136, 12, 0);
	block_finish(block, 'x');
	r = buf_append(out, block, sizeof(block));
	if (r >= 0)
		r = buf_append(out, body->data, body->len);
	return r < 0 ? r : pad(out, body->len);
}

int tar_header_encode(const struct tar_header *h, struct buf *out)
{
	_cleanup_(buf_fini) struct buf name = BUF_INIT, pax = BUF_INIT;
	uint8_t block[TAR_BLOCK_BYTES] = {0};
	bool fits, device = S_ISCHR(h->mode) || S_ISBLK(h->mode);
	int r = tar_header_name(h, &name);

	if (r < 0)
		return r;
	fits = name_put(block, (const char *)name.data, name.len);
	octal(block + 100, 8, h->mode & 07777);
	octal(block + 108, 8, h->uid > OCTAL7_MAX ? 0 : h->uid);
	octal(block + 116, 8, h->gid > OCTAL7_MAX ? 0 : h->gid);
	octal(block + 124, 12, h->size > OCTAL11_MAX ? 0 : h->size);
	octal(block + 136, 12, h->mtime_s < 0 ? 0 : min_u64((uint64_t)h->mtime_s, OCTAL11_MAX));
	if (h->link)
		memcpy(block + 157, h->link, min_u64(strlen(h->link), NAME_BYTES));
	if (device && !h->link) {
		octal(block + 329, 8, h->rdev_major);
		octal(block + 337, 8, h->rdev_minor);
	}
	block_finish(block, type_flag(h));
	r = records(h, fits ? NULL : (const char *)name.data, name.len, &pax);
	if (r >= 0 && pax.len)
		r = pax_header(&pax, h->path, out);
	return r < 0 ? r : buf_append(out, block, sizeof(block));
}
