/* SPDX-License-Identifier: MIT */
/*
 * The mount of an image as something that begins and ends: a descriptor, a libfuse session over it,
 * a control socket. All three are made anew, or taken over from a server that was killed: then the
 * session is shown the kernel's INIT once more, its answer goes nowhere, and the kernel is asked to
 * send again what it waits for.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include "fs/fs_impl.h"
#include "fs/handover.h"
#include "fs/kernel_mount.h"

#define NOTIFY_RESEND 7 /* Linux 6.9; newer than Debian's header */

void fs_wake(int event_fd)
{
	uint64_t one = 1;
	int e = errno;

	if (write(event_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		abort(); /* an eventfd of ours */
	errno = e;
}

/* ---- a session ---- */

static void fuse_log_drop(enum fuse_log_level level, const char *fmt, va_list ap)
{
}

static ssize_t io_read(int fd, void *buf, size_t n, void *userdata)
{
	return read(fd, buf, n);
}

/* What is said to an INIT that is shown again is kept: it may have to be said after all. */
static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct fs *f = userdata;
	size_t n = 0;

	if (!f->replaying)
		return writev(fd, iov, count);
	for (int i = 0; i < count; i++) {
		size_t room = sizeof(f->init_reply) - n;

		memcpy(f->init_reply + n, iov[i].iov_base, min_u64(iov[i].iov_len, room));
		n += min_u64(iov[i].iov_len, room);
	}
	f->init_reply_len = n;
	return (ssize_t)n;
}

/* fd is consumed in any case. */
static int session_open(struct fs *f, int fd)
{
	static const struct fuse_custom_io io = {.read = io_read, .writev = io_writev};
	char max_read[32];
	const char *argv[] = {"morsel", "-o", max_read, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, (char **)argv);

	snprintf(max_read, sizeof(max_read), "max_read=%u", FS_READ_MAX);
	fuse_set_log_func(fuse_log_drop);
	f->se = fuse_session_new(&args, f->p.kernel ? &fs_device_ops : &fs_ops, sizeof(fs_ops), f);
	fuse_opt_free_args(&args);
	if (f->se && !fuse_session_custom_io(f->se, &io, fd) &&
	    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) >= 0)
		return 0;
	if (!f->se || fuse_session_fd(f->se) != fd)
		close(fd);
	return -ENOMEM;
}

/* The kernel hangs the descriptor up when the mount is gone, or was aborted. In that case, as
 * another may be there already with the same numbers, nothing is taken away. */
static bool session_is_gone(const struct fs *f)
{
	struct pollfd p = {.fd = fuse_session_fd(f->se)};

	return poll(&p, 1, 0) > 0 && p.revents & POLLERR;
}

/* Only what is ours, and topmost: the path could mean another's mount by now. The descriptor is
 * closed first, which fails whatever still waits for an answer. */
void fs_session_close(struct fs *f)
{
	struct mount_info m;
	bool gone;
	int r;

	if (f->closed)
		return;
	f->closed = true;
	gone = !f->mounted ||
	       (f->p.kernel ? !mountinfo_is_mounted(&f->mount) : f->se && session_is_gone(f));
	if (f->se)
		fuse_session_destroy(f->se);
	f->se = NULL;
	closep(&f->devices_dir);
	f->devices_dir = -1;
	if (gone || mountinfo_lookup(f->path, &m) < 0)
		return;
	if (m.dev != f->mount.dev || m.id != f->mount.id) {
		log_write(f->p.log, LOG_WARN,
			  "%s: something else was mounted on top; what is below stays, dead, until "
			  "you unmount it",
			  f->path);
		return;
	}
	r = mount_remove(f->path, false, NULL);
	if (r != -EBUSY)
		return;
	log_write(f->p.log, LOG_WARN, "%s was in use and has been detached", f->path);
	mount_remove(f->path, true, NULL);
}

/* ---- taking over ---- */

static bool is_init(const struct fuse_buf *buf)
{
	const struct fuse_in_header *h = buf->mem;

	return buf->size >= sizeof(*h) && h->opcode == FUSE_INIT;
}

bool fs_session_init_seen(struct fs *f, const struct fuse_buf *buf)
{
	struct morsel_handover *h = f->p.handover;
	struct fuse_out_header *out = (void *)f->init_reply;

	if (!h || !is_init(buf))
		return false;
	if (f->init_reply_len) { /* the one before us read it, and died before it answered */
		out->unique = ((const struct fuse_in_header *)buf->mem)->unique;
		if (write(fuse_session_fd(f->se), out, f->init_reply_len) < 0)
			errno = 0; /* unmounted meanwhile */
		return true;
	}
	if (buf->size <= sizeof(h->s.init)) {
		memcpy(h->s.init, buf->mem, buf->size);
		h->s.init_len = (uint32_t)buf->size;
		handover_tell(h, -1, -1);
	}
	return false;
}

int fs_session_resume(struct fs *f, struct error *err)
{
	const struct fuse_out_header resend = {.len = sizeof(resend), .error = NOTIFY_RESEND};
	const struct morsel_handover *h = f->p.handover;
	struct fuse_buf init = {0};

	if (!f->taken_over)
		return 0;
	if (!f->se)
		return 1;
	if (h->s.init_len) {
		init.mem = (void *)h->s.init;
		init.size = h->s.init_len;
		f->replaying = true;
		fuse_session_process_buf(f->se, &init);
		f->replaying = false;
	}
	if (write(fuse_session_fd(f->se), &resend, sizeof(resend)) < 0 && errno == EINVAL)
		return error_set(err, -ENOTSUP,
				 "%s: this kernel can't send its requests to another server "
				 "(Linux 6.9 can)",
				 f->path);
	return 1;
}

