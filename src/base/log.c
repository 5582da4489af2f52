/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const char *const level_names[] = {"error", "warn", "info", "debug", "trace"};

void log_write(const struct log *log, enum log_level level, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	if (!log || !log->write || level > log->level)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	log->write(log->userdata, level, line);
}

bool log_limit_pass(struct log_limit *limit, uint64_t now_ns, uint64_t interval_ns)
{
	uint64_t next = atomic_load_explicit(&limit->next_ns, memory_order_relaxed);

	return now_ns >= next &&
	       atomic_compare_exchange_strong(&limit->next_ns, &next, now_ns + interval_ns);
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

int log_level_parse(const char *text, enum log_level *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(level_names); i++)
		if (!strcmp(text, level_names[i])) {
			*ret = (enum log_level)i;
			return 0;
		}
	return -EINVAL;
}
