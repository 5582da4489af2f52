/* SPDX-License-Identifier: MIT */
/*
 * Wall-clock profiles: each kind of waiting is held for some seconds by a thread of its own, all at
 * the same time, and has to be in the profile for as long as the thread itself says that it waited;
 * and no wait may notice that somebody looked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include "base/seam.h"
#include "pprof_raw.h"
#include "prof/op.h"
#include "prof/session.h"
#include "prof/wait.h"

#define FGPROF 1 /* of prof_profiles */
#define HOLD_NS (3 * NS_PER_S)

static uint64_t now_ns(void)
{
	const struct seam *s = seam_real();

	return s->monotonic_ns(s);
}

static struct timespec in_ns(clockid_t clock, uint64_t ns)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	ns += (uint64_t)ts.tv_nsec;
	ts.tv_sec += (time_t)(ns / NS_PER_S);
	ts.tv_nsec = (long)(ns % NS_PER_S);
	return ts;
}

/* What waits without a timeout is woken by this, from a child process. */
static void child_sleeps(int write_fd)
{
	struct timespec ts = {.tv_sec = HOLD_NS / NS_PER_S};

	nanosleep(&ts, NULL);
	if (write(write_fd, "x", 1) < 0)
		_exit(1);
	_exit(0);
}

static pid_t waker(int fds[2])
{
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	if (!pid)
		child_sleeps(fds[1]);
	assert_true(pid > 0);
	return pid;
}

static void reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static const struct timespec hold = {.tv_sec = HOLD_NS / NS_PER_S};
static const struct timeval hold_us = {.tv_sec = HOLD_NS / NS_PER_S};
static char scratch[64];

/* Each returns 0, or the errno with which the wait ended too early. noinline: they are looked for
 * by name. */
#define WAIT(name) __attribute__((noinline, noclone)) static int name(void)

WAIT(w_nanosleep)
{
	return nanosleep(&hold, NULL) ? errno : 0;
}

WAIT(w_clock_nanosleep)
{
	struct timespec until = in_ns(CLOCK_MONOTONIC, HOLD_NS);
	int r = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);

	return r;
}

WAIT(w_poll)
{
	return poll(NULL, 0, (int)(HOLD_NS / NS_PER_MS)) ? errno : 0;
}

WAIT(w_ppoll)
{
	return ppoll(NULL, 0, &hold, NULL) ? errno : 0;
}

WAIT(w_select)
{
	struct timeval tv = hold_us;

	return select(0, NULL, NULL, NULL, &tv) ? errno : 0;
}

WAIT(w_epoll)
{
	_cleanup_(closep) int fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev;

	return epoll_wait(fd, &ev, 1, (int)(HOLD_NS / NS_PER_MS)) ? errno : 0;
}

WAIT(w_pipe_read)
{
	int fds[2], e = 0;
	pid_t pid = waker(fds);
	char c;

	if (read(fds[0], &c, 1) != 1)
		e = errno ? errno : EIO;
	reap(pid);
	close(fds[0]);
	close(fds[1]);
	return e;
}

WAIT(w_eventfd)
{
	struct itimerspec its = {.it_value = hold};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), e = 0;
	uint64_t n;

	timerfd_settime(fd, 0, &its, NULL);
	if (read(fd, &n, sizeof(n)) != sizeof(n))
		e = errno;
	close(fd);
	return e;
}

WAIT(w_recv_timeout)
{
	int fds[2], e = 0;
	char c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &hold_us, sizeof(hold_us));
	if (recv(fds[0], &c, 1, 0) >= 0 || errno != EAGAIN)
		e = errno;
	close(fds[0]);
	close(fds[1]);
	return e;
}

WAIT(w_accept_timeout)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), e = 0;
	struct sockaddr_un_any {
		sa_family_t family;
	} any = {AF_UNIX}; /* the kernel picks a name */

	assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
	assert_int_equal(listen(fd, 1), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &hold_us, sizeof(hold_us));
	if (accept(fd, NULL, NULL) >= 0 || errno != EAGAIN)
		e = errno;
	close(fd);
	return e;
}

