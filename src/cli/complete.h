/* SPDX-License-Identifier: MIT */
/*
 * Between complete.c, which finds out what the word at the cursor is, and complete_image.c, which
 * knows images. Neither waits long, asks for a password or says why there is nothing to offer.
 */
#ifndef MORSEL_CLI_COMPLETE_H
#define MORSEL_CLI_COMPLETE_H

#include "cli/cli.h"

struct completion {
	struct cli *c;
	const struct verb *verb;
	const char *word; /* what is there already */
	char **words;	  /* all, behind the program's name */
	int n;
};

/* complete.c: prints prefix, name and more when the word begins like that; what: to be shown
 * beside, or NULL. */
void offer(const struct completion *k, const char *prefix, const char *name, const char *more,
	   const char *what);
/* Files whose names follow a prefix that the shell does not know: "oci:", "--authfile=". */
void offer_files(const struct completion *k, const char *prefix, bool dirs_only);

/* complete_image.c: the options among the words count. */
void offer_refs(const struct completion *k, bool repositories);
void offer_paths(const struct completion *k); /* of the image that the first argument names */

#endif
