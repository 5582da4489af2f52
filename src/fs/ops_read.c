/* SPDX-License-Identifier: MIT */
/*
 * Reads. What is there is answered by the thread that asked, from its own buffer. What is not is
 * parked: the request, a buffer and where it belongs; a pool thread answers it. A reply is never
 * shorter than the file allows: the kernel would take a short one for the end of the file.
 *
 * The kernel sends INTERRUPT for any signal. A request is given up only when its task is dying;
 * then the reader is told to let go, and whatever it was waiting for arrives for the others.
 */
#include <errno.h>
#include <stdio.h>

#include "fs/fs_impl.h"

struct parked {
	struct reader_request rq;
	struct fs *f;
	fuse_req_t req;
	uint32_t len; /* bytes of the reply; the rest of buf is not ours */
	pid_t pid;
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

static void parked_done(struct reader_request *rq, int result)
{
	struct parked *p = rq->userdata;
	struct fs *f = p->f;

	pthread_mutex_lock(&p->hooking);
	pthread_mutex_unlock(&p->hooking);
	/* From here on no interrupt can reach the request: libfuse drops the hook under the lock
	 * that it calls it with. */
	fuse_req_interrupt_func(p->req, NULL, NULL);
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

/* A fatal signal is pending, or the task is gone already. */
static bool task_is_dying(pid_t pid)
{
	char path[64], line[256];
	bool dying = true;
	FILE *s;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	s = fopen(path, "re");
	if (!s)
		return true;
	dying = false;
	while (fgets(line, sizeof(line), s)) {
		unsigned long long set;

		if (!strncmp(line, "State:\tZ", 8) || !strncmp(line, "State:\tX", 8))
			dying = true;
		if ((sscanf(line, "SigPnd: %llx", &set) == 1 ||
		     sscanf(line, "ShdPnd: %llx", &set) == 1) &&
		    set >> (9 - 1) & 1)
			dying = true;
	}
	fclose(s);
	return dying;
}

static void parked_interrupt(fuse_req_t req, void *data)
{
	struct parked *p = data;

	if (task_is_dying(p->pid))
		reader_cancel(p->f->p.reader, &p->rq);
}

static void read_park(struct fs *f, fuse_req_t req, uint32_t device, uint64_t dev_off, uint32_t len)
{
	struct parked *p = malloc(sizeof(*p) + len);
	int r;

	if (!p) {
		fuse_reply_err(req, EIO);
		return;
	}
	*p = (struct parked){.f = f, .req = req, .len = len, .pid = fuse_req_ctx(req)->pid};
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

void fs_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fs *f = fuse_req_userdata(req);
	struct erofs_inode inode;
	uint64_t dev_off, len = 0;
	uint32_t device;
	int r = erofs_inode_get(f->p.image, ino_to_nid(f->p.image, ino), &inode);

	size = min_u64(size, FS_READ_MAX);
	if (r >= 0 && (uint64_t)off >= inode.size) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	if (r >= 0)
		r = erofs_map(f->p.image, &inode, (uint64_t)off, size, &device, &dev_off, &len);
	if (r) { /* also a hole, which our writer does not make */
		counter_add(&f->p.counters->read_errors, 1);
		fuse_reply_err(req, EIO);
		return;
	}
	read_range(f, req, device, dev_off, (uint32_t)len);
}
