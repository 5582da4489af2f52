/* SPDX-License-Identifier: MIT */
/* The parts of the FUSE layer that need no mount: what /proc says, and paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <linux/fuse.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "fs/handover.h"
#include "fs/mountinfo.h"
#include "fs/restart.h"
#include "fs/task.h"

/* ---- mountinfo ---- */

static bool parse(const char *text, char point[200], struct mount_info *m)
{
	char line[1024], *p;
	bool ok;

	snprintf(line, sizeof(line), "%s\n", text);
	ok = mountinfo_parse(line, &p, m);
	snprintf(point, 200, "%s", ok ? p : "");
	return ok;
}

static void lines_of_mountinfo(void **state)
{
	struct mount_info m;
	char p[200];

	assert_true(parse(
		"42 27 0:39 / /mnt/py ro,nosuid - fuse.morsel ref ro,user_id=0,group_id=0", p, &m));
	assert_string_equal(p, "/mnt/py");
	assert_string_equal(m.type, "fuse.morsel");
	assert_true(mountinfo_is_ours(&m));
	assert_int_equal(m.id, 42);
	assert_int_equal(m.parent, 27);
	assert_true(m.dev == makedev(0, 39));
	assert_int_equal(m.owner, 0);
	/* optional fields, escapes, a source that wants to be somebody else's */
	assert_true(parse("1 2 259:70000 /a\\040b /x\\040y\\011\\134040z rw shared:1 master:2 - "
			  "fuse.morsel user_id=7,\\040user_id=8 ro,user_id=1000,group_id=0",
			  p, &m));
	assert_string_equal(p, "/x y\t\\040z");
	assert_true(m.dev == makedev(259, 70000));
	assert_int_equal(m.owner, 1000);
	/* what is not FUSE has no such option */
	assert_true(parse("1 2 8:1 / / rw - ext4 /dev/sda user_id=5", p, &m));
	assert_int_equal(m.owner, 0);
	assert_false(mountinfo_is_ours(&m));
	assert_true(parse("1 2 0:5 / /m rw - fuse.morsel2 a b", p, &m));
	assert_false(mountinfo_is_ours(&m));
}

static void lines_that_are_none(void **state)
{
	static const char *const bad[] = {
		"",
		" - ",
		"1 2 3:4",
		"1 2 3:4 /",
		"1 2 3:4 / /p",
		"1 2 3:4 / /p rw",
		"1 2 34 / /p rw - t s o",
		"x 2 3:4 / /p rw - t s o",
		"1 2 3:4 - t s o",
		"1 2 3:4 / - t s o",
		"1 2 3:4 / /p rw - ",
	};
	struct mount_info m;
	char p[200];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (parse(bad[i], p, &m))
			fail_msg("taken: \"%s\"", bad[i]);
}

static void what_is_mounted(void **state)
{
	struct mount_info m;

	assert_int_equal(mountinfo_lookup("/proc", &m), 0);
	assert_string_equal(m.type, "proc");
	assert_int_equal(mountinfo_lookup("/proc/self", &m), -ENOENT);
	assert_int_equal(mountinfo_lookup("/nothing/there", &m), -ENOENT);
	assert_int_equal(mountinfo_lookup("", &m), -ENOENT);
}

/* ---- paths ---- */

static void resolve(const char *path, const char *want)
{
	char got[PATH_MAX];

	assert_int_equal(path_resolve(path, got, NULL), 0);
	assert_string_equal(got, want);
}

