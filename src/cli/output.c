/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

int fail(struct cli *c, int code)
{
	progress_stop(c);
	fprintf(stderr, "morsel: %s\n", c->err.text[0] ? c->err.text : strerror(-code));
	return morsel_exit_code(code);
}

int usage_error(const struct cli *c, const char *fmt, ...)
{
	va_list ap;

	fputs("morsel: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "; see \"morsel help%s%s\"\n", c->verb ? " " : "",
		c->verb ? c->verb->name : "");
	return 2;
}

/* As ls -h: rounded up, a decimal below 10. */
void format_size(uint64_t bytes, char out[static 16])
{
	static const char units[] = "BKMGTPE";
	uint64_t unit = 1, whole, tenths;
	int u = 0;

	while (bytes / unit >= 1024) {
		unit <<= 10;
		u++;
	}
	whole = bytes / unit;
	tenths = whole * 10 + (bytes % unit * 10 + unit - 1) / unit;
	whole += bytes % unit ? 1 : 0;
	if (!u)
		snprintf(out, 16, "%u", (unsigned)bytes);
	else if (tenths < 100)
		snprintf(out, 16, "%u.%u%c", (unsigned)tenths / 10, (unsigned)tenths % 10,
			 units[u]);
	else if (whole < 1024)
		snprintf(out, 16, "%u%c", (unsigned)whole, units[u]);
	else
		snprintf(out, 16, "1.0%c", units[u + 1]);
}

void print_name(const char *name, FILE *f)
{
	for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
		if (*p < 0x20 || *p == 0x7f || *p == '\\')
			fprintf(f, "\\%03o", *p);
		else
			putc(*p, f);
	}
}

/* "3 devices (dev/null, dev/zero, ...)" */
static void left_out_show(const json_t *one, const char *kind, const char *sep)
{
	uint64_t n = (uint64_t)json_integer_value(json_object_get(one, "count"));
	const json_t *name;
	size_t i;

	fprintf(stderr, "%s%" PRIu64 " %.*s%s (", sep, n, (int)strlen(kind) - 1, kind,
		n == 1 ? "" : "s");
	json_array_foreach (json_object_get(one, "names"), i, name) {
		if (i == 4)
			break;
		fputs(i ? ", " : "", stderr);
		print_name(json_string_value(name), stderr);
	}
	fputs(n > 4 ? ", ...)" : ")", stderr);
}

void warn_left_out(const json_t *report, const char *const *kinds)
{
	const json_t *left = json_object_get(report, "left_out");
	const char *sep = "morsel: warning: left out, they need more privileges: ";
	bool some = false;

	for (; *kinds; kinds++) {
		const json_t *one = json_object_get(left, *kinds);

		if (!json_integer_value(json_object_get(one, "count")))
			continue;
		left_out_show(one, *kinds, some ? ", " : sep);
		some = true;
	}
	if (some)
		putc('\n', stderr);
}

int output_finish(void)
{
	if (!fflush(stdout) && !ferror(stdout))
		return 0;
	if (errno != EPIPE)
		fprintf(stderr, "morsel: can't write to stdout: %s\n", strerror(errno));
	return 1;
}
