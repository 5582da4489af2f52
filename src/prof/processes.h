/* SPDX-License-Identifier: MIT */
/*
 * Which process a request came from. The kernel names a thread; what process it belongs to and what
 * that is called is looked up in /proc, while it waits for us, and remembered for a second: by then
 * a number may be another's, and a process may have become another program.
 *
 * Processes get small numbers, which stay valid as long as ours runs. At most PROCESSES_MAX are
 * told apart; those that come later are number 0, nobody. Any thread may call any of this.
 */
#ifndef MORSEL_PROF_PROCESSES_H
#define MORSEL_PROF_PROCESSES_H

#include <sys/types.h>
#include "base/util.h"

#define PROCESSES_MAX 65536

struct process {
	uint32_t pid;	  /* 0: not known, as in another pid namespace */
	char command[16]; /* of the last look; "" = not known */
};

/* The number of the process that thread tid belongs to. */
uint32_t process_of(pid_t tid);
void process_get(uint32_t process, struct process *ret);

/* What /proc/TID/status says. False: it makes no sense. Pure. */
bool process_status_parse(const char *status, struct process *ret);

#endif
