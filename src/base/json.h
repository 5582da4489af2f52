/* SPDX-License-Identifier: MIT */
/*
 * Typed getters over jansson for documents that strangers wrote: depth and size are bounded
 * before jansson sees a byte, duplicate keys are refused, and a value of another type is an error
 * that names the key. An absent or null optional member is an outcome (JSON_ABSENT).
 * Not for tables of contents: those are read entry by entry.
 */
#ifndef MORSEL_BASE_JSON_H
#define MORSEL_BASE_JSON_H

#include <jansson.h>
#include "base/error.h"

#define JSON_DOC_MAX ((size_t)4 << 20) /* bytes of a manifest, index or config */
#define JSON_DEPTH_MAX 32

enum { JSON_ABSENT = 1 };

/* what names the document in errors. -EBADMSG, -E2BIG (size, depth), -ENOMEM. */
int json_parse(const void *data, size_t len, size_t max_bytes, const char *what, json_t **ret,
	       struct error *err);

/* Borrowed results. 0, JSON_ABSENT, or -EBADMSG with "what: member KEY is not a ...". */
int json_get_string(const json_t *obj, const char *key, const char *what, const char **ret,
		    struct error *err);
int json_get_int(const json_t *obj, const char *key, const char *what, int64_t *ret,
		 struct error *err);
int json_get_object(const json_t *obj, const char *key, const char *what, json_t **ret,
		    struct error *err);
int json_get_array(const json_t *obj, const char *key, const char *what, json_t **ret,
		   struct error *err);

#endif
