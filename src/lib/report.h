/* SPDX-License-Identifier: MIT */
/*
 * The facade's answers as JSON text: what a mount has done, what an image is, what the cache holds.
 * Key names are part of the interface (man pages list them). Prints nothing: tables for people are
 * the command line's.
 */
#ifndef MORSEL_LIB_REPORT_H
#define MORSEL_LIB_REPORT_H

#include <jansson.h>
#include "lib/image.h"

/* Serialises and drops root; NULL = no memory. The caller frees. */
char *report_text(json_t *root);
/* A name as files have it: bytes that are not UTF-8 become "\xNN", as in traces and profiles. NULL
 * = no memory. */
json_t *report_file_name(const char *name);
/* As a number of seconds. */
json_t *report_seconds(uint64_t ns);
/* Adds every counter of prof/counters.h by its name. */
void report_counters(json_t *obj, const struct counters *c);
/* "media_type", "digest", "size" and, for a layer with a table of contents, "toc_digest". */
json_t *report_layer_descriptor(const struct manifest_layer *l);

#endif
