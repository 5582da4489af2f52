/* SPDX-License-Identifier: MIT */
#include "registry/ref.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#define REF_TEXT_MAX 8192 /* bytes; a layout's directory may be a long path */
#define REF_NAME_MAX 255  /* bytes of host/path */
#define REF_TAG_MAX 128

static int bad(struct error *err, const char *text, const char *why)
{
	return error_set(err, -EINVAL, "image reference \"%s\": %s", text, why);
}

static bool is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

/* One of ".", "_", "__" or any number of "-": its length, 0 = something else. */
static size_t separator_len(const char *s, size_t n)
{
	size_t dashes = 0;

	if (s[0] == '.')
		return 1;
	if (s[0] == '_')
		return n > 1 && s[1] == '_' ? 2 : 1;
	while (dashes < n && s[dashes] == '-')
		dashes++;
	return dashes;
}

/* [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* */
static bool component_ok(const char *s, size_t n)
{
	size_t i = 0;

	while (i < n) {
		size_t word = i, sep;

		while (i < n && is_lower_alnum(s[i]))
			i++;
		if (i == word)
			return false;
		if (i == n)
			return true;
		sep = separator_len(s + i, n - i);
		if (!sep)
			return false;
		i += sep;
	}
	return false;
}

static const char *path_problem(const char *path)
{
	bool upper = false;

	for (const char *s = path, *end;; s = end + 1) {
		end = strchrnul(s, '/');
		for (const char *c = s; c < end; c++)
			upper = upper || (*c >= 'A' && *c <= 'Z');
		if (upper)
			return "a repository is written in lower case";
		if (!component_ok(s, (size_t)(end - s)))
			return "not a repository name (words of a-z and 0-9, joined by one '.', "
			       "'_', '__', '-' or '/')";
		if (!*end)
			return NULL;
	}
}

/* Labels of letters, digits and inner dashes, joined by dots. */
static bool domain_ok(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool edge = !i || i + 1 == n || s[i - 1] == '.' || s[i + 1] == '.';

		if (is_alnum(s[i]))
			continue;
		if (edge || (s[i] != '-' && s[i] != '.'))
			return false;
	}
	return n > 0;
}

static bool ipv6_ok(const char *s, size_t n)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t addr[16];

	if (n < 4 || n - 2 >= sizeof(text) || s[n - 1] != ']')
		return false;
	memcpy(text, s + 1, n - 2);
	text[n - 2] = 0;
	return inet_pton(AF_INET6, text, addr) == 1;
}

static bool port_ok(const char *s)
{
	unsigned port = 0;
	size_t n = strspn(s, "0123456789");

	if (!n || n > 5 || s[n])
		return false;
	for (size_t i = 0; i < n; i++)
		port = port * 10 + (unsigned)(s[i] - '0');
	return port >= 1 && port <= 65535;
}

static const char *host_problem(const char *host)
{
	const char *end = host[0] == '[' ? strchr(host, ']') : NULL;
	size_t n;

	if (host[0] == '[' && !end)
		return "the '[' of an IPv6 address is not closed";
	n = end ? (size_t)(end - host) + 1 : strcspn(host, ":");
	if (end ? !ipv6_ok(host, n) : !domain_ok(host, n))
		return "not a host name or address";
	if (host[n] && (host[n] != ':' || !port_ok(host + n + 1)))
		return "not a port (1 to 65535)";
	return NULL;
}

static bool is_host(const char *s, size_t n)
{
	if (n == 9 && !memcmp(s, "localhost", 9))
		return true;
	for (size_t i = 0; i < n; i++)
		if (s[i] == '.' || s[i] == ':' || (s[i] >= 'A' && s[i] <= 'Z'))
			return true;
	return false;
}

static const char *tag_problem(const char *tag)
{
	size_t n = strlen(tag);

	if (!n)
		return "the tag is empty";
	if (n > REF_TAG_MAX)
		return "the tag is longer than 128 characters";
	for (size_t i = 0; i < n; i++)
		if (!is_alnum(tag[i]) && tag[i] != '_' && (!i || (tag[i] != '.' && tag[i] != '-')))
			return "not a tag (letters, digits, '_', and later also '.' and '-')";
	return NULL;
}

