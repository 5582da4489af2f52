/* SPDX-License-Identifier: MIT */
/*
 * Reading through the mount: right bytes around every border, errors instead of short reads, and
 * readers that wait for a network that does not answer: others go on, signals end them.
 */
#include "fs_rig.h"

#include <setjmp.h>
#include <sys/mman.h>

#define SECOND NS_PER_S
/* What a person shall not have to wait; instrumented code is slow beside a second build. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define AT_ONCE (4 * SECOND)
#else
#define AT_ONCE SECOND
#endif
#define ALIGNED __attribute__((aligned(4096)))

static const char files[] = "f a s=300000\nf b s=65536\nf c s=65537\nf d s=4095\nf one s=1\n"
			    "f big s=3000000\nf sparse s=900000\n";

/* Out of the kernel's page cache, not out of ours. */
static void forget(int fd)
{
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

static void compare(struct fs_rig *s, int fd, const struct tree_inode *ino, uint64_t off,
		    uint64_t len)
{
	uint64_t n = off < ino->size ? min_u64(len, ino->size - off) : 0;
	uint8_t *got = malloc(len + 1), *want = malloc(n + 1);
	ssize_t r = pread(fd, got, len, (off_t)off);

	fs_expect(s, ino->data_off + off, want, n);
	if (r != (ssize_t)n || memcmp(got, want, n))
		fail_msg("%llu bytes at %llu: got %zd (%s)", (unsigned long long)len,
			 (unsigned long long)off, r, r < 0 ? strerror(errno) : "or other ones");
	free(got);
	free(want);
}

/* ---- right bytes ---- */

static void around_every_border(void **state)
{
	static const char *const names[] = {"a", "b", "c", "d", "one", "big", "sparse"};
	static const int64_t about[] = {-4097, -1, 0, 1, 4096};
	struct fs_rig s;

	FS_NEED_ROOT();
	fs_rig_init(&s, files, 0);
	fs_rig_mount(&s);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const struct tree_inode *ino = fs_inode(&s, names[i]);
		int fd = fs_open(&s, names[i], O_RDONLY);

		for (uint64_t border = 0; border <= ino->size + FS_CHUNK; border += FS_CHUNK)
			for (size_t k = 0; k < ARRAY_SIZE(about); k++) {
				int64_t off = (int64_t)border + about[k];

				if (off < 0)
					continue;
				if (k % 2)
					forget(fd);
				compare(&s, fd, ino, (uint64_t)off, 1);
				compare(&s, fd, ino, (uint64_t)off, 4097);
				compare(&s, fd, ino, (uint64_t)off, FS_CHUNK + 2);
			}
		forget(fd);
		compare(&s, fd, ino, 0, ino->size + 10);
		compare(&s, fd, ino, ino->size - 1, 10);
		close(fd);
	}
	assert_int_equal(counter_get(&s.g.counters.read_errors), 0);
	fs_rig_fini(&s);
}

static void at_random(void **state)
{
	const struct tree_inode *ino;
	uint64_t seed = 4;
	struct fs_rig s;
	int fds[2];

	FS_NEED_ROOT();
	fs_rig_init(&s, files, 0);
	fs_rig_mount(&s);
	ino = fs_inode(&s, "big");
	fds[0] = fs_open(&s, "big", O_RDONLY);
	fds[1] = fs_open(&s, "big", O_RDONLY);
	for (int i = 0; i < 1500; i++) {
		if (i % 50 == 0)
			forget(fds[0]);
		compare(&s, fds[i % 2], ino, rig_random(&seed) % 3000100,
			rig_random(&seed) % (i % 3 ? 300000 : 5000));
	}
	close(fds[0]);
	close(fds[1]);
	fs_rig_fini(&s);
}

/* Chunk indexes of EROFS hold 2 GiB at most; and holes are larger than any buffer. */
static void beyond_two_and_four_gigabytes(void **state)
{
	static const char text[] = "f sparse3 s=3221225473\nf sparse6 s=6442450945\nf after s=10\n";
	const uint64_t two = UINT64_C(1) << 31, four = UINT64_C(1) << 32;
	struct fs_rig s;

	FS_NEED_ROOT();
	fs_rig_init(&s, text, 0);
	fs_rig_mount(&s);
	for (int i = 0; i < 2; i++) {
		const char *name = i ? "sparse6" : "sparse3";
		const struct tree_inode *ino = fs_inode(&s, name);
		int fd = fs_open(&s, name, O_RDONLY);
		uint64_t border = i ? four : two; /* where its data is */

		assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL), 0);
		compare(&s, fd, ino, border - (1 << 20), 3 << 20);
		forget(fd);
		for (int k = -2; k < 3; k++)
			compare(&s, fd, ino, border + (uint64_t)(k * 30000), 100001);
		compare(&s, fd, ino, two - 5, 10);
		compare(&s, fd, ino, 5, 2 << 20);
		compare(&s, fd, ino, ino->size - 5000, 6000);
		close(fd);
	}
	fs_rig_fini(&s);
}

