/* SPDX-License-Identifier: MIT */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static void text_sanitize(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

static int error_vset(struct error *err, int code, const char *suffix, const char *fmt, va_list ap)
{
	size_t len;

	assert(code < 0);
	if (!err || err->code)
		return code;
	err->code = code;
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	len = strlen(err->text);
	if (suffix)
		snprintf(err->text + len, sizeof(err->text) - len, ": %s", suffix);
	text_sanitize(err->text);
	return code;
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_vset(err, code, NULL, fmt, ap);
	va_end(ap);
	return code;
}

int error_set_errno(struct error *err, int code, const char *fmt, ...)
{
	char text[128];
	va_list ap;

	va_start(ap, fmt);
	error_vset(err, code, strerror_r(-code, text, sizeof(text)), fmt, ap);
	va_end(ap);
	return code;
}

int error_exit_code(int code)
{
	switch (-code) {
	case 0:
		return 0;
	case EINVAL:
		return 2;
	case ENOENT:
		return 3;
	case EACCES:
		return 4;
	case ENETUNREACH:
	case ECONNREFUSED:
	case ECONNRESET:
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case ETIMEDOUT:
	case EPROTO:
		return 5;
	case EBADMSG:
		return 6;
	case EPERM:
	case E2BIG:
		return 7;
	case ENOTSUP:
		return 8;
	case EINTR:
	case ECANCELED:
		return 130;
	default:
		return 1;
	}
}
