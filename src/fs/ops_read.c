/* SPDX-License-Identifier: MIT */
/*
 * Reads. What is there is answered by the thread that asked, from its own buffer. What is not is
 * parked: the request, a buffer and where it belongs; a pool thread answers it. A reply is never
 * shorter than the file allows: the kernel would take a short one for the end of the file.
 *
 * The kernel sends INTERRUPT for any signal, but only for the first one. A request is given up only
 * when its task is dying; so one whose task goes on living is watched from then on, or the SIGKILL
 * that follows a SIGALRM would wait for the network. What is given up arrives for the others.
 *
 * Locks, in this order: libfuse's of the request, f->lock, the reader's.
 */
#include <errno.h>

#include "fs/fs_impl.h"
#include "fs/task.h"

struct parked {
	struct reader_request rq;
	struct fs *f;
	fuse_req_t req;
	uint32_t len; /* bytes of the reply; the rest of buf is not ours */
	pid_t tid;
	bool is_watched; /* under f->lock, as next_watched */
	struct parked *next_watched;
	pthread_mutex_t hooking; /* held until the interrupt hook is in place */
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

/* ---- tasks that got a signal ---- */

static void watch_begin(struct fs *f, struct parked *p)
{
	pthread_mutex_lock(&f->lock);
	if (!p->is_watched) {
		p->is_watched = true;
		p->next_watched = f->watched;
		f->watched = p;
	}
	pthread_mutex_unlock(&f->lock);
	fs_wake(f->watch_fd);
}

/* Under the lock. */
static void watch_end(struct fs *f, struct parked *p)
{
	for (struct parked **at = &f->watched; *at; at = &(*at)->next_watched)
		if (*at == p) {
			*at = p->next_watched;
			return;
		}
}

bool fs_watch(struct fs *f)
{
	bool any;

	pthread_mutex_lock(&f->lock);
	for (struct parked *p = f->watched; p; p = p->next_watched)
		if (task_is_dying(p->tid))
			reader_cancel(f->p.reader, &p->rq);
	any = f->watched;
	pthread_mutex_unlock(&f->lock);
	return any;
}

static void parked_interrupt(fuse_req_t req, void *data)
{
	struct parked *p = data;

	if (task_is_dying(p->tid))
		reader_cancel(p->f->p.reader, &p->rq);
	else
		watch_begin(p->f, p);
}

/* ---- parked requests ---- */

static void parked_done(struct reader_request *rq, int result)
{
	struct parked *p = rq->userdata;
	struct fs *f = p->f;

	pthread_mutex_lock(&p->hooking);
	pthread_mutex_unlock(&p->hooking);
	/* From here on no interrupt can reach the request: libfuse drops the hook under the lock
	 * that it calls it with. */
	fuse_req_interrupt_func(p->req, NULL, NULL);
	pthread_mutex_lock(&f->lock);
	watch_end(f, p);
	pthread_mutex_unlock(&f->lock);
	if (result == 0)
		fuse_reply_buf(p->req, (char *)p->buf, p->len);
	else
		fuse_reply_err(p->req, result == -EINTR ? EINTR : EIO);
	pthread_mutex_destroy(&p->hooking);
	free(p);
	pthread_mutex_lock(&f->lock);
	if (!--f->parked)
		pthread_cond_broadcast(&f->parked_gone);
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
	pthread_mutex_init(&p->hooking, NULL);
	p->rq = (struct reader_request){.layer = device,
					.dev_off = dev_off,
					.len = len,
					.buf = p->buf,
					.done = parked_done,
					.userdata = p};
	pthread_mutex_lock(&f->lock);
	f->parked++;
	pthread_mutex_unlock(&f->lock);
	/* The hook needs a request that the reader knows, and one that has not been answered. */
	pthread_mutex_lock(&p->hooking);
	r = reader_submit(f->p.reader, &p->rq);
	if (r == READER_PENDING)
		fuse_req_interrupt_func(req, parked_interrupt, p);
	pthread_mutex_unlock(&p->hooking);
	if (r != READER_PENDING)
		parked_done(&p->rq, r);
}

/* The first answer comes from the thread's buffer; only what must wait costs an allocation. */
static void read_range(struct fs *f, fuse_req_t req, uint32_t device, uint64_t dev_off,
		       uint32_t len)
{
	uint8_t *buf = fs_thread_buffer();

	if (buf && reader_try(f->p.reader, device, dev_off, buf, len) == 0)
		fuse_reply_buf(req, (char *)buf, len);
	else
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
	counter_add(&f->p.counters->bytes_served, len);
	fuse_reply_buf(req, (char *)buf, len);
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
		return;
	}
	if (r >= 0)
		r = erofs_map(f->p.image, &inode, (uint64_t)off, size, &device, &dev_off, &len);
	if (r == EROFS_HOLE)
		zeros_reply(f, req, len);
	else if (r >= 0)
		read_range(f, req, device, dev_off, (uint32_t)len);
	else {
		counter_add(&f->p.counters->read_errors, 1);
		fuse_reply_err(req, EIO);
	}
}