WAIT(w_mutex)
{
	static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	struct timespec until = in_ns(CLOCK_REALTIME, HOLD_NS);
	int r;

	pthread_mutex_lock(&m);
	r = pthread_mutex_timedlock(&m, &until);
	pthread_mutex_unlock(&m);
	return r == ETIMEDOUT ? 0 : r ? r : EIO;
}

WAIT(w_cond)
{
	static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
	struct timespec until = in_ns(CLOCK_REALTIME, HOLD_NS);
	int r;

	pthread_mutex_lock(&m);
	r = pthread_cond_timedwait(&c, &m, &until);
	pthread_mutex_unlock(&m);
	return r == ETIMEDOUT ? 0 : r ? r : EIO;
}

WAIT(w_rwlock)
{
	static pthread_rwlock_t l = PTHREAD_RWLOCK_INITIALIZER;
	struct timespec until = in_ns(CLOCK_REALTIME, HOLD_NS);
	int r;

	pthread_rwlock_rdlock(&l);
	r = pthread_rwlock_timedwrlock(&l, &until);
	pthread_rwlock_unlock(&l);
	return r == ETIMEDOUT ? 0 : r ? r : EIO;
}

WAIT(w_semaphore)
{
	struct timespec until = in_ns(CLOCK_REALTIME, HOLD_NS);
	sem_t s;

	sem_init(&s, 0, 0);
	return sem_timedwait(&s, &until) && errno == ETIMEDOUT ? 0 : errno;
}

WAIT(w_futex)
{
	uint32_t word = 0;

	return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &hold, NULL, 0) &&
			       errno == ETIMEDOUT
		       ? 0
		       : errno;
}

WAIT(w_sigtimedwait)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return sigtimedwait(&set, NULL, &hold) < 0 && errno == EAGAIN ? 0 : errno;
}

WAIT(w_waitpid)
{
	pid_t pid = fork();

	if (!pid) {
		nanosleep(&hold, NULL);
		_exit(0);
	}
	return waitpid(pid, NULL, 0) == pid ? 0 : errno;
}

static int lock_held(int (*take)(int fd))
{
	int ready[2], fd = open(scratch, O_RDWR | O_CLOEXEC), e;
	pid_t pid;
	char c;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		int mine = open(scratch, O_RDWR | O_CLOEXEC);

		if (take(mine) || write(ready[1], "x", 1) != 1)
			_exit(1);
		nanosleep(&hold, NULL);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	e = take(fd) ? errno : 0;
	reap(pid);
	close(ready[0]);
	close(ready[1]);
	close(fd);
	return e;
}

static int take_flock(int fd)
{
	return flock(fd, LOCK_EX);
}

static int take_range(int fd)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 1};

	return fcntl(fd, F_OFD_SETLKW, &l);
}

WAIT(w_flock)
{
	return lock_held(take_flock);
}

WAIT(w_range_lock)
{
	return lock_held(take_range);
}

WAIT(w_sem_sysv)
{
	int id = semget(IPC_PRIVATE, 1, 0600), e;
	struct sembuf down = {.sem_op = -1};

	if (id < 0)
		return errno;
	e = semtimedop(id, &down, 1, &hold) && errno == EAGAIN ? 0 : errno;
	semctl(id, 0, IPC_RMID);
	return e;
}

static const struct wait_kind {
	const char *name;
	int (*wait)(void);
} kinds[] = {
#define KIND(f)                                                                                    \
	{                                                                                          \
#f, f                                                                              \
	}
	KIND(w_nanosleep),    KIND(w_clock_nanosleep), KIND(w_poll),	   KIND(w_ppoll),
	KIND(w_select),	      KIND(w_epoll),	       KIND(w_pipe_read),  KIND(w_eventfd),
	KIND(w_recv_timeout), KIND(w_accept_timeout),  KIND(w_mutex),	   KIND(w_cond),
	KIND(w_rwlock),	      KIND(w_semaphore),       KIND(w_futex),	   KIND(w_sigtimedwait),
	KIND(w_waitpid),      KIND(w_flock),	       KIND(w_range_lock), KIND(w_sem_sysv),
#undef KIND
};

