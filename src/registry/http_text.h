/* SPDX-License-Identifier: MIT */
/*
 * The words header values are made of (RFC 9110 5.6): white space, tokens, quoted strings,
 * parameters. Pure cursor functions over terminated strings. Knows no header by its name.
 */
#ifndef MORSEL_REGISTRY_HTTP_TEXT_H
#define MORSEL_REGISTRY_HTTP_TEXT_H

#include "base/util.h"

/* The first byte that is neither blank nor tab. */
const char *http_skip_blank(const char *s);
/* Length of the token at s; 0 = there is none. */
size_t http_token_len(const char *s);
bool http_token_is(const char *s, size_t len, const char *name); /* ignoring case */
/* A quoted string without its escapes, or a run of visible bytes up to a blank, ',', ';' or '"':
 * unquoted URLs are not in the grammar but sent. *s moves behind it. -EPROTO, -ENOMEM. */
int http_value_parse(const char **s, char **ret);

#endif
