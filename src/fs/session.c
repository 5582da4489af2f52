/* SPDX-License-Identifier: MIT */
/*
 * Mounting and serving. A few threads share the one /dev/fuse descriptor, which is non-blocking.
 * One of them, the leader, waits for requests: it looks again for some tens of microseconds before
 * it sleeps, when requests have just been coming, because waking an idle processor is most of what
 * a cold look-up costs. The others sleep: were they to poll as well, every request would wake them
 * all. A leader that gets a large read hands its place over before it goes to work.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fs/fs_impl.h"

#define THREADS_DEFAULT 4
#define THREADS_MAX 64
#define LONG_READ (64u << 10)	     /* bytes */
#define SPIN_NS (50 * 1000)	     /* how long to look again */
#define SPIN_IDLE_NS (2 * NS_PER_MS) /* after how long without requests not to */

struct serve {
	struct fs *f;
	int stop_fd; /* eventfd: readable = end */
	atomic_bool stopped;
	pthread_mutex_t lock;
	pthread_cond_t wanted; /* a leader is */
	bool led;	       /* somebody waits for requests; under lock, as result */
	int result;
};

/* ---- mounting ---- */

static int session_args(const struct fs_params *p, struct fuse_args *args)
{
	_cleanup_(freep) char *fsname = NULL;
	char *opts = NULL, text[256];
	int r;

	snprintf(text, sizeof(text), "ro,subtype=morsel,max_read=%u%s%s%s%s", FS_READ_MAX,
		 p->suid ? ",suid" : "", p->dev ? ",dev" : "", p->allow_other ? ",allow_other" : "",
		 p->allow_other || !geteuid() ? ",default_permissions" : "");
	if (asprintf(&fsname, "fsname=%s", p->fsname) < 0) {
		fsname = NULL;
		return -ENOMEM;
	}
	r = fuse_opt_add_opt(&opts, text);
	if (!r)
		r = fuse_opt_add_opt_escaped(&opts, fsname);
	if (!r)
		r = fuse_opt_add_arg(args, "morsel");
	if (!r)
		r = fuse_opt_add_arg(args, "-o");
	if (!r)
		r = fuse_opt_add_arg(args, opts);
	free(opts);
	return r ? -ENOMEM : 0;
}

/* libfuse says why on stderr only, in its own words; so what can be known before is checked. */
static int mountpoint_check(const struct fs_params *p, struct error *err)
{
	struct stat st;

	if (stat(p->mountpoint, &st) < 0)
		return error_set_errno(err, -errno, "can't mount on %s", p->mountpoint);
	if (!S_ISDIR(st.st_mode))
		return error_set(err, -ENOTDIR, "can't mount on %s: it is not a directory",
				 p->mountpoint);
	if (access("/dev/fuse", F_OK) < 0)
		return error_set(
			err, -ENODEV,
			"can't mount on %s: there is no /dev/fuse; load the kernel's fuse module",
			p->mountpoint);
	if (geteuid() && access("/dev/fuse", R_OK | W_OK) < 0)
		return error_set(
			err, -EACCES,
			"can't mount on %s: you may not open /dev/fuse; ask for mode 0666 on it",
			p->mountpoint);
	if (geteuid() && access("/usr/bin/fusermount3", X_OK) < 0 &&
	    access("/bin/fusermount3", X_OK) < 0)
		return error_set(
			err, -ENOENT,
			"can't mount on %s: users need fusermount3; install the package fuse3",
			p->mountpoint);
	return 0;
}

static void fuse_log_drop(enum fuse_log_level level, const char *fmt, va_list ap)
{
}

static uint64_t device_blocks(const struct erofs *image)
{
	uint64_t sum = image->blocks, bytes;
	char tag[65];

	for (uint32_t i = 0; i < image->n_devices; i++)
		if (erofs_device(image, i, &bytes, tag) >= 0)
			sum += bytes / 4096;
	return sum;
}

/* Larger read-ahead makes larger requests; only root may say so. */
static void readahead_raise(dev_t dev)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(dev), minor(dev));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, "1024", 4) < 0) /* then it stays at 128 KiB: slower, not wrong */
		errno = 0;
	close(fd);
}

int fs_mount(const struct fs_params *p, struct fs **ret, struct error *err)
{
	_cleanup_(fs_freep) struct fs *f = calloc(1, sizeof(*f));
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct mount_info m;
	int r = mountpoint_check(p, err);

	if (r < 0)
		return r;
	if (!f)
		return -ENOMEM;
	f->p = *p;
	f->p.mountpoint = strdup(p->mountpoint);
	f->p.fsname = NULL;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->parked_gone, NULL);
	f->used_blocks = p->used_bytes ? p->used_bytes / 4096 : device_blocks(p->image);
	r = f->p.mountpoint ? session_args(p, &args) : -ENOMEM;
	if (r >= 0) {
		fuse_set_log_func(fuse_log_drop);
		f->se = fuse_session_new(&args, &fs_ops, sizeof(fs_ops), f);
	}
	fuse_opt_free_args(&args);
	if (r < 0 || !f->se)
		return error_set(err, r < 0 ? r : -EIO, "can't set up a FUSE session");
	if (fuse_session_mount(f->se, p->mountpoint))
		return error_set(err, -EIO, "can't mount on %s: %s", p->mountpoint,
				 p->allow_other && geteuid()
					 ? "fusermount3 refused; allow_other needs "
					   "user_allow_other in /etc/fuse.conf"
					 : "the kernel or fusermount3 refused; is something "
					   "mounted there, or do you "
					   "not own it?");
	f->mounted = true;
	r = mount_lookup(f->p.mountpoint, &m);
	if (r < 0)
		return error_set_errno(err, r, "%s was mounted, but is not in /proc/self/mountinfo",
				       p->mountpoint);
	readahead_raise(m.dev);
	r = control_start(f, m.dev, &f->control, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(f);
	return 0;
}

