/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

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
