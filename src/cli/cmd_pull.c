/* SPDX-License-Identifier: MIT */
/* pull: an image's files to a directory. */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static uint64_t number_of(const json_t *o, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(o, key));
}

/* "3 devices (dev/null, dev/zero, ...)" */
static void left_out_show(const json_t *left, const char *kind, const char **sep)
{
	const json_t *one = json_object_get(left, kind), *name;
	uint64_t n = number_of(one, "count");
	size_t i;

	if (!n)
		return;
	fprintf(stderr, "%s%" PRIu64 " %.*s%s (", *sep, n, (int)strlen(kind) - 1, kind,
		n == 1 ? "" : "s");
	json_array_foreach (json_object_get(one, "names"), i, name) {
		if (i == 4)
			break;
		fputs(i ? ", " : "", stderr);
		print_name(json_string_value(name), stderr);
	}
	fputs(n > 4 ? ", ...)" : ")", stderr);
	*sep = ", ";
}

/* One line of what this user could not make. */
static void warn_left_out(const json_t *left)
{
	const char *sep = "morsel: warning: left out, they need more privileges: ";
	const char *begin = sep;

	left_out_show(left, "owners", &sep);
	left_out_show(left, "devices", &sep);
	left_out_show(left, "xattrs", &sep);
	if (sep != begin)
		putc('\n', stderr);
}

static void show(const json_t *o)
{
	char moved[16], skipped[16], written[16];
	double s = (double)number_of(json_object_get(o, "times_ms"), "total") / 1000;

	format_size(number_of(o, "bytes_moved"), moved);
	format_size(number_of(o, "bytes_skipped"), skipped);
	format_size(number_of(o, "bytes_written"), written);
	printf("digest     %s\ndirectory  ", json_string_value(json_object_get(o, "digest")));
	print_name(json_string_value(json_object_get(o, "directory")), stdout);
	printf("\nwritten    %" PRIu64 " files, %" PRIu64 " directories, %s\n",
	       number_of(o, "files") + number_of(o, "others"), number_of(o, "directories"),
	       written);
	printf("fetched    %s, %s skipped, in %.1f s\n", moved, skipped, s);
}

static int result_show(struct cli *c, const char *json)
{
	json_t *o = json_loads(json, 0, NULL);

	progress_clear(c);
	if (!o) {
		fputs("morsel: the report could not be read\n", stderr);
		return 1;
	}
	if (!c->quiet)
		warn_left_out(json_object_get(o, "left_out"));
	if (c->json)
		puts(json);
	else if (c->quiet)
		puts(json_string_value(json_object_get(o, "digest")));
	else
		show(o);
	json_decref(o);
	return output_finish();
}

static int pull_to_directory(struct cli *c, struct morsel *m, char **ret_json)
{
	struct morsel_pull_options o;
	const char **include = option_all(c, OPT_INCLUDE), **exclude = option_all(c, OPT_EXCLUDE);
	int r = -ENOMEM;

	morsel_pull_options_init(&o);
	o.include = include;
	o.exclude = exclude;
	o.strip_prefix = c->values[OPT_STRIP_PREFIX];
	o.overwrite = option_given(c, OPT_OVERWRITE);
	if (include && exclude)
		r = morsel_pull(m, c->args[0], c->args[1], &o, ret_json, &c->err);
	free(include);
	free(exclude);
	return r;
}

int cmd_pull(struct cli *c)
{
	struct morsel *m;
	char *json = NULL;
	int r = context_new(c, &m);

	if (r)
		return r;
	r = pull_to_directory(c, m, &json);
	r = r < 0 ? fail(c, r) : result_show(c, json);
	free(json);
	morsel_free(m);
	return r;
}
