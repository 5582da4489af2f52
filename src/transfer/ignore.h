/* SPDX-License-Identifier: MIT */
/*
 * Patterns in the grammar of .dockerignore: one a line, "#" comments, "!" takes back, the last that
 * matches decides; "*" and "?" stay inside a component, "**" does not, "[a-z]" and "[^a-z]" are
 * classes, "\" escapes. A pattern that matches a directory matches what is below it. Patterns are
 * relative to the root of the tree. Pure; linear in pattern times path.
 */
#ifndef MORSEL_TRANSFER_IGNORE_H
#define MORSEL_TRANSFER_IGNORE_H

#include "base/error.h"

struct ignore_list;
int ignore_new(struct ignore_list **ret);
/* The lines of an ignore file of this name. -EINVAL with file and line, -E2BIG (more than 10,000
 * patterns). */
int ignore_add_text(struct ignore_list *l, const char *text, size_t n, const char *name,
		    struct error *err);
/* One pattern as it stands in a line, but never a comment. where: for messages. -EINVAL, -E2BIG. */
int ignore_add_pattern(struct ignore_list *l, const char *pattern, size_t n, const char *where,
		       struct error *err);
/* path: clean, relative, not "". */
bool ignore_matches(const struct ignore_list *l, const char *path);
/* Something below an ignored directory may have been taken back by a "!" pattern. */
bool ignore_may_take_back(const struct ignore_list *l, const char *dir);
void ignore_free(struct ignore_list *l);
DEFINE_CLEANUP(struct ignore_list *, ignore_free)

#endif
