/* SPDX-License-Identifier: MIT */
/* Commands as people type them into options. Runs nothing. Pure. */
#ifndef MORSEL_TRANSFER_WORDS_H
#define MORSEL_TRANSFER_WORDS_H

#include <jansson.h>
#include "base/error.h"

/* A JSON array of strings, when the text begins with '[', else words between blanks: quotes and
 * backslashes group as in a shell, nothing is expanded. "" is an empty array. option names the text
 * in errors. -EINVAL, also when it is not UTF-8; -ENOMEM. */
int words_parse(const char *text, const char *option, json_t **ret, struct error *err);

#endif
