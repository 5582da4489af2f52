/* SPDX-License-Identifier: MIT */
#include "base/userns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"

uid_t userns_map_uid(const char *map, uid_t uid, bool *ret_initial)
{
	unsigned inside, outside, count;
	uid_t found = uid;
	bool first = true;

	*ret_initial = false;
	while (sscanf(map, "%u %u %u", &inside, &outside, &count) == 3) {
		if (first && !inside && !outside && count == UINT32_MAX)
			*ret_initial = true;
		first = false;
		if (uid >= inside && uid - inside < count) {
			found = outside + (uid - inside);
			break;
		}
		map = strchr(map, '\n');
		if (!map)
			break;
		map++;
	}
	return found;
}

static uid_t own_map_uid(uid_t uid, bool *ret_initial)
{
	_cleanup_(closep) int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
	char map[4096];
	ssize_t n = fd < 0 ? -1 : read(fd, map, sizeof(map) - 1);

	*ret_initial = true;
	if (n < 0)
		return uid;
	map[n] = 0;
	return userns_map_uid(map, uid, ret_initial);
}

bool userns_is_initial(void)
{
	bool initial;

	own_map_uid(0, &initial);
	return initial;
}

uid_t userns_outer_uid(uid_t uid)
{
	bool initial;

	return own_map_uid(uid, &initial);
}

uid_t userns_overflow_uid(void)
{
	_cleanup_(closep) int fd = open("/proc/sys/kernel/overflowuid", O_RDONLY | O_CLOEXEC);
	char text[16];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	unsigned uid;

	if (n < 0)
		return 65534;
	text[n] = 0;
	return sscanf(text, "%u", &uid) == 1 ? uid : 65534;
}

bool userns_may_mount(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	return !syscall(SYS_capget, &head, data) &&
	       data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective & CAP_TO_MASK(CAP_SYS_ADMIN);
}
