/* SPDX-License-Identifier: MIT */
/* Whether a task that waits for us will never look at the answer. Reads /proc, remembers nothing.
 */
#ifndef MORSEL_FS_TASK_H
#define MORSEL_FS_TASK_H

#include <stdbool.h>
#include <sys/types.h>

/* What /proc/TID/status says: a pending signal will end it. */
bool task_status_is_dying(const char *status);
/* False also for a task that can't be seen (0, or hidden): an EINTR for a read of a file that goes
 * on living would break programs. */
bool task_is_dying(pid_t tid);

#endif
