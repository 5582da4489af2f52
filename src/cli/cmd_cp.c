/* SPDX-License-Identifier: MIT */
/* cp: files and trees of an image, into a directory or under a new name. */
#include "cli/cli.h"

#include <stdlib.h>

static void warn(const char *text)
{
	json_t *report = json_loads(text, 0, NULL);

	/* as cp -a, which says nothing of owners either */
	warn_left_out(report, (const char *[]){"devices", NULL});
	json_decref(report);
}

int cmd_cp(struct cli *c)
{
	char **paths = c->args + 1, *dest = c->args[c->n_args - 1], *report = NULL;
	struct morsel *m;
	int r = context_new(c, &m);

	if (r)
		return r;
	r = morsel_copy(m, c->args[0], (const char *const *)paths, (size_t)c->n_args - 2, dest,
			&report, &c->err);
	progress_stop(c);
	if (r < 0)
		r = fail(c, r);
	else if (!c->quiet)
		warn(report);
	free(report);
	context_free(m);
	return r;
}
