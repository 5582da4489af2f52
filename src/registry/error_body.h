/* SPDX-License-Identifier: MIT */
/*
 * The body of a registry's error answer, {"errors": [{"code", "message"}]}: what to tell the user
 * of it. Pure and fuzzed; decides nothing, as servers disagree about the codes.
 */
#ifndef MORSEL_REGISTRY_ERROR_BODY_H
#define MORSEL_REGISTRY_ERROR_BODY_H

#include "base/util.h"

/* "MANIFEST_INVALID: manifest invalid", cut to n bytes with the NUL; "" when the body says nothing
 * of the kind. Returns out. */
const char *error_body_text(const void *body, size_t len, char *out, size_t n);

#endif