static bool is_hex_id(const char *s)
{
	return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

/* Fills host and path from "[host/]path"; both are set, or nothing is. */
static int name_split(const char *name, struct ref *ref)
{
	const char *slash = strchr(name, '/');
	const char *path = name;
	const char *library = "";

	if (slash && is_host(name, (size_t)(slash - name))) {
		ref->host = strndup(name, (size_t)(slash - name));
		path = slash + 1;
		if (ref->host && !strcmp(ref->host, "index.docker.io"))
			strcpy(ref->host, "docker.io");
	} else {
		ref->host = strdup("docker.io");
	}
	if (!ref->host)
		return -ENOMEM;
	if (!strcmp(ref->host, "docker.io") && !strchr(path, '/'))
		library = "library/";
	if (asprintf(&ref->path, "%s%s", library, path) < 0) {
		ref->path = NULL;
		return -ENOMEM;
	}
	ref->api_host =
		strdup(!strcmp(ref->host, "docker.io") ? "registry-1.docker.io" : ref->host);
	return ref->api_host ? 0 : -ENOMEM;
}

/* rest is a scratch copy of the text behind a "docker://". */
static int registry_parse(char *rest, struct ref *ref, struct error *err)
{
	char *at = strchr(rest, '@'), *slash, *colon;
	const char *why = NULL;

	if (strstr(rest, "://"))
		return bad(
			err, ref->text,
			"write it without a scheme other than docker://; plain http is --insecure");
	if (at) {
		*at = 0;
		if (digest_parse(at + 1, &ref->digest, NULL) < 0)
			return bad(err, ref->text,
				   "after '@' comes a digest: sha256:<64 hex digits>");
		ref->has_digest = true;
	}
	slash = strrchr(rest, '/');
	colon = strrchr(slash ? slash : rest, ':');
	if (colon) {
		*colon = 0;
		why = tag_problem(colon + 1);
		ref->tag = strdup(colon + 1);
	} else if (!at) {
		ref->tag = strdup("latest");
	}
	if (!*rest)
		return bad(err, ref->text, "there is no name in it");
	if (is_hex_id(rest))
		return bad(err, ref->text, "64 hex digits are an image id, not a name");
	if (name_split(rest, ref) < 0 || ((colon || !at) && !ref->tag))
		return error_set_errno(err, -ENOMEM, "image reference");
	why = why ? why : host_problem(ref->host);
	why = why ? why : path_problem(ref->path);
	if (!why && strlen(ref->host) + 1 + strlen(ref->path) > REF_NAME_MAX)
		why = "the name is longer than 255 characters";
	return why ? bad(err, ref->text, why) : 0;
}

static const struct {
	const char *text;
	enum ref_kind kind;
} schemes[] = {
	{"oci:", REF_LAYOUT},
	{"oci-archive:", REF_OCI_ARCHIVE},
	{"docker-archive:", REF_DOCKER_ARCHIVE},
};

const char *ref_scheme(const struct ref *ref)
{
	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
		if (schemes[i].kind == ref->kind)
			return schemes[i].text;
	return "";
}

/* What skopeo and podman call by these names too; with "docker://" they are repositories. */
static const char *const foreign[] = {
	"containers-storage:", "dir:", "docker-daemon:", "ostree:", "sif:", "tarball:"};

/* rest is a scratch copy of the text behind the scheme. */
static int local_parse(char *rest, struct ref *ref, struct error *err)
{
	char *at = strrchr(rest, '@'), *colon;

	/* a name may hold an '@' of its own; only what is a digest is one */
	if (at && !digest_parse(at + 1, &ref->digest, NULL)) {
		*at = 0;
		ref->has_digest = true;
	} else if (at && !strncmp(at + 1, "sha256:", 7)) {
		return bad(err, ref->text, "after '@' comes a digest: sha256:<64 hex digits>");
	}
	colon = strchr(rest, ':');
	if (colon) {
		*colon = 0;
		if (!colon[1])
			return bad(err, ref->text,
				   ref->kind == REF_LAYOUT ? "the name after the directory is empty"
							   : "the name after the file is empty");
		ref->tag = strdup(colon + 1);
	}
	if (!*rest)
		return bad(err, ref->text,
			   ref->kind == REF_LAYOUT ? "oci: wants a directory"
						   : "an archive is a file; there is none in it");
	ref->path = strdup(rest);
	if (!ref->path || (colon && !ref->tag))
		return error_set_errno(err, -ENOMEM, "image reference");
	return 0;
}

int ref_parse(const char *text, struct ref **ret, struct error *err)
{
	_cleanup_(ref_freep) struct ref *ref = NULL;
	_cleanup_(freep) char *scratch = NULL;
	size_t n = strlen(text);
	int r;

	if (n > REF_TEXT_MAX)
		return error_set(err, -EINVAL, "image reference of %zu bytes: the limit is %d", n,
				 REF_TEXT_MAX);
	ref = calloc(1, sizeof(*ref));
	scratch = strdup(text);
	if (!ref || !scratch || !(ref->text = strdup(text)))
		return error_set_errno(err, -ENOMEM, "image reference");
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return bad(err, text, "control characters are not allowed");
	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++)
		if (!strncmp(text, foreign[i], strlen(foreign[i])))
			return error_set(
				err, -ENOTSUP,
				"image reference \"%s\": no support for %s; copy the image "
				"with skopeo to oci:DIR",
				text, foreign[i]);
	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
		if (!strncmp(scratch, schemes[i].text, strlen(schemes[i].text)))
			ref->kind = schemes[i].kind;
	if (ref->kind != REF_REGISTRY)
		r = local_parse(scratch + strlen(ref_scheme(ref)), ref, err);
	else
		r = registry_parse(scratch + (strncmp(scratch, "docker://", 9) ? 0 : 9), ref, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(ref);
	return 0;
}

int ref_format(const struct ref *ref, struct buf *buf)
{
	char digest[DIGEST_TEXT_MAX] = "";

	if (ref->has_digest)
		digest_format(&ref->digest, digest);
	return buf_printf(buf, "%s%s%s%s%s%s%s",
			  ref->kind == REF_REGISTRY ? ref->host : ref_scheme(ref),
			  ref->kind == REF_REGISTRY ? "/" : "", ref->path, ref->tag ? ":" : "",
			  ref->tag ? ref->tag : "", ref->has_digest ? "@" : "", digest);
}

void ref_free(struct ref *ref)
{
	if (!ref)
		return;
	free(ref->text);
	free(ref->host);
	free(ref->api_host);
	free(ref->path);
	free(ref->tag);
	free(ref);
}