/* ---- life ---- */

static uint64_t device_blocks(const struct erofs *image)
{
	uint64_t sum = image->blocks, bytes;
	char tag[65];

	for (uint32_t i = 0; i < image->n_devices; i++)
		if (erofs_device(image, i, &bytes, tag) >= 0)
			sum += bytes / 4096;
	return sum;
}

/* For who comes after us. */
static int handover_mounted(struct fs *f, int fuse_fd, struct error *err)
{
	struct morsel_handover *h = f->p.handover;
	int r = 0;

	f->mounted = true;
	if (!h)
		return 0;
	h->s.mounted = true;
	h->s.kernel = f->p.kernel;
	h->s.mount = f->mount;
	r = handover_tell(h, fuse_fd, -1);
	return r < 0 ? error_set_errno(err, r, "can't reach the supervisor") : 0;
}

int fs_session_control(struct fs *f, struct error *err)
{
	struct morsel_handover *h = f->p.handover;
	struct control_socket s = {.fd = -1};
	int r = 0;

	if (h && h->listen_fd >= 0) {
		s = (struct control_socket){.fd = steal_fd(&h->listen_fd), .ino = h->s.socket_ino};
		strcpy(s.path, h->s.socket_path);
	} else {
		r = control_listen(f->mount.dev, &s, err);
		if (r >= 0 && h) {
			h->s.socket_ino = s.ino;
			strcpy(h->s.socket_path, s.path);
			handover_tell(h, -1, s.fd);
		}
	}
	return r < 0 ? r : control_start(&f->p, &s, &f->control, err);
}

/* *ret_fd: of a mount of ours, of the devices of the kernel's, or -1: it needs none of us. */
static int descriptor_take_over(struct fs *f, struct morsel_handover *h, int *ret_fd)
{
	strcpy(f->path, h->s.path);
	f->mount = h->s.mount;
	f->taken_over = f->mounted = true;
	*ret_fd = steal_fd(&h->fuse_fd);
	return 0;
}

static bool needs_devices(const struct fs_kernel *k)
{
	for (uint32_t i = 0; i < k->n_devices; i++)
		if (k->device_fds[i] < 0)
			return true;
	return false;
}

static int descriptor_new(struct fs *f, const struct fs_params *p, int *ret_fd, struct error *err)
{
	struct morsel_handover *h = p->handover;
	int r;

	if (h) {
		h->s = (struct handover_state){0};
		snprintf(h->s.image, sizeof(h->s.image), "%s", p->image_digest);
	}
	*ret_fd = -1;
	if (!p->kernel) {
		r = mount_make(p, -1, f->path, &f->mount, err);
		if (r < 0)
			return r;
		*ret_fd = r;
		return handover_mounted(f, r, err);
	}
	if ((size_t)snprintf(f->path, sizeof(f->path), "%s", p->mountpoint) >= sizeof(f->path))
		return error_set_errno(err, -ENAMETOOLONG, "can't mount on %s", p->mountpoint);
	if (!needs_devices(p->kernel))
		return 0;
	r = devices_mount(&f->devices_dir, err);
	if (r < 0)
		return r;
	*ret_fd = r;
	return h ? handover_tell(h, r, -1) : 0;
}

int fs_session_attach(struct fs *f, struct error *err)
{
	struct fs_params p = f->p;
	char want[PATH_MAX];
	int r;

	strcpy(want, f->path);
	p.mountpoint = want;
	r = mount_make(&p, f->devices_dir, f->path, &f->mount, err);
	closep(&f->devices_dir); /* its files are open in the kernel now, and keep it */
	f->devices_dir = -1;
	if (r >= 0)
		r = handover_mounted(f, -1, err);
	return r < 0 ? r : fs_session_control(f, err);
}

static int fs_prepare(struct fs *f, const struct fs_params *p, struct error *err)
{
	f->p = *p;
	f->p.mountpoint = f->path;
	f->p.fsname = f->p.image_digest = NULL;
	f->devices_dir = -1;
	f->used_blocks = p->used_bytes ? p->used_bytes / 4096 : device_blocks(p->image);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->all_answered, NULL);
	f->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->watch_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->stop_fd < 0 || f->watch_fd < 0)
		return error_set_errno(err, -errno, "can't mount on %s", p->mountpoint);
	return 0;
}

int fs_mount(const struct fs_params *p, struct fs **ret, struct error *err)
{
	_cleanup_(fs_freep) struct fs *f = calloc(1, sizeof(*f));
	int fd = -1, r = f ? fs_prepare(f, p, err) : -ENOMEM;

	if (r < 0)
		return r;
	r = p->handover && p->handover->s.mounted ? descriptor_take_over(f, p->handover, &fd)
						  : descriptor_new(f, p, &fd, err);
	if (r < 0) {
		closep(&fd);
		return r;
	}
	r = fd < 0 ? 0 : session_open(f, fd);
	if (r < 0)
		return error_set(err, r, "can't set up a FUSE session");
	if (f->mounted && !f->taken_over) /* else it is still to come, or to be served again */
		r = fs_session_control(f, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(f);
	return 0;
}

void fs_stop(struct fs *f)
{
	fs_wake(f->stop_fd);
}

void fs_free(struct fs *f)
{
	if (!f)
		return;
	fs_session_close(f);
	control_stop(f->control);
	closep(&f->stop_fd);
	closep(&f->watch_fd);
	pthread_cond_destroy(&f->all_answered);
	pthread_mutex_destroy(&f->lock);
	free(f);
}