/* ---- serving ---- */

static bool worth_spinning(struct serve *s, uint64_t now)
{
	return now - atomic_load_explicit(&s->f->last_ns, memory_order_relaxed) < SPIN_IDLE_NS;
}

/* The leader waits for a request, looking again for a while before it sleeps. */
static void request_wait(struct serve *s)
{
	struct pollfd fds[2] = {{.fd = fuse_session_fd(s->f->se), .events = POLLIN},
				{.fd = s->stop_fd, .events = POLLIN}};
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
	uint64_t one = 1;

	pthread_mutex_lock(&s->lock);
	if (!atomic_exchange(&s->stopped, true))
		s->result = result;
	pthread_cond_broadcast(&s->wanted);
	pthread_mutex_unlock(&s->lock);
	if (write(s->stop_fd, &one, sizeof(one)) < 0)
		abort(); /* an eventfd of ours that never overflows */
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
	if (f->ready && !atomic_exchange(&f->ready_called, true))
		f->ready(f->ready_userdata);
}

static void *serve_thread(void *arg)
{
	struct serve *s = arg;
	struct fuse_buf buf = {0};
	const struct seam *seam = s->f->p.seam;
	bool leading = false;

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
		fuse_session_process_buf(s->f->se, &buf);
		atomic_store_explicit(&s->f->last_ns, seam->monotonic_ns(seam),
				      memory_order_relaxed);
		ready_call(s->f); /* the first request is INIT: now the mount answers */
	}
	lead_hand_over(s, &leading);
	free(buf.mem);
	fs_thread_end();
	return NULL;
}

static int threads_run(struct serve *s, unsigned n, int signal_fd)
{
	pthread_t threads[THREADS_MAX];
	struct pollfd fds[2] = {{.fd = signal_fd, .events = POLLIN},
				{.fd = s->stop_fd, .events = POLLIN}};
	unsigned started = 0;

	while (started < n && !pthread_create(&threads[started], NULL, serve_thread, s))
		started++;
	if (!started)
		return -EAGAIN;
	while (!fds[0].revents && !fds[1].revents && !atomic_load(&s->f->stopping))
		if (poll(fds, 2, 200) < 0 && errno != EINTR)
			break;
	serve_end(s, 0);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	return s->result;
}

/* Parked requests are answered before the descriptor they answer to is closed. */
static void parked_end(struct fs *f)
{
	reader_interrupt(f->p.reader, true);
	pthread_mutex_lock(&f->lock);
	while (f->parked)
		pthread_cond_wait(&f->parked_gone, &f->lock);
	pthread_mutex_unlock(&f->lock);
	reader_interrupt(f->p.reader, false);
}

/* Also after somebody else unmounted it: libfuse sees that and only tidies up. */
static void unmount(struct fs *f)
{
	if (f->mounted)
		fuse_session_unmount(f->se);
	f->mounted = false;
}

int fs_serve(struct fs *f, void (*ready)(void *userdata), void *userdata, struct error *err)
{
	struct serve s = {
		.f = f, .lock = PTHREAD_MUTEX_INITIALIZER, .wanted = PTHREAD_COND_INITIALIZER};
	_cleanup_(closep) int signal_fd = -1;
	_cleanup_(closep) int stop_fd = -1;
	unsigned n = f->p.threads ? f->p.threads : THREADS_DEFAULT;
	sigset_t set, old;
	int fd = fuse_session_fd(f->se), r;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, &old);
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	s.stop_fd = stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	f->ready = ready;
	f->ready_userdata = userdata;
	r = signal_fd < 0 || stop_fd < 0 ? -errno : 0;
	if (r >= 0)
		r = threads_run(&s, n > THREADS_MAX ? THREADS_MAX : n, signal_fd);
	parked_end(f);
	unmount(f);
	control_stop(f->control); /* last: its end tells who waits that we are gone */
	f->control = NULL;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0)
		return error_set_errno(err, r, "serving %s ended", f->p.mountpoint);
	return 0;
}

void fs_stop(struct fs *f)
{
	atomic_store(&f->stopping, true);
}

void fs_free(struct fs *f)
{
	if (!f)
		return;
	control_stop(f->control);
	if (f->se) {
		unmount(f);
		fuse_session_destroy(f->se);
	}
	free((char *)f->p.mountpoint);
	pthread_cond_destroy(&f->parked_gone);
	pthread_mutex_destroy(&f->lock);
	free(f);
}
