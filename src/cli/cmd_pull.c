/* SPDX-License-Identifier: MIT */
/* pull: an image's files to a directory, or the image to an OCI layout. */
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

static void show(const json_t *o)
{
	const char *layout = json_string_value(json_object_get(o, "layout"));
	char moved[16], skipped[16], written[16];
	double seconds = json_real_value(json_object_get(json_object_get(o, "seconds"), "total"));

	format_size(number_of(o, "moved_bytes"), moved);
	format_size(number_of(o, "skipped_bytes"), skipped);
	printf("digest     %s\n%s", json_string_value(json_object_get(o, "digest")),
	       layout ? "layout     " : "directory  ");
	print_name(layout ? layout : json_string_value(json_object_get(o, "directory")), stdout);
	if (layout) {
		printf("\ncopied     %" PRIu64 " manifests, %" PRIu64 " blobs\n",
		       number_of(o, "manifests"), number_of(o, "blobs"));
	} else {
		format_size(number_of(o, "written_bytes"), written);
		printf("\nwritten    %" PRIu64 " files, %" PRIu64 " directories, %s\n",
		       number_of(o, "files") + number_of(o, "others"), number_of(o, "directories"),
		       written);
	}
	printf("fetched    %s, %s skipped, in %.1f s\n", moved, skipped, seconds);
}

static int result_show(struct cli *c, const char *json)
{
	json_t *o = json_loads(json, 0, NULL);

	progress_stop(c);
	if (!o) {
		fputs("morsel: the report could not be read\n", stderr);
		return 1;
	}
	if (!c->quiet)
		warn_left_out(o, (const char *[]){"owners", "devices", "xattrs", NULL});
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

static int usage_check(struct cli *c)
{
	static const enum option_id files[] = {OPT_INCLUDE, OPT_EXCLUDE, OPT_STRIP_PREFIX,
					       OPT_OVERWRITE};
	bool oci = option_given(c, OPT_OCI);

	if (c->n_args != (oci ? 1 : 2))
		return usage_error(c, oci ? "--oci takes the place of DIR"
					  : "a directory is missing after the reference");
	for (size_t i = 0; oci && i < sizeof(files) / sizeof(files[0]); i++)
		if (option_given(c, files[i]))
			return usage_error(c,
					   "--%s makes no sense with --oci: an image is copied "
					   "as it is",
					   option_of(c->verb, files[i])->name);
	if (!oci && option_given(c, OPT_ALL_PLATFORMS))
		return usage_error(c, "--all-platforms needs --oci");
	return 0;
}

int cmd_pull(struct cli *c)
{
	struct morsel *m;
	char *json = NULL;
	int r = usage_check(c);

	if (!r)
		r = context_new(c, &m);
	if (r)
		return r;
	if (option_given(c, OPT_OCI))
		r = morsel_pull_layout(m, c->args[0], c->values[OPT_OCI],
				       option_given(c, OPT_ALL_PLATFORMS) ? MORSEL_ALL_PLATFORMS
									  : 0,
				       &json, &c->err);
	else
		r = pull_to_directory(c, m, &json);
	r = r < 0 ? fail(c, r) : result_show(c, json);
	free(json);
	context_free(m);
	return r;
}