struct waiter {
	pthread_t thread;
	const struct wait_kind *kind;
	uint64_t waited_ns;
	int result;
};

static void *waiter_run(void *arg)
{
	struct waiter *w = arg;
	uint64_t since = now_ns();

	w->result = w->kind->wait();
	w->waited_ns = now_ns() - since;
	return NULL;
}

static void near(const char *what, int64_t got, uint64_t want, double tolerance)
{
	double off = (double)got / (double)want - 1;

	if (!RAW_TRUTH)
		return;
	if (off < -tolerance || off > tolerance)
		fail_msg("%s: %.3f s in the profile, %.3f s by the clock", what, (double)got / 1e9,
			 (double)want / 1e9);
}

static void start(unsigned kind_bits, struct prof_session **ret)
{
	struct error err = ERROR_INIT;

	if (prof_session_start(&(struct prof_session_options){.kinds = kind_bits}, ret, &err) < 0)
		fail_msg("%s", err.text);
}

static void stop(struct prof_session *s, struct raw *ret)
{
	_cleanup_(prof_profiles_fini) struct prof_profiles out = {0};
	struct error err = ERROR_INIT;

	if (prof_session_stop(s, &out, &err) < 0)
		fail_msg("%s", err.text);
	*ret = raw_read(&out.profile[FGPROF]);
}

