/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"

#include <jansson.h>
#include <stdlib.h>

static void tags_print(const struct cli *c, char **tags)
{
	json_t *list = json_array();

	for (char **t = tags; *t; t++) {
		if (c->json) {
			json_array_append_new(list, json_string(*t));
		} else {
			print_name(*t, stdout);
			putchar('\n');
		}
	}
	if (c->json) {
		json_dumpf(list, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	json_decref(list);
}

int cmd_tags(struct cli *c)
{
	struct morsel *m;
	char **tags;
	int r = context_new(c, &m);

	if (r)
		return r;
	r = morsel_tags(m, c->args[0], &tags, &c->err);
	progress_stop(c);
	if (r >= 0) {
		tags_print(c, tags);
		for (char **t = tags; *t; t++)
			free(*t);
		free(tags);
	}
	context_free(m);
	return r < 0 ? fail(c, r) : output_finish();
}
