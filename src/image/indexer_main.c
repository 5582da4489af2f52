/* SPDX-License-Identifier: MIT */
/*
 * morsel-indexer: turns one layer's bytes into flat tables, locked up while it does. Run by
 * morsel only; image/indexer.h has the protocol.
 *
 * Before it reads a byte it gives up everything it does not need: no new privileges, no core
 * files, not traceable, bounded memory and processor time, and a system-call filter that kills it
 * for anything but reading and writing what it has open, memory, and its one extra thread.
 */
#include "image/layer_format.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/sparse.h"

#define DATA_FD 3
#define TABLE_FD 4
#define MEMORY_MAX ((rlim_t)512 << 20)
#define CPU_SECONDS_MAX 3600

/* Sanitizers map terabytes and read /proc: under them there is no sandbox but the process. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static int limits_set(uint64_t blob_bytes)
{
	/* What the tables themselves may need comes on top: they grow with the layer. */
	const rlim_t memory = MEMORY_MAX + (rlim_t)min_u64(blob_bytes, (uint64_t)1 << 30);
	const struct {
		int what;
		rlim_t value;
	} limits[] = {{RLIMIT_AS, memory},
		      {RLIMIT_CPU, CPU_SECONDS_MAX},
		      {RLIMIT_CORE, 0},
		      {RLIMIT_NOFILE, 8}};

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		struct rlimit l = {limits[i].value, limits[i].value};

		if (setrlimit((__rlimit_resource_t)limits[i].what, &l) < 0)
			return -errno;
	}
	return 0;
}

static int filter_load(void)
{
	static const int allowed[] = {
		SCMP_SYS(read),		 SCMP_SYS(write),	    SCMP_SYS(pwrite64),
		SCMP_SYS(munmap),	 SCMP_SYS(mremap),	    SCMP_SYS(madvise),
		SCMP_SYS(brk),		 SCMP_SYS(futex),	    SCMP_SYS(set_robust_list),
		SCMP_SYS(rseq),		 SCMP_SYS(rt_sigprocmask),  SCMP_SYS(rt_sigreturn),
		SCMP_SYS(exit),		 SCMP_SYS(exit_group),	    SCMP_SYS(getrandom),
		SCMP_SYS(clock_gettime), SCMP_SYS(sched_yield),	    SCMP_SYS(restart_syscall),
		SCMP_SYS(gettid),	 SCMP_SYS(getpid),	    SCMP_SYS(rt_sigaction),
		SCMP_SYS(sysinfo),	 SCMP_SYS(set_tid_address), SCMP_SYS(sched_getaffinity)};
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r = ctx ? 0 : -ENOMEM;

	for (size_t i = 0; i < ARRAY_SIZE(allowed) && r >= 0; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
	/* Memory may be mapped and protected (guard pages, malloc arenas), but never executable. */
	if (r >= 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r >= 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	/* A thread, but no process, which would outlive its parent's kill. A filter can't see the
	 * flags of clone3, so there is none and the C library takes clone. */
	if (r >= 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (r >= 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				     SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	/* malloc looks at /proc/sys/vm when a thread's heap shrinks, and takes no for an answer. */
	if (r >= 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(openat), 0);
	if (r >= 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r;
}

/* libcrypto opens its configuration when it is first used, and then never again. */
static void libraries_warm(void)
{
	struct digest d;

	OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL);
	digest_of(DIGEST_SHA256, "", 0, &d);
}

static int sandbox_enter(uint64_t blob_bytes)
{
	int r;

	libraries_warm();
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (SANITIZED)
		return 0;
	r = limits_set(blob_bytes);
	return r < 0 ? r : filter_load();
}

static ssize_t source_read(void *userdata, void *buf, size_t n)
{
	ssize_t r;

	do
		r = read(0, buf, n);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

static int sink_write(void *userdata, uint64_t dev_off, const void *data, size_t n)
{
	return sparse_write(seam_real(), DATA_FD, data, n, dev_off, SPARSE_RUN_CACHE, NULL);
}

static int index_run(const struct layer_format *format, const struct index_source *in,
		     struct error *err)
{
	const struct index_sink out = {.write = sink_write};
	_cleanup_(layer_builder_freep) struct layer_builder *b = NULL;
	int r = layer_builder_new(format->id, in->max_entries, &b);

	if (r >= 0)
		r = format->index(in, format->from_toc ? NULL : &out, b, err);
	if (r >= 0)
		r = layer_builder_write(b, TABLE_FD);
	return r;
}

int main(int argc, char **argv)
{
	struct index_source in = {.read = source_read};
	const struct layer_format *format;
	struct error err = ERROR_INIT;
	char line[sizeof(err.text) + 16];
	int r;

	if (argc != 5) {
		fputs("22 morsel-indexer is run by morsel, not by people\n", stderr);
		return 2;
	}
	signal(SIGXFSZ, SIG_IGN);
	format = layer_format_lookup((enum layer_format_id)atoi(argv[1]));
	in.blob_bytes = strtoull(argv[2], NULL, 10);
	in.data_end = strtoull(argv[3], NULL, 10);
	in.max_entries = strtoull(argv[4], NULL, 10);
	r = format ? sandbox_enter(in.blob_bytes) : -ENOTSUP;
	if (r < 0)
		error_set_errno(&err, r, "the indexer's sandbox can't be set up");
	else
		r = index_run(format, &in, &err);
	if (r >= 0)
		_exit(0);
	if (r == -ENOMEM) {
		err = ERROR_INIT;
		r = error_set(&err, -E2BIG,
			      "its index takes more memory than parsing may, %u MiB: refused",
			      (unsigned)(MEMORY_MAX >> 20));
	}
	if (!err.code)
		error_set_errno(&err, r, "indexing failed");
	snprintf(line, sizeof(line), "%d %s\n", -r, err.text);
	_exit(write(2, line, strlen(line)) < 0 ? 2 : 1);
}
