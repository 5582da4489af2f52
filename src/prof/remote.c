/* SPDX-License-Identifier: MIT */
#include "prof/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/uio.h>

#include "base/seam.h"
#include "prof/self.h"

#define ENTRY_BYTES 64	   /* what the program begins with */
#define REPORT_NS NS_PER_S /* between two looks at what is mapped */

#if defined(__x86_64__)
enum { DWARF_SP = 7 };
#elif defined(__aarch64__)
enum { DWARF_SP = 31 };
#endif

struct remote {
	Dwfl *dwfl;
	uintptr_t thread_root;	/* the outermost address of threads */
	uintptr_t entry;	/* of the program: near that of the first thread */
	struct remote_where at; /* the thread that is being looked at */
	uintptr_t *pcs;
	size_t n;
	uint64_t reported_ns;
};

int remote_read(pid_t tid, const char *file, char *ret, size_t size)
{
	_cleanup_(closep) int fd = -1;
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, ret, size - 1);
	if (n < 0)
		return -errno;
	ret[n] = 0;
	ret[strcspn(ret, "\n")] = 0;
	return 0;
}

/* "running"; "NUMBER ARG*6 SP PC" in a call; "-1 SP PC" blocked otherwise, in a page fault. */
int remote_where(pid_t tid, struct remote_where *ret)
{
	char text[256], *last, *before;
	int r = remote_read(tid, "syscall", text, sizeof(text));

	if (r < 0)
		return r;
	last = strrchr(text, ' ');
	if (!last)
		return REMOTE_RUNS;
	*last = 0;
	before = strrchr(text, ' ');
	if (!before)
		return REMOTE_RUNS;
	ret->pc = strtoull(last + 1, NULL, 16);
	ret->sp = strtoull(before + 1, NULL, 16);
	return ret->pc ? 0 : REMOTE_RUNS;
}

/* ---- what libdwfl asks for ---- */

static pid_t next_thread(Dwfl *dwfl, void *data, void **thread)
{
	return 0; /* there is no list, only the one that is asked for */
}

static bool get_thread(Dwfl *dwfl, pid_t tid, void *data, void **thread)
{
	*thread = data;
	return true;
}

static bool memory_read(Dwfl *dwfl, Dwarf_Addr at, Dwarf_Word *ret, void *data)
{
	struct iovec to = {ret, sizeof(*ret)}, from = {(void *)at, sizeof(*ret)};

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == sizeof(*ret);
}

static bool set_registers(Dwfl_Thread *thread, void *data)
{
	const struct remote *r = data;
	Dwarf_Word sp = r->at.sp;

	dwfl_thread_state_register_pc(thread, r->at.pc);
	return dwfl_thread_state_registers(thread, DWARF_SP, 1, &sp);
}

static const Dwfl_Thread_Callbacks callbacks = {
	.next_thread = next_thread,
	.get_thread = get_thread,
	.memory_read = memory_read,
	.set_initial_registers = set_registers,
};

static int on_frame(Dwfl_Frame *frame, void *data)
{
	struct remote *r = data;
	bool exact;
	Dwarf_Addr pc;

	if (!dwfl_frame_pc(frame, &pc, &exact))
		return DWARF_CB_ABORT;
	if (!pc)
		return DWARF_CB_ABORT;
	r->pcs[r->n++] = exact ? pc : pc - 1;
	return r->n < PROF_DEPTH ? DWARF_CB_OK : DWARF_CB_ABORT;
}

/* libdwfl can't tell the end of a stack from a frame it knows too little of. */
static bool at_the_end(const struct remote *r)
{
	uintptr_t last = r->pcs[r->n - 1];

	return r->n == PROF_DEPTH || last == r->thread_root || last - r->entry < ENTRY_BYTES;
}

/* Threads all begin alike, so the caller's own tells. */
static uintptr_t thread_root(void)
{
	uintptr_t pcs[PROF_DEPTH];
	size_t n = backtrace_here(0, pcs);

	return n ? pcs[n - 1] : 0;
}

int remote_stack(struct remote *r, pid_t tid, const struct remote_where *at,
		 uintptr_t pcs[static PROF_DEPTH], size_t *ret_n)
{
	const struct seam *clock = seam_real();
	int e;

	r->at = *at;
	r->pcs = pcs;
	r->n = 0;
	e = dwfl_getthread_frames(r->dwfl, tid, on_frame, r);
	if ((e < 0 || !r->n) && clock->monotonic_ns(clock) - r->reported_ns > REPORT_NS) {
		r->reported_ns = clock->monotonic_ns(clock);
		self_report(r->dwfl); /* perhaps in what was loaded since */
		r->n = 0;
		e = dwfl_getthread_frames(r->dwfl, tid, on_frame, r);
	}
	if (!r->n)
		pcs[r->n++] = at->pc;
	*ret_n = r->n;
	return at_the_end(r) ? 0 : REMOTE_CUT;
}

int remote_new(struct remote **ret)
{
	_cleanup_(remote_freep) struct remote *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->thread_root = thread_root();
	r->entry = getauxval(AT_ENTRY);
	r->dwfl = self_open(false);
	if (!r->dwfl || !dwfl_attach_state(r->dwfl, NULL, getpid(), &callbacks, r))
		return -ENOTSUP;
	*ret = steal_ptr(r);
	return 0;
}

void remote_free(struct remote *r)
{
	if (!r)
		return;
	if (r->dwfl)
		dwfl_end(r->dwfl);
	free(r);
}