static void twenty_waits(void **state)
{
	_cleanup_(raw_free) struct raw r = {0};
	struct waiter w[ARRAY_SIZE(kinds)] = {0};
	struct prof_session *s;
	int fd;

	snprintf(scratch, sizeof(scratch), "/tmp/morsel-test-%d", getpid());
	fd = open(scratch, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	start(PROF_CPU | PROF_FGPROF, &s);
	for (size_t i = 0; i < ARRAY_SIZE(w); i++) {
		w[i].kind = &kinds[i];
		assert_int_equal(pthread_create(&w[i].thread, NULL, waiter_run, &w[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(w); i++)
		pthread_join(w[i].thread, NULL);
	stop(s, &r);
	close(fd);
	unlink(scratch);
	for (size_t i = 0; i < ARRAY_SIZE(w); i++) {
		if (w[i].result && RAW_TRUTH)
			fail_msg("%s ended too early: %s", w[i].kind->name, strerror(w[i].result));
		assert_true(w[i].waited_ns >= HOLD_NS - NS_PER_MS || !RAW_TRUTH);
		near(w[i].kind->name, raw_sum(&r, 1, w[i].kind->name, NULL), w[i].waited_ns, 0.05);
		near(w[i].kind->name, raw_sum(&r, 1, w[i].kind->name, "state:[blocked]"),
		     w[i].waited_ns, 0.05);
	}
	assert_non_null(strstr(r.types[1], "time/nanoseconds[dflt]"));
}

/* Many short waits, and some work between them: the sampler finds the thread running often enough.
 */
struct restless {
	pthread_t thread;
	unsigned rounds, interrupted, early;
	uint64_t wall_ns, cpu_ns, late_ns;
};

static _Thread_local volatile uint64_t sink;

__attribute__((noinline, noclone)) static int restless_poll(void)
{
	return poll(NULL, 0, 5);
}

static void *restless_run(void *arg)
{
	struct restless *r = arg;
	uint64_t since = now_ns();
	struct timespec cpu;

	while (now_ns() - since < 2 * NS_PER_S) {
		uint64_t before = now_ns();

		if (restless_poll() < 0)
			r->interrupted += errno == EINTR;
		r->early += now_ns() - before < 5 * NS_PER_MS;
		for (int i = 0; i < 300000; i++)
			sink += (uint64_t)i * sink + 1;
		r->rounds++;
	}
	r->wall_ns = now_ns() - since;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
	r->cpu_ns = (uint64_t)cpu.tv_sec * NS_PER_S + (uint64_t)cpu.tv_nsec;
	return NULL;
}

static void never_interrupts(void **state)
{
	_cleanup_(raw_free) struct raw r = {0};
	struct restless a = {0}, b = {0};
	struct prof_session *s;

	start(PROF_CPU | PROF_FGPROF, &s);
	assert_int_equal(pthread_create(&a.thread, NULL, restless_run, &a), 0);
	assert_int_equal(pthread_create(&b.thread, NULL, restless_run, &b), 0);
	pthread_join(a.thread, NULL);
	pthread_join(b.thread, NULL);
	stop(s, &r);
	if (!RAW_TRUTH) /* whose own frames can't be walked from outside: signals help out */
		return;
	assert_int_equal(a.interrupted + b.interrupted, 0);
	assert_int_equal(a.early + b.early, 0);
	near("all of their time", raw_sum(&r, 1, "restless_run", NULL), a.wall_ns + b.wall_ns,
	     0.05);
	near("what they computed", raw_sum(&r, 1, "restless_run", "state:[running]"),
	     a.cpu_ns + b.cpu_ns, 0.25);
	assert_true(raw_sum(&r, 1, "restless_poll", NULL) > 0);
}

/* ---- labels ---- */

static sem_t go_on;

static void *worker_run(void *arg)
{
	struct prof_scope scope;

	prof_thread_register("w-rker");
	sem_wait(&go_on);
	prof_op_begin(&scope, &(struct prof_op){.name = "read",
						.image = "x:1",
						.layer = "sha256:11",
						.pid = 12,
						.command = "cat"});
	nanosleep(&(struct timespec){.tv_nsec = 400000000}, NULL);
	prof_op_end(&scope);
	return NULL;
}

static void idle_or_waiting(void **state)
{
	struct timespec pause = {.tv_nsec = 400000000};
	_cleanup_(raw_free) struct raw r = {0};
	_cleanup_(freep) char *top = NULL;
	struct prof_session *s;
	struct prof_scope scope;
	struct prof_wait *wait;
	pthread_t thread;

	sem_init(&go_on, 0, 0);
	start(PROF_FGPROF, &s);
	assert_int_equal(pthread_create(&thread, NULL, worker_run, NULL), 0);
	prof_op_begin(&scope, &(struct prof_op){.name = "open", .layer = "sha256:22"});
	wait = prof_wait_begin(); /* parked, while this thread does something else */
	prof_op_end(&scope);
	nanosleep(&pause, NULL);
	prof_wait_end(wait);
	sem_post(&go_on);
	pthread_join(thread, NULL);
	prof_op_begin(&scope, &(struct prof_op){.name = "open", .layer = "sha256:33"});
	wait = prof_wait_begin();
	nanosleep(&pause, NULL);
	prof_op_end(&scope);
	stop(s, &r);
	prof_wait_end(wait); /* long after */
	near("idle", raw_sum(&r, 1, NULL, "state:[idle]"), 400 * NS_PER_MS, 0.25);
	near("idle", raw_sum(&r, 1, "worker_run", "state:[idle]"), 400 * NS_PER_MS, 0.25);
	near("waiting", raw_sum(&r, 1, "worker_run", "op:[read]"), 400 * NS_PER_MS, 0.25);
	near("waiting", raw_sum(&r, 1, "worker_run", "layer:[sha256:11]"), 400 * NS_PER_MS, 0.25);
	near("waiting", raw_sum(&r, 1, "worker_run", "pid:[12]"), 400 * NS_PER_MS, 0.25);
	near("parked", raw_sum(&r, 1, "idle_or_waiting", "layer:[sha256:22]"), 400 * NS_PER_MS,
	     0.25);
	near("parked", raw_sum(&r, 1, NULL, "state:[parked]"), 800 * NS_PER_MS, 0.25);
	assert_true(raw_sum(&r, 1, NULL, "thread:[w-rker]") > 0 || !RAW_TRUTH);
	assert_true(raw_sum(&r, 1, NULL, "wchan:[") > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_or_waiting),
		cmocka_unit_test(never_interrupts),
		cmocka_unit_test(twenty_waits),
	};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
