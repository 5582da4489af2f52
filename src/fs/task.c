/* SPDX-License-Identifier: MIT */
#include "fs/task.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define BIT(sig) (UINT64_C(1) << ((sig)-1))
#define HARMLESS                                                                                   \
	(BIT(SIGCHLD) | BIT(SIGCONT) | BIT(SIGSTOP) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU) | \
	 BIT(SIGURG) | BIT(SIGWINCH))

static uint64_t set_of(const char *status, const char *key)
{
	const char *at = strstr(status, key);

	return at ? strtoull(at + strlen(key), NULL, 16) : 0;
}

/* Not only SIGKILL: the kernel turns most fatal signals into it, but not those that dump core. */
bool task_status_is_dying(const char *status)
{
	uint64_t pending = set_of(status, "\nSigPnd:") | set_of(status, "\nShdPnd:");
	uint64_t survived = set_of(status, "\nSigBlk:") | set_of(status, "\nSigIgn:") |
			    set_of(status, "\nSigCgt:");

	if (strstr(status, "\nState:\tZ") || strstr(status, "\nState:\tX"))
		return true;
	return pending & (BIT(SIGKILL) | ~(survived | HARMLESS));
}

bool task_is_dying(pid_t tid)
{
	char path[64], status[8192];
	_cleanup_(closep) int fd = -1;
	size_t at = 0;
	ssize_t n;

	if (tid <= 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	while (at < sizeof(status) - 1 && (n = read(fd, status + at, sizeof(status) - 1 - at)) > 0)
		at += (size_t)n;
	status[at] = 0;
	return task_status_is_dying(status);
}
