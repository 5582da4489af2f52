/* SPDX-License-Identifier: MIT */
/*
 * Where messages without a caller go: background fetches, fall-backs, degraded modes. A function
 * that has a caller returns an error instead and does not log. There is no global log: whoever
 * creates an object that may have something to say hands it one.
 */
#ifndef MORSEL_BASE_LOG_H
#define MORSEL_BASE_LOG_H

#include <stdatomic.h>
#include "base/util.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

struct log {
	enum log_level level; /* messages above it are dropped before they are formatted */
	/* Called by any thread; one line, no newline, control bytes already replaced. */
	void (*write)(void *userdata, enum log_level level, const char *line);
	void *userdata;
};

/* log may be NULL: silence. */
void log_write(const struct log *log, enum log_level level, const char *fmt, ...) _printf_(3, 4);

/* For conditions that would repeat for every read: true at most once in interval_ns. */
struct log_limit {
	_Atomic uint64_t next_ns;
};
bool log_limit_pass(struct log_limit *limit, uint64_t now_ns, uint64_t interval_ns);

#endif
