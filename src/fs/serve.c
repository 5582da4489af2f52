/* SPDX-License-Identifier: MIT */
/*
 * Serving. A few threads share the one /dev/fuse descriptor, which is non-blocking. One of them,
 * the leader, waits for requests: it looks again for some tens of microseconds before it sleeps,
 * when requests have just been coming, because waking an idle processor is most of what a cold
 * look-up costs. The others sleep: were they to poll as well, every request would wake them all. A
 * leader that gets a large read hands its place over before it goes to work.
 *
 * The calling thread waits for signals, for fs_stop(), and watches those who wait for data.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "base/thread.h"
#include "fs/fs_impl.h"
#include "fs/handover.h"
#include "prof/op.h"

#define THREADS_DEFAULT 4
#define THREADS_MAX 64
#define LONG_READ (64u << 10)	     /* bytes */
#define SPIN_NS (50 * 1000)	     /* how long to look again */
#define SPIN_IDLE_NS (2 * NS_PER_MS) /* after how long without requests not to */

struct serve {
	struct fs *f;
	atomic_bool stopped;
	pthread_mutex_t lock;
	pthread_cond_t wanted; /* a leader is */
	bool led;	       /* somebody waits for requests; under lock, as result */
	int result;
};

static bool worth_spinning(struct serve *s, uint64_t now)
{
	return now - atomic_load_explicit(&s->f->last_ns, memory_order_relaxed) < SPIN_IDLE_NS;
}

/* The leader waits for a request, looking again for a while before it sleeps. */
static void request_wait(struct serve *s)
{
	struct pollfd fds[2] = {{.fd = fuse_session_fd(s->f->se), .events = POLLIN},
				{.fd = s->f->stop_fd, .events = POLLIN}};
	const struct seam *seam = s->f->p.seam;
	uint64_t now = seam->monotonic_ns(seam), until = now + SPIN_NS;

	if (worth_spinning(s, now))
		while (now < until) {
			if (poll(fds, 2, 0) > 0)
				return;
			now = seam->monotonic_ns(seam);
		}
	while (poll(fds, 2, -1) < 0 && errno == EINTR)
		;
}

static bool is_stopped(struct serve *s)
{
	return atomic_load_explicit(&s->stopped, memory_order_acquire);
}

static void serve_end(struct serve *s, int result)
{
	pthread_mutex_lock(&s->lock);
	if (!atomic_exchange(&s->stopped, true))
		s->result = result;
	pthread_cond_broadcast(&s->wanted);
	pthread_mutex_unlock(&s->lock);
	fs_wake(s->f->stop_fd);
}

/* Somebody else shall look for the next request: this one will take long. */
static void lead_hand_over(struct serve *s, bool *leading)
{
	if (!*leading)
		return;
	*leading = false;
	pthread_mutex_lock(&s->lock);
	s->led = false;
	pthread_cond_signal(&s->wanted);
	pthread_mutex_unlock(&s->lock);
}

/* Nothing to do: lead, or sleep until a leader is wanted. */
static void lead_or_sleep(struct serve *s, bool *leading)
{
	if (!*leading) {
		pthread_mutex_lock(&s->lock);
		while (s->led && !is_stopped(s))
			pthread_cond_wait(&s->wanted, &s->lock);
		s->led = *leading = true;
		pthread_mutex_unlock(&s->lock);
	}
	if (!is_stopped(s))
		request_wait(s);
}

/* A large read copies and may verify a megabyte; everything else is over in microseconds. */
static bool takes_long(const struct fuse_buf *buf)
{
	const struct fuse_in_header *h = buf->mem;
	const struct fuse_read_in *in = (const struct fuse_read_in *)(h + 1);

	return buf->size >= sizeof(*h) + sizeof(*in) && h->opcode == FUSE_READ &&
	       in->size >= LONG_READ;
}

static void ready_call(struct fs *f)
{
	struct morsel_handover *h = f->p.handover;

	if (!f->ready || atomic_exchange(&f->ready_called, true))
		return;
	f->ready(f->ready_userdata);
	if (!h)
		return;
	h->s.serving = true;
	handover_tell(h, -1, -1); /* fails when the supervisor is gone: signals_wait() sees that */
}

static void *serve_thread(void *arg)
{
	struct serve *s = arg;
	struct fuse_buf buf = {0};
	const struct seam *seam = s->f->p.seam;
	bool leading = false;

	prof_thread_register("morsel-fuse");
	while (!is_stopped(s)) {
		int r = fuse_session_receive_buf(s->f->se, &buf);

		if (r == -EAGAIN || r == -EINTR) {
			lead_or_sleep(s, &leading);
			continue;
		}
		if (r <= 0 || fuse_session_exited(s->f->se)) { /* 0 and -ENODEV: unmounted */
			serve_end(s, r < 0 && r != -ENODEV ? r : 0);
			break;
		}
		if (takes_long(&buf))
			lead_hand_over(s, &leading);
		fs_request_begin(s->f, &buf);
		if (!fs_session_init_seen(s->f, &buf))
			fuse_session_process_buf(s->f->se, &buf);
		fs_request_end(s->f);
		atomic_store_explicit(&s->f->last_ns, seam->monotonic_ns(seam),
				      memory_order_relaxed);
		if (!s->f->p.kernel) /* the first request is INIT: now the mount answers */
			ready_call(s->f);
	}
	lead_hand_over(s, &leading);
	free(buf.mem);
	fs_thread_end();
	return NULL;
}

