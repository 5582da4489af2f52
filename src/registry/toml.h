/* SPDX-License-Identifier: MIT */
/*
 * TOML as JSON values, by the library toml++: tables become objects whose members stand in the
 * order of the file, so that one set of typed getters (base/json.h) reads both. Dates become
 * strings. Knows no key, and writes no TOML. Pure.
 */
#ifndef MORSEL_REGISTRY_TOML_H
#define MORSEL_REGISTRY_TOML_H

#include "base/json.h"

#define TOML_DOC_MAX ((size_t)1 << 20) /* bytes of a file */

/* what names the document in errors. -EBADMSG with the line, -E2BIG (size, depth), -ENOMEM. Fuzzed
 * (by those who read such files). */
int toml_parse(const char *text, size_t len, const char *what, json_t **ret, struct error *err);

#endif
