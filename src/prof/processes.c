/* SPDX-License-Identifier: MIT */
/*
 * In front is a table of threads, one word each: the thread's number, its process's, and when it
 * was looked up. Threads that share a slot push each other out; a look-up costs some 15 us then.
 */
#include "prof/processes.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#define SLOTS 4096
#define HASH_SLOTS ((size_t)2 * PROCESSES_MAX)
#define VALID_SHIFT 20 /* nanoseconds in 2^20: about a thousandth of a second */
#define VALID_TICKS 1000
#define AGE_MASK 0xffffffu

/* tid:22 | age:24 | process:16, and tid is never 0 in a used one */
static _Atomic uint64_t slots[SLOTS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of these */
static struct process *list;				 /* by number; [0] is nobody */
static uint32_t *by_pid;				 /* hash table of numbers, 0 = free */
static uint32_t n_list, cap_list;

static uint64_t slot_pack(pid_t tid, uint32_t age, uint32_t process)
{
	return (uint64_t)tid << 40 | (uint64_t)(age & AGE_MASK) << 16 | process;
}

static uint32_t age_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint32_t)((((uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec) >>
			   VALID_SHIFT) &
			  AGE_MASK);
}

static const char *field(const char *status, const char *key)
{
	const char *at = strstr(status, key);

	return at ? at + strlen(key) : NULL;
}

bool process_status_parse(const char *status, struct process *ret)
{
	const char *name = strncmp(status, "Name:\t", 6) ? NULL : status + 6,
		   *tgid = field(status, "\nTgid:\t");
	size_t n = name ? strcspn(name, "\n") : 0;
	unsigned long pid = tgid ? strtoul(tgid, NULL, 10) : 0;

	if (!name || !pid || pid > UINT32_MAX)
		return false;
	*ret = (struct process){.pid = (uint32_t)pid};
	memcpy(ret->command, name, min_u64(n, sizeof(ret->command) - 1));
	return true;
}

static void look(pid_t tid, struct process *ret)
{
	char path[64], status[512];
	_cleanup_(closep) int fd = -1;
	ssize_t n;

	*ret = (struct process){.pid = (uint32_t)tid};
	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, status, sizeof(status) - 1);
	if (n <= 0)
		return;
	status[n] = 0;
	process_status_parse(status, ret);
}

/* Under the lock: makes the tables, or room for one more. */
static bool room_make(void)
{
	uint32_t cap = cap_list ? 2 * cap_list : 256;
	struct process *larger;

	if (n_list < cap_list)
		return true;
	if (cap > PROCESSES_MAX || (!by_pid && !(by_pid = calloc(HASH_SLOTS, sizeof(*by_pid)))))
		return false;
	larger = realloc(list, cap * sizeof(*list));
	if (!larger)
		return false;
	list = larger;
	cap_list = cap;
	if (!n_list)
		list[n_list++] = (struct process){0};
	return true;
}

static uint32_t number_of(const struct process *p)
{
	uint32_t number = 0;
	size_t at = (size_t)(p->pid * UINT64_C(2654435761)) % HASH_SLOTS;

	pthread_mutex_lock(&lock);
	if (room_make()) {
		while (by_pid[at] && list[by_pid[at]].pid != p->pid)
			at = (at + 1) % HASH_SLOTS;
		if (!by_pid[at])
			by_pid[at] = n_list++;
		number = by_pid[at];
		if (p->command[0] || !list[number].pid)
			list[number] = *p;
	}
	pthread_mutex_unlock(&lock);
	return number;
}

uint32_t process_of(pid_t tid)
{
	_Atomic uint64_t *slot = &slots[(uint32_t)tid % SLOTS];
	uint64_t word = atomic_load_explicit(slot, memory_order_relaxed);
	uint32_t now = age_now();
	struct process p;

	if (tid <= 0)
		return 0;
	if (word >> 40 == (uint64_t)tid &&
	    ((now - (uint32_t)(word >> 16)) & AGE_MASK) < VALID_TICKS)
		return (uint32_t)(word & 0xffff);
	look(tid, &p);
	word = slot_pack(tid, now, number_of(&p));
	atomic_store_explicit(slot, word, memory_order_relaxed);
	return (uint32_t)(word & 0xffff);
}

void process_get(uint32_t process, struct process *ret)
{
	*ret = (struct process){0};
	pthread_mutex_lock(&lock);
	if (process < n_list)
		*ret = list[process];
	pthread_mutex_unlock(&lock);
}