/* Nobody tells of the end of a mount that has no devices of ours: the mount table does. */
static int mount_table_open(const struct fs *f)
{
	return f->se ? -1 : open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
}

/* Until a signal (-1: none counts), fs_stop(), cancel_fd, the end of the mount or of the
 * supervisor, which never says anything. */
static void signals_wait(struct fs *f, int signal_fd)
{
	_cleanup_(closep) int table_fd = mount_table_open(f);
	struct pollfd fds[6] = {{.fd = signal_fd, .events = POLLIN},
				{.fd = f->stop_fd, .events = POLLIN},
				{.fd = f->p.cancel_fd ? f->p.cancel_fd : -1, .events = POLLIN},
				{.fd = f->p.handover ? f->p.handover->socket_fd : -1},
				{.fd = f->watch_fd, .events = POLLIN},
				{.fd = table_fd, .events = POLLPRI}};
	bool watching = false;

	while (!fds[0].revents && !fds[1].revents && !fds[2].revents && !fds[3].revents) {
		uint64_t n;

		if (table_fd >= 0 && !mountinfo_is_mounted(&f->mount))
			return;
		if (poll(fds, 6, watching ? FS_WATCH_MS : -1) < 0 && errno != EINTR)
			return;
		if (fds[4].revents && read(f->watch_fd, &n, sizeof(n)) < 0)
			errno = 0;
		watching = fs_watch(f);
	}
	if (fds[3].revents)
		log_write(f->p.log, LOG_WARN, "%s: the supervisor was killed; unmounting", f->path);
}

/* The threads serve the devices by now: the kernel opens them. */
static int kernel_attach(struct fs *f, struct error *err)
{
	int r = f->p.kernel && !f->taken_over ? fs_session_attach(f, err) : 0;

	if (r >= 0 && f->p.kernel)
		ready_call(f);
	return r;
}

static int threads_run(struct serve *s, unsigned n, int signal_fd, struct error *err)
{
	pthread_t threads[THREADS_MAX];
	unsigned started = 0;
	int r = 0;

	while (s->f->se && started < n &&
	       thread_start(&threads[started], "morsel-fuse", serve_thread, s) == 0)
		started++;
	if (s->f->se && !started)
		r = -EAGAIN;
	if (r >= 0)
		r = kernel_attach(s->f, err);
	if (r >= 0)
		signals_wait(s->f, signal_fd);
	serve_end(s, r);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	return s->result;
}

/* Parked requests are answered before the descriptor they answer to is closed. */
static void parked_end(struct fs *f)
{
	reader_interrupt(f->p.reader, true);
	pthread_mutex_lock(&f->lock);
	while (f->unanswered)
		pthread_cond_wait(&f->all_answered, &f->lock);
	pthread_mutex_unlock(&f->lock);
	reader_interrupt(f->p.reader, false);
}

/* Blocks the signals that end us, in all threads to come, until signals_give_back(): a second one
 * does not kill us halfway. Returns a signalfd. */
static int signals_take(sigset_t *ret_old)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, ret_old);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* They have been obeyed: left pending they would kill us now. */
static void signals_give_back(int fd, const sigset_t *old)
{
	struct signalfd_siginfo info;

	while (fd >= 0 && read(fd, &info, sizeof(info)) > 0)
		;
	closep(&fd);
	pthread_sigmask(SIG_SETMASK, old, NULL);
}

int fs_serve(struct fs *f, void (*ready)(void *userdata), void *userdata, struct error *err)
{
	struct serve s = {
		.f = f, .lock = PTHREAD_MUTEX_INITIALIZER, .wanted = PTHREAD_COND_INITIALIZER};
	unsigned n = f->p.threads ? f->p.threads : THREADS_DEFAULT;
	sigset_t old;
	int signal_fd = -1, r = 0;

	f->ready = ready;
	f->ready_userdata = userdata;
	if (!f->p.no_signals)
		r = signal_fd = signals_take(&old);
	if (r >= 0)
		r = fs_session_resume(f, err);
	if (r > 0) {
		ready_call(f); /* first: whom the socket answers may count on us */
		r = fs_session_control(f, err);
	}
	if (r >= 0)
		r = threads_run(&s, n > THREADS_MAX ? THREADS_MAX : n, signal_fd, err);
	parked_end(f);
	fs_session_close(f);
	control_stop(f->control); /* last: its end tells who waits that we are gone */
	f->control = NULL;
	if (!f->p.no_signals)
		signals_give_back(signal_fd, &old);
	if (r < 0)
		return error_set_errno(err, r, "serving %s ended", f->path);
	return 0;
}
