/* SPDX-License-Identifier: MIT */
#include "image/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <sys/utsname.h>
#include "image/platform.h"

/* Names of one machine: uname's, Debian's, older tools'. A variant here replaces the given one. */
static const struct {
	const char *from, *arch, *variant;
} arch_names[] = {
	{"x86_64", "amd64", NULL},  {"x86-64", "amd64", NULL},	{"i386", "386", NULL},
	{"i486", "386", NULL},	    {"i586", "386", NULL},	{"i686", "386", NULL},
	{"aarch64", "arm64", NULL}, {"armhf", "arm", "v7"},	{"armel", "arm", "v6"},
	{"armv5tel", "arm", "v5"},  {"armv5tejl", "arm", "v5"}, {"armv6l", "arm", "v6"},
	{"armv7l", "arm", "v7"},    {"armv8l", "arm", "v8"},	{"loongarch64", "loong64", NULL},
};

/* What --platform may name without an operating system. */
static const char *const known_archs[] = {"386",    "amd64",	"arm",	   "arm64",   "loong64",
					  "mips64", "mips64le", "ppc64le", "riscv64", "s390x"};

static bool copy_lower(char *out, size_t size, const char *s, size_t n)
{
	if (n >= size)
		return false;
	for (size_t i = 0; i < n; i++)
		out[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] + 32 : s[i]);
	out[n] = 0;
	return true;
}

static void variant_normalise(struct platform *p)
{
	const char *v = p->variant;
	bool arm64 = !strcmp(p->arch, "arm64");
	char number[sizeof(p->variant)];
	size_t n;

	if (arm64 || !strcmp(p->arch, "arm")) {
		strcpy(number, *v == 'v' ? v + 1 : v);
		n = strlen(number);
		if (arm64 && n > 2 && !strcmp(number + n - 2, ".0"))
			number[n - 2] = 0;
		if (arm64 && (!*number || !strcmp(number, "8")))
			p->variant[0] = 0;
		else if (!*number)
			strcpy(p->variant, "v7");
		else if (*number >= '0' && *number <= '9')
			snprintf(p->variant, sizeof(p->variant), "v%s", number);
	} else if (!strcmp(p->arch, "amd64") && !strcmp(v, "v1")) {
		p->variant[0] = 0;
	}
}

static void normalise(struct platform *p)
{
	if (!strcmp(p->os, "macos"))
		strcpy(p->os, "darwin");
	for (size_t i = 0; i < ARRAY_SIZE(arch_names); i++) {
		if (strcmp(p->arch, arch_names[i].from) != 0)
			continue;
		strcpy(p->arch, arch_names[i].arch);
		if (arch_names[i].variant)
			strcpy(p->variant, arch_names[i].variant);
		break;
	}
	variant_normalise(p);
}

bool platform_set(const char *os, const char *arch, const char *variant, struct platform *ret)
{
	struct platform p = {0};

	if (!copy_lower(p.os, sizeof(p.os), os, strlen(os)) ||
	    !copy_lower(p.arch, sizeof(p.arch), arch, strlen(arch)) ||
	    !copy_lower(p.variant, sizeof(p.variant) - 1, variant, strlen(variant)))
		return false;
	normalise(&p);
	*ret = p;
	return true;
}

static bool is_known_arch(const char *arch)
{
	for (size_t i = 0; i < ARRAY_SIZE(known_archs); i++)
		if (!strcmp(arch, known_archs[i]))
			return true;
	return false;
}

int platform_parse(const char *text, struct platform *ret, struct error *err)
{
	char parts[3][sizeof(ret->os) - 1] = {"linux", "", ""};
	struct platform p;
	unsigned n = 0;

	for (const char *s = text, *end;; s = end + 1) {
		size_t len = strspn(
			s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

		end = s + len;
		if (n == 3 || !len || (*end && *end != '/') ||
		    !copy_lower(parts[n++], sizeof(parts[0]), s, len))
			return error_set(
				err, -EINVAL,
				"platform \"%s\": write it as OS/ARCH, OS/ARCH/VARIANT or ARCH",
				text);
		if (!*end)
			break;
	}
	if (n == 1)
		platform_set("linux", parts[0], "", &p);
	else
		platform_set(parts[0], parts[1], parts[2], &p);
	if (n == 1 && !is_known_arch(p.arch))
		return error_set(
			err, -EINVAL,
			"platform \"%s\": not an architecture known here; write it as OS/ARCH",
			text);
	*ret = p;
	return 0;
}

void platform_host(struct platform *ret)
{
	struct utsname u;

	if (uname(&u) < 0 || !platform_set("linux", u.machine, "", ret))
		*ret = (struct platform){.os = "linux", .arch = "amd64"};
}

void platform_format(const struct platform *p, char out[static 100])
{
	snprintf(out, 100, "%s/%s%s%s", p->os, p->arch, *p->variant ? "/" : "", p->variant);
}

/* "v8.2" -> 802, "" -> 100 * absent; 0 = not of this form. */
static unsigned variant_level(const char *variant, unsigned absent)
{
	unsigned major, minor = 0;
	char *end;

	if (!*variant)
		return absent * 100;
	if (*variant != 'v' || variant[1] < '1' || variant[1] > '9')
		return 0;
	major = (unsigned)strtoul(variant + 1, &end, 10);
	if (*end == '.' && end[1] >= '0' && end[1] <= '9')
		minor = (unsigned)strtoul(end + 1, &end, 10);
	if (*end || major > 99 || minor > 99)
		return 0;
	return major * 100 + minor;
}

/* ARMv9.x contains v8.(x+5); within one major version each contains those before it. */
static unsigned arm64_rank(unsigned want, unsigned have)
{
	if (want / 100 == have / 100)
		return have <= want ? 1000 - (want - have) : 0;
	if (want / 100 == 9 && have / 100 == 8 && have % 100 <= want % 100 + 5)
		return 800 - (want % 100 + 5 - have % 100);
	return 0;
}

static unsigned variant_rank(const struct platform *want, const struct platform *have)
{
	bool amd64 = !strcmp(want->arch, "amd64"), arm64 = !strcmp(want->arch, "arm64");
	unsigned absent = amd64 ? 1 : 8;
	unsigned w = variant_level(want->variant, absent), h = variant_level(have->variant, absent);

	if (!strcmp(want->variant, have->variant))
		return 1000;
	if (w && h && arm64)
		return arm64_rank(w, h);
	if (w && h && (amd64 || !strcmp(want->arch, "arm")))
		return h < w ? 1000 - min_u64((w - h) / 100, 400) : 0;
	return *have->variant ? 0 : 500;
}

/* A machine that also runs another one's programs; after all of its own. */
static unsigned cousin_rank(const struct platform *want, const struct platform *have)
{
	if (!strcmp(want->arch, "amd64") && !strcmp(have->arch, "386"))
		return 100;
	if (!strcmp(want->arch, "arm64") && !strcmp(have->arch, "arm")) {
		unsigned level = variant_level(have->variant, 7) / 100;

		return level >= 5 && level <= 8 ? 100 + level : 0;
	}
	return 0;
}

unsigned platform_rank(const struct platform *want, const struct platform *have)
{
	if (strcmp(want->os, have->os) != 0)
		return 0;
	if (strcmp(want->arch, have->arch) != 0)
		return cousin_rank(want, have);
	return variant_rank(want, have);
}
