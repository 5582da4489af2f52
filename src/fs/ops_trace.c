/* SPDX-License-Identifier: MIT */
/*
 * Around every request of the kernel: what it is, for the trace and for the samplers' labels, and
 * whom reads are charged to. Two flags are looked at when nobody measures. One request at a time is
 * in a thread's hands; one that is parked takes its measurements along.
 */
#include <linux/fuse.h>

#include "fs/fs_impl.h"
#include "prof/op.h"
#include "prof/processes.h"

static _Thread_local struct fs_request current;
static _Thread_local struct prof_scope scope;

static void request_read(const struct fuse_buf *buf, struct fs_request *ret)
{
	const struct fuse_in_header *h = buf->mem;
	const struct fuse_read_in *in = (const struct fuse_read_in *)(h + 1);

	ret->opcode = (uint16_t)h->opcode;
	ret->ino = h->nodeid;
	ret->process = process_of((pid_t)h->pid);
	if (h->opcode == FUSE_READ && buf->size >= sizeof(*h) + sizeof(*in)) {
		ret->off = in->offset;
		ret->size = in->size;
	}
}

/* The name that is looked for, and may not be there. */
static void name_record(const struct fuse_buf *buf)
{
	const struct fuse_in_header *h = buf->mem;
	const char *name = (const char *)(h + 1);

	if (h->opcode == FUSE_LOOKUP && buf->size > sizeof(*h))
		trace_text(current.id, name, strnlen(name, buf->size - sizeof(*h)));
}

static void labels_begin(struct fs *f, const struct fs_request *rq)
{
	struct process p;

	process_get(rq->process, &p);
	prof_op_begin(&scope, &(struct prof_op){.name = trace_fuse_name(rq->opcode),
						.image = f->p.image_label,
						.command = prof_intern(p.command),
						.pid = p.pid});
}

void fs_request_begin(struct fs *f, const struct fuse_buf *buf)
{
	struct fs_request rq = {.start = trace_begin()};

	scope.begun = false;
	if ((!rq.start && !prof_listening()) || buf->size < sizeof(struct fuse_in_header))
		return;
	request_read(buf, &rq);
	labels_begin(f, &rq);
	if (!rq.start)
		return;
	rq.id = trace_new_id();
	current = rq;
	trace_task.id = rq.id;
	trace_hold(true);
	name_record(buf);
}

void fs_request_done(struct fs *f, const struct fs_request *rq, uint32_t delivered, int result)
{
	if (!rq->id)
		return;
	trace_emit(&(struct trace_event){
		.start = rq->start,
		.end = trace_ticks(),
		.id = rq->id,
		.kind = TRACE_FUSE,
		.flags = rq->flags | trace_task.flags,
		.code = rq->opcode,
		.image = f->p.access ? access_id(f->p.access) : 0,
		.fuse = {.ino = f->p.kernel ? 0 : ino_to_nid(f->p.image, rq->ino),
			 .off = rq->off,
			 .size = rq->size,
			 .delivered = delivered,
			 .process = rq->process,
			 .result = result},
	});
	trace_hold(false);
}

void fs_request_end(struct fs *f)
{
	prof_op_end(&scope);
	fs_request_done(f, &current, current.delivered, current.result);
	current.id = 0;
	trace_task = (struct trace_task){0};
}

void fs_request_take(struct fs_request *ret)
{
	*ret = current;
	current.id = 0;
	if (ret->id)
		trace_hold(false);
}

void fs_request_answers(const struct fs_request *rq)
{
	if (rq->id)
		trace_hold(true);
}

void fs_request_reads(struct fs *f, uint64_t nid, pid_t tid)
{
	if (f->p.access)
		trace_task.who = access_of(f->p.access, nid, process_of(tid));
}

void fs_request_layer(struct fs *f, uint32_t layer)
{
	struct prof_op op;

	if (!scope.begun)
		return;
	prof_op_current(&op);
	op.layer = reader_layer_label(f->p.reader, layer);
	prof_op_end(&scope);
	prof_op_begin(&scope, &op);
}

void fs_request_note(uint32_t delivered, uint8_t flags, int result)
{
	current.delivered = delivered;
	current.flags = flags;
	current.result = result;
}