/* Through O_DIRECT nothing is read ahead: each request is what the program asked. */
static void directly(void **state)
{
	static uint8_t ALIGNED got[2 << 20], want[2 << 20];
	const struct tree_inode *ino;
	struct fs_rig s;
	int fd;

	FS_NEED_ROOT();
	fs_rig_init(&s, files, 0);
	fs_rig_mount(&s);
	ino = fs_inode(&s, "big");
	fd = fs_open(&s, "big", O_RDONLY | O_DIRECT);
	for (uint64_t off = 0; off < 3002368; off += 503808) {
		uint64_t n = off < ino->size ? min_u64(sizeof(got), ino->size - off) : 0;

		assert_int_equal(pread(fd, got, sizeof(got), (off_t)off), n);
		fs_expect(&s, ino->data_off + off, want, n);
		assert_memory_equal(got, want, n);
	}
	close(fd);
	fs_rig_fini(&s);
}

struct crowd {
	struct fs_rig *s;
	_Atomic unsigned wrong;
	_Atomic uint64_t seed;
};

static void *crowd_member(void *arg)
{
	struct crowd *c = arg;
	const struct tree_inode *ino = fs_inode(c->s, "big");
	int fd = open(fs_path(c->s, "big"), O_RDONLY | O_CLOEXEC);
	uint64_t seed = atomic_fetch_add(&c->seed, 1);
	uint8_t *got = malloc(200000), *want = malloc(200000);

	for (int i = 0; i < 100; i++) {
		uint64_t off = rig_random(&seed) % 2800000;

		fs_expect(c->s, ino->data_off + off, want, 200000);
		if (pread(fd, got, 200000, (off_t)off) != 200000 || memcmp(got, want, 200000))
			atomic_fetch_add(&c->wrong, 1);
		if (i % 10 == 0)
			posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	}
	free(got);
	free(want);
	close(fd);
	return NULL;
}

static void by_many_at_once(void **state)
{
	struct fs_rig s;
	struct crowd c = {.s = &s};
	pthread_t threads[16];

	FS_NEED_ROOT();
	fs_rig_init(&s, files, 0);
	s.rl.blob.delay_ns = 5 * NS_PER_MS;
	fs_rig_mount(&s);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, crowd_member, &c), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(c.wrong, 0);
	fs_rig_fini(&s);
}

/* ---- errors ---- */

/* What comes may come in pieces, but then the error must come, not the end of the file. */
static void ends_in_eio(struct fs_rig *s, const char *name, const char *what)
{
	static uint8_t ALIGNED buf[512 << 10];

	for (int direct = 0; direct < 2; direct++) {
		int fd = fs_open(s, name, O_RDONLY | (direct ? O_DIRECT : 0));
		ssize_t n;

		do
			n = read(fd, buf, sizeof(buf));
		while (n > 0 && !direct);
		if (n != -1 || errno != EIO)
			fail_msg("%s: %zd, %s", what, n, strerror(errno));
		close(fd);
	}
}

/* The second chunk is bad or missing: not even the first one's bytes may come as if all were. */
static void failures_are_eio(void **state)
{
	static const char *const names[] = {"wrong bytes", "a cut", "the deadline"};

	FS_NEED_ROOT();
	for (int what = 0; what < 3; what++) {
		struct fs_rig s;
		int fd;

		fs_rig_init(&s, files, SECOND / 2);
		fs_rig_mount(&s);
		s.rl.blob.corrupt_at = what == 0 ? 70000 : -1;
		s.rl.blob.corrupt_fresh = true;
		s.rl.blob.fail = what == 1 ? -ECONNRESET : 0;
		s.rl.blob.fail_after = 66000;
		s.rl.blob.delay_ns = what == 2 ? 100 * SECOND : 0;
		ends_in_eio(&s, "a", names[what]);
		s.rl.blob.corrupt_at = -1;
		s.rl.blob.fail = 0;
		s.rl.blob.delay_ns = 0;
		fs_sleep_ms(1500); /* what failed a moment ago fails at once */
		fd = fs_open(&s, "a", O_RDONLY);
		compare(&s, fd, fs_inode(&s, "a"), 0, 300001); /* well again, without a mount */
		close(fd);
		fs_rig_fini(&s);
	}
}