static void last_components_are_not_touched(void **state)
{
	char dir[] = "/tmp/morsel-test-XXXXXX", path[200], want[200], got[PATH_MAX];
	struct error err = ERROR_INIT;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/link", dir);
	assert_int_equal(symlink("/nowhere", path), 0);
	resolve(path, path);
	snprintf(want, sizeof(want), "%s/there", dir);
	assert_int_equal(symlink(dir, want), 0); /* as a parent it is followed */
	snprintf(path, sizeof(path), "%s/there/absent", dir);
	snprintf(want, sizeof(want), "%s/absent", dir);
	resolve(path, want);
	strcat(path, "///");
	resolve(path, want);
	snprintf(path, sizeof(path), "%s/there/.", dir);
	resolve(path, dir);
	snprintf(path, sizeof(path), "%s/there/..", dir);
	resolve(path, "/tmp");
	resolve("/", "/");
	resolve("//", "/");
	resolve("/tmp", "/tmp");
	resolve("/absent", "/absent");
	assert_int_equal(chdir(dir), 0);
	resolve("absent", want);
	resolve("./absent", want);
	resolve(".", dir);
	assert_int_equal(chdir("/"), 0);
	snprintf(path, sizeof(path), "%s/no/such", dir);
	assert_int_equal(path_resolve(path, got, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
	snprintf(path, sizeof(path), "%s/link", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/there", dir);
	unlink(path);
	assert_int_equal(rmdir(dir), 0);
}

static void long_paths(void **state)
{
	char *path = malloc(2 * PATH_MAX), got[PATH_MAX];

	memset(path, 'x', 2 * PATH_MAX);
	path[0] = '/';
	path[PATH_MAX - 1] = 0; /* fits */
	assert_int_equal(path_resolve(path, got, NULL), 0);
	path[PATH_MAX - 1] = 'x';
	path[PATH_MAX] = 0;
	assert_int_equal(path_resolve(path, got, NULL), -ENAMETOOLONG);
	path[PATH_MAX] = 'x';
	path[2 * PATH_MAX - 1] = 0;
	assert_int_equal(path_resolve(path, got, NULL), -ENAMETOOLONG);
	free(path);
}

/* ---- dying tasks ---- */

static bool dying(const char *state, const char *thread, const char *group, const char *blocked,
		  const char *ignored, const char *caught)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "Name:\tSigPnd: ffff\nState:\t%s\nSigQ:\t0/9\nSigPnd:\t%s\nShdPnd:\t%s\n"
		 "SigBlk:\t%s\nSigIgn:\t%s\nSigCgt:\t%s\nCapInh:\t0\n",
		 state, thread, group, blocked, ignored, caught);
	return task_status_is_dying(text);
}

static void pending_signals(void **state)
{
	const char *none = "0000000000000000", *all = "ffffffffffffffff";
	const char *kill = "0000000000000100", *term = "0000000000004000";
	const char *quit = "0000000000000004", *chld = "0000000000010000";
	const char *realtime = "8000000000000000";

	assert_false(dying("S (sleeping)", none, none, none, none, none));
	assert_false(dying("D (disk sleep)", none, none, all, all, all));
	assert_true(dying("Z (zombie)", none, none, none, none, none));
	assert_true(dying("X (dead)", none, none, none, none, none));
	assert_true(dying("D (disk sleep)", kill, none, none, none, none));
	assert_true(dying("D (disk sleep)", none, kill, all, all, all));
	assert_true(dying("D (disk sleep)", none, term, none, none, none));
	assert_false(dying("D (disk sleep)", none, term, term, none, none));
	assert_false(dying("D (disk sleep)", none, term, none, term, none));
	assert_false(dying("D (disk sleep)", none, term, none, none, term));
	assert_true(dying("D (disk sleep)", quit, none, none, none, term));
	assert_false(dying("D (disk sleep)", chld, chld, none, none, none));
	assert_true(dying("D (disk sleep)", none, realtime, none, none, none));
	assert_false(task_status_is_dying(""));
	assert_false(task_status_is_dying("\nState:\t"));
	assert_false(task_status_is_dying("\nSigPnd:"));
}

static void tasks_that_are(void **state)
{
	siginfo_t info;
	pid_t pid = fork();

	if (!pid) {
		pause();
		_exit(0);
	}
	assert_false(task_is_dying(pid));
	assert_false(task_is_dying(getpid()));
	assert_false(task_is_dying(0));
	assert_false(task_is_dying(-1));
	kill(pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_true(task_is_dying(pid)); /* a zombie */
	waitpid(pid, NULL, 0);
	assert_false(task_is_dying(pid)); /* not to be seen */
}

/* ---- who gets a successor ---- */

#define SECOND UINT64_C(1000000000)

static void killed_servers_are_replaced(void **state)
{
	struct restart r = {0};
	uint64_t now = 1;

	for (int i = 0; i < 20; i++, now += SECOND / 10)
		assert_int_equal(restart_decide(&r, now, SIGKILL, true), 0);
	for (int i = 0; i < 1000; i++, now += SECOND / 10) {
		int64_t wait = restart_decide(&r, now, SIGKILL, true);

		assert_true(wait > 0 && wait <= (int64_t)SECOND / 2);
	}
	assert_int_equal(restart_decide(&r, now + SECOND, SIGKILL, true), 0);
}

static void older_kernels_do_not_resend(void **state)
{
	struct handover_state s = {0};
	struct fuse_init_in in = {.flags = FUSE_INIT_EXT | FUSE_ASYNC_READ, .flags2 = 1 << 7};
	uint8_t *at = s.init + sizeof(struct fuse_in_header);

	assert_true(handover_can_resend(&s)); /* INIT was not read yet */
	s.init_len = sizeof(struct fuse_in_header) + sizeof(in);
	assert_false(handover_can_resend(&s));
	memcpy(at, &in, sizeof(in));
	assert_true(handover_can_resend(&s));
	in.flags = FUSE_ASYNC_READ; /* then flags2 means nothing */
	memcpy(at, &in, sizeof(in));
	assert_false(handover_can_resend(&s));
	s.init_len = sizeof(struct fuse_in_header) + 16; /* before 7.36 */
	assert_false(handover_can_resend(&s));
}

/* What a server tells arrives with the descriptors, and outlives the server. */
static void handing_over(void **state)
{
	struct morsel_handover server = {.fuse_fd = -1, .listen_fd = -1};
	struct morsel_handover supervisor = {.fuse_fd = -1, .listen_fd = -1};
	int pair[2], pipe_a[2], pipe_b[2];
	char c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe(pipe_a), 0);
	assert_int_equal(pipe(pipe_b), 0);
	server.socket_fd = pair[0];
	supervisor.socket_fd = pair[1];
	strcpy(server.s.path, "/mnt/a");
	server.s.mounting = true;
	assert_int_equal(handover_tell(&server, -1, -1), 0);
	assert_int_equal(handover_hear(&supervisor), 0);
	assert_true(supervisor.s.mounting && !supervisor.s.mounted && supervisor.fuse_fd < 0);
	server.s.mounted = true;
	assert_int_equal(handover_tell(&server, pipe_a[1], -1), 0);
	server.s.serving = true;
	assert_int_equal(handover_tell(&server, -1, pipe_b[1]), 0);
	close(pair[0]);
	close(pipe_a[1]);
	close(pipe_b[1]);
	assert_int_equal(handover_hear(&supervisor), -EPIPE);
	assert_true(supervisor.s.mounted && supervisor.s.serving);
	assert_string_equal(supervisor.s.path, "/mnt/a");
	assert_int_equal(write(supervisor.fuse_fd, "f", 1), 1);
	assert_int_equal(write(supervisor.listen_fd, "l", 1), 1);
	assert_int_equal(read(pipe_a[0], &c, 1), 1);
	assert_int_equal(c, 'f');
	assert_int_equal(read(pipe_b[0], &c, 1), 1);
	assert_int_equal(c, 'l');
	for (int i = 0; i < 2; i++)
		close(i ? pipe_a[0] : pipe_b[0]);
	close(supervisor.fuse_fd);
	close(supervisor.listen_fd);
	close(pair[1]);
}

static void crashing_servers_are_given_up(void **state)
{
	struct restart r = {0}, slow = {0}, early = {0}, mixed = {0};

	for (uint64_t i = 0; i < 4; i++) {
		assert_int_equal(restart_decide(&r, 5 + i, SIGSEGV, true), 0);
		assert_int_equal(restart_decide(&early, 5 + i, SIGKILL, false), 0);
		assert_int_equal(restart_decide(&mixed, 5 + i, SIGKILL, i % 2), 0);
	}
	assert_int_equal(restart_decide(&r, 5 + 10 * SECOND - 1, SIGBUS, true), -1);
	assert_int_equal(restart_decide(&early, 6, SIGKILL, false), -1);
	assert_int_equal(restart_decide(&mixed, 9, SIGABRT, true), 0);
	for (uint64_t i = 0; i < 100; i++) /* five within ten seconds, never */
		assert_int_equal(restart_decide(&slow, 1 + i * 5 * SECOND / 2, SIGSEGV, true), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_of_mountinfo),
		cmocka_unit_test(lines_that_are_none),
		cmocka_unit_test(what_is_mounted),
		cmocka_unit_test(last_components_are_not_touched),
		cmocka_unit_test(long_paths),
		cmocka_unit_test(pending_signals),
		cmocka_unit_test(tasks_that_are),
		cmocka_unit_test(killed_servers_are_replaced),
		cmocka_unit_test(crashing_servers_are_given_up),
		cmocka_unit_test(older_kernels_do_not_resend),
		cmocka_unit_test(handing_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
