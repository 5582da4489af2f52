/* SPDX-License-Identifier: MIT */
/*
 * Reads. What is there is answered by the thread that asked, from its own buffer. What is not is
 * parked: the request, a buffer and where it belongs; a pool thread answers it. A reply is never
 * shorter than the file allows: the kernel would take a short one for the end of the file.
 *
 * Who is killed shall not wait for the network. The kernel's INTERRUPT does not suffice for that:
 * it comes for any signal, but only for the first one, and never for O_DIRECT and for some page
 * faults, which wait uninterruptibly. So whoever waits is looked at a few times a second, and at
 * once when an INTERRUPT comes; a request is given up (EINTR) only when its task is dying. What it
 * waited for is fetched all the same, for the others.
 *
 * Locks, in this order: f->lock, the reader's.
 */
#include <errno.h>

#include "fs/fs_impl.h"
#include "fs/task.h"

struct parked {
	struct reader_request rq;
	struct parked *next, **at; /* in f->parked; under f->lock */
	struct fs *f;
	fuse_req_t req;
	uint32_t len; /* bytes of the reply; the rest of buf is not ours */
	struct fs_request measured;
	pid_t tid;
	uint8_t buf[];
};

/* Lives and dies with its thread: nobody else sees it. */
static _Thread_local uint8_t *thread_buffer;

void *fs_thread_buffer(void)
{
	if (!thread_buffer)
		thread_buffer = malloc(FS_READ_MAX);
	return thread_buffer;
}

void fs_thread_end(void)
{
	free(thread_buffer);
	thread_buffer = NULL;
}

/* ---- the list of those who wait ---- */

static void park(struct fs *f, struct parked *p)
{
	bool wake;

	pthread_mutex_lock(&f->lock);
	p->next = f->parked;
	p->at = &f->parked;
	if (p->next)
		p->next->at = &p->next;
	f->parked = p;
	wake = !f->watching;
	f->watching = true;
	pthread_mutex_unlock(&f->lock);
	if (wake)
		fs_wake(f->watch_fd);
}

static void unpark(struct fs *f, struct parked *p)
{
	pthread_mutex_lock(&f->lock);
	*p->at = p->next;
	if (p->next)
		p->next->at = p->at;
	pthread_mutex_unlock(&f->lock);
}

bool fs_watch(struct fs *f)
{
	const struct parked *last = NULL;
	bool dying = false, any;

	pthread_mutex_lock(&f->lock);
	for (struct parked *p = f->parked; p; last = p, p = p->next) {
		if (!last || last->tid != p->tid) /* a large read is several requests */
			dying = task_is_dying(p->tid);
		if (dying)
			reader_cancel(f->p.reader, &p->rq);
	}
	any = f->watching = f->parked;
	pthread_mutex_unlock(&f->lock);
	return any;
}

static void interrupted(fuse_req_t req, void *data)
{
	struct fs *f = data;

	fs_wake(f->watch_fd);
}

/* ---- parked requests ---- */

static void parked_done(struct reader_request *rq, int result)
{
	struct parked *p = rq->userdata;
	struct fs *f = p->f;

	unpark(f, p);
	fs_request_answers(&p->measured);
	if (result == 0)
		fuse_reply_buf(p->req, (char *)p->buf, p->len);
	else
		fuse_reply_err(p->req, result == -EINTR ? EINTR : EIO);
	fs_request_done(f, &p->measured, result ? 0 : p->len, result);
	free(p);
	pthread_mutex_lock(&f->lock);
	if (!--f->unanswered)
		pthread_cond_broadcast(&f->all_answered);
	pthread_mutex_unlock(&f->lock);
}

static void read_park(struct fs *f, fuse_req_t req, uint32_t device, uint64_t dev_off, uint32_t len)
{
	struct parked *p = malloc(sizeof(*p) + len);
	int r;

	if (!p) {
		fuse_reply_err(req, EIO);
		return;
	}
	*p = (struct parked){.f = f, .req = req, .len = len, .tid = fuse_req_ctx(req)->pid};
	p->rq = (struct reader_request){.layer = device,
					.dev_off = dev_off,
					.len = len,
					.buf = p->buf,
					.done = parked_done,
					.userdata = p};
	fs_request_take(&p->measured);
	pthread_mutex_lock(&f->lock);
	f->unanswered++;
	pthread_mutex_unlock(&f->lock);
	park(f, p);
	fuse_req_interrupt_func(req, interrupted, f);
	r = reader_submit(f->p.reader, &p->rq);
	if (r != READER_PENDING)
		parked_done(&p->rq, r);
}

/* The first answer comes from the thread's buffer; only what must wait costs an allocation. */
static void read_range(struct fs *f, fuse_req_t req, uint32_t device, uint64_t dev_off,
		       uint32_t len)
{
	uint8_t *buf = fs_thread_buffer();

	if (buf && reader_try(f->p.reader, device, dev_off, buf, len) == 0) {
		fuse_reply_buf(req, (char *)buf, len);
		fs_request_note(len, 0, 0);
	} else
		read_park(f, req, device, dev_off, len);
}

static void zeros_reply(struct fs *f, fuse_req_t req, uint64_t len)
{
	uint8_t *buf = fs_thread_buffer();

	if (!buf) {
		fuse_reply_err(req, EIO);
		return;
	}
	memset(buf, 0, len);
	reader_count_hole(f->p.reader, len);
	fuse_reply_buf(req, (char *)buf, len);
	fs_request_note((uint32_t)len, TRACE_READ_HOLE, 0);
}

void fs_device_read(struct fs *f, fuse_req_t req, uint32_t device, uint64_t off, size_t size)
{
	read_range(f, req, device, off, (uint32_t)min_u64(size, FS_READ_MAX));
}

void fs_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fs *f = fuse_req_userdata(req);
	struct erofs_inode inode;
	uint64_t dev_off, len = 0;
	uint32_t device;
	int r = erofs_inode_get(f->p.image, ino_to_nid(f->p.image, ino), &inode);

	size = min_u64(size, FS_READ_MAX);
	if (r >= 0 && (!size || (uint64_t)off >= inode.size)) {
		fuse_reply_buf(req, NULL, 0);
		fs_request_note(0, TRACE_READ_END, 0);
		return;
	}
	if (r >= 0)
		r = erofs_map(f->p.image, &inode, (uint64_t)off, size, &device, &dev_off, &len);
	if (r >= 0)
		fs_request_reads(f, inode.nid, fuse_req_ctx(req)->pid);
	if (r == EROFS_HOLE)
		zeros_reply(f, req, len);
	else if (r >= 0) {
		fs_request_layer(f, device);
		read_range(f, req, device, dev_off, (uint32_t)len);
	} else {
		counter_add(&f->p.counters->read_errors, 1);
		fuse_reply_err(req, EIO);
		fs_request_note(0, 0, -EIO);
	}
}