static void a_deadline_ends_a_read(void **state)
{
	struct fs_rig s;
	uint64_t start;
	char byte;
	int fd;

	FS_NEED_ROOT();
	fs_rig_init(&s, files, SECOND);
	fs_rig_mount(&s);
	s.rl.blob.delay_ns = 100 * SECOND;
	fd = fs_open(&s, "one", O_RDONLY);
	start = fs_now();
	assert_int_equal(read(fd, &byte, 1), -1);
	assert_int_equal(errno, EIO);
	assert_in_range(fs_now() - start, SECOND * 9 / 10, 4 * SECOND);
	close(fd);
	fs_rig_fini(&s);
}

/* ---- readers that wait ---- */

enum way { BUFFERED, DIRECT, MAPPED, DROPPED_TO_ONE_PAGE, N_WAYS };

static void on_signal(int sig)
{
}

/* In a process of its own: 0 = read, else errno. MAPPED dies of SIGBUS instead. */
static void child_reads(const char *path, enum way way, unsigned start_at)
{
	static uint8_t ALIGNED buf[65536];
	const struct sigaction caught = {.sa_handler = on_signal};
	int fd;

	/* Above all the server's own: were the test to fail, nobody could end the mount. */
	close_range(3, ~0u, 0);
	fd = open(path, O_RDONLY | O_CLOEXEC | (way == DIRECT ? O_DIRECT : 0));
	sigaction(SIGUSR1, &caught, NULL);
	signal(SIGQUIT, SIG_DFL); /* shells ignore it for what they put into the background */
	if (way == DROPPED_TO_ONE_PAGE)
		posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	if (way == MAPPED) {
		const volatile uint8_t *map = mmap(NULL, 65536, PROT_READ, MAP_SHARED, fd, 0);

		_exit(map[start_at] ? 0 : 99);
	}
	_exit(pread(fd, buf, way == DROPPED_TO_ONE_PAGE ? 100 : sizeof(buf), 0) > 0 ? 0 : errno);
}

static pid_t reader_start(struct fs_rig *s, const char *name, enum way way)
{
	uint64_t before = counter_get(&s->g.counters.waits), until = fs_now() + 5 * SECOND;
	char path[300];
	pid_t pid;

	strcpy(path, fs_path(s, name));
	pid = fork();
	if (!pid)
		child_reads(path, way, 100);
	while (counter_get(&s->g.counters.waits) == before && fs_now() < until)
		fs_sleep_ms(5);
	assert_true(counter_get(&s->g.counters.waits) > before);
	fs_sleep_ms(50);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	return pid;
}

/* How long it took to end, at most 5 s; then it is let go. */
static uint64_t reader_wait(struct fs_rig *s, pid_t pid, int *status)
{
	uint64_t start = fs_now(), took;

	while (waitpid(pid, status, WNOHANG) == 0 && fs_now() - start < 5 * SECOND)
		fs_sleep_ms(5);
	took = fs_now() - start;
	if (took >= 5 * SECOND) {
		s->rl.blob.delay_ns = 0;
		kill(pid, SIGKILL);
		waitpid(pid, status, 0);
	}
	return took;
}

static void killed(struct fs_rig *s, const char *name, enum way way, int first, int last)
{
	pid_t pid = reader_start(s, name, way);
	uint64_t took;
	int status;

	if (first) {
		kill(pid, first);
		fs_sleep_ms(250);
		if (waitpid(pid, &status, WNOHANG))
			fail_msg("way %d: a signal that is caught ended a read", way);
	}
	kill(pid, last);
	took = reader_wait(s, pid, &status);
	if (took >= AT_ONCE)
		fail_msg("way %d, signals %d, %d: it took %.1f s to die", way, first, last,
			 (double)took / 1e9);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), last);
}

static void blocked_readers_die_at_once(void **state)
{
	static const int lasts[] = {SIGKILL, SIGTERM, SIGQUIT};
	static const char *const names[] = {"a", "b", "c", "d"};
	struct fs_rig s;

	FS_NEED_ROOT();
	for (size_t i = 0; i < ARRAY_SIZE(lasts); i++)
		for (enum way way = 0; way < N_WAYS; way++) {
			fs_rig_init(&s, files, 20 * SECOND);
			s.rl.blob.delay_ns = 100 * SECOND;
			fs_rig_mount(&s);
			killed(&s, names[way], way, 0, lasts[i]);
			killed(&s, names[(way + 1) % 4], way, SIGUSR1, lasts[i]);
			fs_rig_fini(&s);
		}
}

