/* SPDX-License-Identifier: MIT */
/*
 * Who we are when uid 0 may be an ordinary user's other name: "unshare -Ur", "podman unshare",
 * containers. Changes nothing.
 */
#ifndef MORSEL_BASE_USERNS_H
#define MORSEL_BASE_USERNS_H

#include <stdbool.h>
#include <sys/types.h>

/* Not in a user namespace but the first: root is root of the machine. Also where /proc is not
 * there to ask. */
bool userns_is_initial(void);
/* The name of this uid one namespace further out; uid itself when there is none. */
uid_t userns_outer_uid(uid_t uid);
/* One text of /proc/PID/uid_map. */
uid_t userns_map_uid(const char *map, uid_t uid, bool *ret_initial);
/* As whom files show whose owner has no name in this user namespace. */
uid_t userns_overflow_uid(void);
/* CAP_SYS_ADMIN, where that counts for mounts of our own namespaces. */
bool userns_may_mount(void);

#endif
