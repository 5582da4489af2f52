/* SPDX-License-Identifier: MIT */
/*
 * The house's error convention.
 *
 *   int f(object, inputs..., ret_outputs..., struct error *err)
 *
 * returns 0 when done; < 0 is -errno, fatal for this call and handed up unchanged; > 0 is an
 * outcome named in the module's header, handled by the direct caller and never handed on.
 * Outputs are written only on success.
 *
 * Human text goes into the caller's struct error, first writer wins: the lower layer, which knows
 * what, where and why, speaks; upper layers do not overwrite. Hot paths use the bare int.
 * A text is one line: what failed, where (host, digest, path), why, and what to do about it.
 *
 * The errno is also the class of the error, from which the program's exit code follows:
 *
 *   -ENOENT                                      3 not found
 *   -EACCES                                      4 not allowed (401, 403, file permissions)
 *   -ENETUNREACH -ECONNREFUSED -ECONNRESET
 *   -EHOSTUNREACH -EHOSTDOWN -ETIMEDOUT -EPROTO  5 network, or a server that answers nonsense
 *   -EBADMSG                                     6 corrupt: a digest, checksum or format is wrong
 *   -EPERM -E2BIG                                7 refused by policy / by a limit
 *   -ENOTSUP                                     8 unsupported
 *   -EINTR -ECANCELED                          130 interrupted
 *   -EINVAL                                      2 usage (only from text the user typed)
 *   anything else                                1 failed (-EUCLEAN: the user's configuration)
 */
#ifndef MORSEL_BASE_ERROR_H
#define MORSEL_BASE_ERROR_H

#include "base/util.h"

struct error {
	int code;	/* 0, or the negative errno of the first error_set() */
	char text[768]; /* one line without the newline; cut when longer */
};

#define ERROR_INIT ((struct error){0})

/* Sets the text unless one is set already or err is NULL; returns code, which is < 0. Control
 * bytes in the finished text are replaced by '?', so that hostile names cannot draw on a
 * terminal or forge log lines. */
int error_set(struct error *err, int code, const char *fmt, ...) _printf_(3, 4);

/* error_set() with ": " and the text of -code at the end. */
int error_set_errno(struct error *err, int code, const char *fmt, ...) _printf_(3, 4);

/* The exit code of a program whose call failed with this negative code: the table above. */
int error_exit_code(int code);

#endif