/* What they waited for is fetched all the same, once, for the next one. */
static void signals_that_are_caught_change_nothing(void **state)
{
	struct fs_rig s;

	FS_NEED_ROOT();
	for (enum way way = 0; way < N_WAYS; way++) {
		uint64_t reads;
		int status;
		pid_t pid;

		fs_rig_init(&s, files, 20 * SECOND);
		s.rl.blob.delay_ns = SECOND;
		fs_rig_mount(&s);
		pid = reader_start(&s, "b", way);
		reads = s.rl.blob.reads;
		for (int i = 0; i < 5; i++) {
			kill(pid, SIGUSR1);
			kill(pid, SIGCHLD);
			fs_sleep_ms(20);
		}
		assert_true(reader_wait(&s, pid, &status) < 3 * SECOND);
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			fail_msg("way %d: exit status %x", way, status);
		assert_int_equal(s.rl.blob.reads, reads);
		fs_rig_fini(&s);
	}
}

static void one_that_waits_blocks_nobody(void **state)
{
	const struct tree_inode *ino;
	pid_t pids[20];
	struct stat st;
	struct fs_rig s;
	uint64_t start;
	int fd, status;

	FS_NEED_ROOT();
	fs_rig_init(&s, files, 20 * SECOND);
	fs_rig_mount(&s);
	ino = fs_inode(&s, "big");
	fd = fs_open(&s, "big", O_RDONLY);
	compare(&s, fd, ino, 0, ino->size / 4);
	forget(fd);
	s.rl.blob.delay_ns = 100 * SECOND;
	pids[0] = reader_start(&s, "a", BUFFERED);
	for (size_t i = 1; i < ARRAY_SIZE(pids); i++) {
		pids[i] = fork();
		if (!pids[i])
			child_reads(fs_path(&s, i % 2 ? "a" : "b"), DIRECT, 0);
	}
	fs_sleep_ms(100);
	start = fs_now();
	compare(&s, fd, ino, 0, ino->size / 4);
	assert_int_equal(stat(fs_path(&s, "sparse"), &st), 0);
	assert_int_equal(stat(fs_path(&s, "nothing"), &st), -1);
	assert_true(fs_now() - start < AT_ONCE);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++)
		kill(pids[i], SIGKILL);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++)
		assert_true(reader_wait(&s, pids[i], &status) < AT_ONCE);
	close(fd);
	fs_rig_fini(&s);
}

/* Stopping does not wait for the network: who reads gets an error. */
static void the_end_does_not_wait(void **state)
{
	struct fs_rig s;
	uint64_t start;
	int status;
	pid_t pid;

	FS_NEED_ROOT();
	fs_rig_init(&s, files, 20 * SECOND);
	s.rl.blob.delay_ns = 100 * SECOND;
	fs_rig_mount(&s);
	pid = reader_start(&s, "a", BUFFERED);
	start = fs_now();
	fs_rig_umount(&s);
	assert_true(fs_now() - start < AT_ONCE);
	assert_true(reader_wait(&s, pid, &status) < AT_ONCE);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status));
	fs_rig_fini(&s);
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Also just after requests, when the leader looks again before it sleeps, and while one waits. */
static void idleness_costs_nothing(void **state)
{
	struct fs_rig s;
	struct stat st;
	uint64_t before;
	int status;
	pid_t pid;

	FS_NEED_ROOT();
	fs_rig_init(&s, files, 20 * SECOND);
	fs_rig_mount(&s);
	assert_int_equal(stat(fs_path(&s, "a"), &st), 0);
	before = cpu_ns();
	fs_sleep_ms(1000);
	assert_true(cpu_ns() - before < 10 * NS_PER_MS);
	s.rl.blob.delay_ns = 100 * SECOND;
	pid = reader_start(&s, "a", DIRECT);
	kill(pid, SIGUSR1); /* and is watched */
	before = cpu_ns();
	fs_sleep_ms(1000);
	assert_true(cpu_ns() - before < 50 * NS_PER_MS); /* the test's own blob polls */
	kill(pid, SIGKILL);
	reader_wait(&s, pid, &status);
	fs_rig_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FS_TEST(around_every_border),
		FS_TEST(at_random),
		FS_TEST(beyond_two_and_four_gigabytes),
		FS_TEST(directly),
		FS_TEST(by_many_at_once),
		FS_TEST(failures_are_eio),
		FS_TEST(a_deadline_ends_a_read),
		FS_TEST(blocked_readers_die_at_once),
		FS_TEST(signals_that_are_caught_change_nothing),
		FS_TEST(one_that_waits_blocks_nobody),
		FS_TEST(the_end_does_not_wait),
		FS_TEST(idleness_costs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
