/* SPDX-License-Identifier: MIT */
/* What is UTF-8 (RFC 3629: shortest form, no surrogates). Pure; converts nothing, and thinks
 * nothing of what a character means: a zero byte and a control character are characters. */
#ifndef MORSEL_BASE_UTF8_H
#define MORSEL_BASE_UTF8_H

#include "base/util.h"

/* Bytes of the character at s, of which n > 0 bytes are there; 0: it is none. Does not look behind
 * a zero byte, so that a terminated string may say SIZE_MAX. */
size_t utf8_length(const void *s, size_t n);
/* All of a terminated string is. */
bool utf8_is_text(const char *s);

#endif
