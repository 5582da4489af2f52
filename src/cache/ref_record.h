/* SPDX-License-Identifier: MIT */
/*
 * The text of a file under refs/: what a tag named. One member a line, a checksum at the end, so
 * that a damaged digest is a miss and never another image. Pure.
 *
 *   morsel ref 1
 *   name registry.example/app:latest
 *   digest sha256:...
 *   confirmed 1764000000
 *   sum 0123456789abcdef
 */
#ifndef MORSEL_CACHE_REF_RECORD_H
#define MORSEL_CACHE_REF_RECORD_H

#include "cache/cache.h"

#define REF_NAME_MAX 1024
#define REF_RECORD_MAX 2048

/* -EINVAL: the name is too long or holds a control byte. */
int ref_record_format(const char *name, const struct cache_ref *ref, struct buf *ret);
/* name: NULL = not wanted; else freed by the caller. -EBADMSG, -ENOMEM. */
int ref_record_parse(const char *text, size_t len, char **ret_name, struct cache_ref *ret);

#endif
