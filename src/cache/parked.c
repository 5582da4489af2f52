/* SPDX-License-Identifier: MIT */
/* Requests that wait: the list of them, the thread that watches their deadlines, their answers. */
#include "cache/reader_impl.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include "base/thread.h"
#include "prof/wait.h"

#define ROUNDS_MAX                                                                                 \
	64 /* plans for one request: only eviction under its feet needs more than a few */
#define TIMER_MIN_NS NS_PER_MS
#define TIMER_MAX_NS (100 * NS_PER_MS) /* the seam's clock need not be the one that wakes us */

/* ---- the list: under the lock ---- */

static void enlist(struct reader *r, struct parked *p)
{
	p->prev = r->tail;
	if (r->tail)
		r->tail->next = p;
	else {
		r->head = p;
		pthread_cond_broadcast(&r->changed); /* the timer has something to watch */
	}
	r->tail = p;
	p->refs++;
}

static void delist(struct reader *r, struct parked *p)
{
	if (p->prev)
		p->prev->next = p->next;
	else
		r->head = p->next;
	if (p->next)
		p->next->prev = p->prev;
	else
		r->tail = p->prev;
	p->prev = p->next = NULL;
	p->rq->parked = NULL;
	p->rq = NULL;
	p->refs--;
	if (!r->head)
		pthread_cond_broadcast(&r->changed);
}

static void unref(struct reader *r, struct parked *p)
{
	bool last;

	pthread_mutex_lock(&r->lock);
	last = !--p->refs;
	pthread_mutex_unlock(&r->lock);
	if (!last)
		return;
	prof_wait_end(p->wait);
	free(p);
}

/* ---- answers ---- */

/* p is off the list, rq is ours alone. */
static void deliver(struct reader *r, struct parked *p, struct reader_request *rq, int e)
{
	uint64_t waited_ns = reader_now(r) - p->start_ns;

	COUNT(r, p->ls, wait_ns, waited_ns);
	CHARGE(r, p->task.who, wait_ns, waited_ns);
	if (e >= 0) {
		COUNT(r, p->ls, bytes_served, rq->len);
		CHARGE(r, p->task.who, bytes, rq->len);
	} else if (e != -EINTR)
		COUNT(r, p->ls, read_errors, 1);
	prof_wait_end(steal_ptr(p->wait));
	parked_trace_end(p, waited_ns);
	rq->done(rq, e >= 0 ? 0 : e == -EINTR || e == -ETIMEDOUT ? e : -EIO);
}

/* By the thread that made it busy. */
static void answer(struct reader *r, struct parked *p, int e)
{
	struct reader_request *rq;

	pthread_mutex_lock(&r->lock);
	rq = p->rq;
	delist(r, p);
	pthread_mutex_unlock(&r->lock);
	deliver(r, p, rq, e);
}

/* Looks again at what is missing. 0: nothing. READER_PENDING: it waits, and is busy no more. */
static int plan_again(struct reader *r, struct parked *p, struct flight **ret_new)
{
	int e;

	if (p->cancelled)
		return -EINTR;
	if (reader_now(r) >= p->deadline_ns)
		return -ETIMEDOUT;
	if (++p->rounds > ROUNDS_MAX)
		return -EIO;
	e = flights_plan(p, ret_new);
	if (e < 0 || !p->waits)
		return e;
	p->busy = false;
	return READER_PENDING;
}

/* p is busy, by us, and one reference is ours. */
static void resume(struct reader *r, struct parked *p)
{
	struct trace_task before = trace_task_set(p->task);
	struct reader_request *rq = p->rq;
	struct layer *l = p->ls->conf.layer;
	uint64_t begin = trace_begin();
	int e = p->result;

	while (e >= 0) {
		struct flight *new = NULL;

		e = layer_read(l, rq->dev_off, rq->buf, rq->len, 0);
		if (e == -ENODATA) /* the file was cut: what it lost is missing now */
			e = layer_data_repair(l) < 0 ? -EIO : LAYER_NOT_READY;
		else if (e < 0) { /* a bad sector: verification will meet it, and give it up */
			layer_doubt(l, rq->dev_off, rq->len);
			e = LAYER_NOT_READY;
		}
		if (e != LAYER_NOT_READY)
			break;
		pthread_mutex_lock(&r->lock);
		e = plan_again(r, p, &new);
		pthread_mutex_unlock(&r->lock);
		flights_start(r, new);
		if (e == READER_PENDING)
			break;
	}
	trace_span(TRACE_CACHE, begin);
	if (e != READER_PENDING)
		answer(r, p, e);
	unref(r, p);
	trace_task_set(before);
}

static void resume_job(void *arg)
{
	struct parked *p = arg;
	struct reader *r = p->r;

	resume(r, p);
	reader_job_end(r);
}

/* The job takes over the caller's reference. */
static int resume_submit(struct reader *r, struct parked *p)
{
	int e;

	pthread_mutex_lock(&r->lock);
	r->jobs++;
	pthread_mutex_unlock(&r->lock);
	e = work_submit(r->pool, WORK_DEMAND, resume_job, p);
	if (e < 0)
		reader_job_end(r);
	return e;
}

void parked_wait_over(struct reader *r, struct parked *p, bool may_block)
{
	bool mine;

	pthread_mutex_lock(&r->lock);
	mine = p->rq && !p->busy && (!p->waits || p->result < 0);
	if (mine)
		p->busy = true;
	pthread_mutex_unlock(&r->lock);
	if (!mine)
		unref(r, p);
	else if (may_block || resume_submit(r, p) < 0)
		resume(r, p);
}

/* ---- parking ---- */

static int timer_start(struct reader *r)
{
	if (r->timer_runs)
		return 0;
	if (thread_start(&r->timer, "morsel-timer", reader_timer, r) < 0)
		return -EAGAIN;
	r->timer_runs = true;
	return 0;
}

/* In the wall-clock profile it waits under the stack that parked it. */
static struct prof_wait *wait_begin(struct parked *p)
{
	struct prof_wait *wait = NULL;
	struct prof_scope scope;
	struct prof_op op;

	if (!prof_listening())
		return NULL;
	prof_op_current(&op);
	op.name = op.name ? op.name : "read";
	op.image = p->r->label;
	op.layer = p->ls->label;
	prof_op_begin(&scope, &op);
	wait = prof_wait_begin();
	prof_op_end(&scope);
	return wait;
}

int reader_park(struct reader *r, struct reader_request *rq)
{
	struct parked *p = calloc(1, sizeof(*p));
	struct flight *new = NULL;
	bool waits = false;
	int e;

	if (!p)
		return -ENOMEM;
	p->r = r;
	p->rq = rq;
	p->ls = &r->layers[rq->layer];
	p->start_ns = reader_now(r);
	p->deadline_ns = p->start_ns + r->deadline_ns;
	p->refs = 1;
	p->busy = true;
	p->task = trace_task;
	p->wait = wait_begin(p);
	pthread_mutex_lock(&r->lock);
	e = timer_start(r);
	rq->reader = r;
	rq->parked = p;
	enlist(r, p);
	if (e >= 0)
		e = flights_plan(p, &new);
	if (e < 0)
		delist(r, p);
	else if (p->waits) {
		waits = true;
		p->busy = false;
	}
	pthread_mutex_unlock(&r->lock);
	flights_start(r, new);
	if (e >= 0 && !waits) { /* everything is there: it is the disk that would make us wait */
		e = resume_submit(r, p);
		if (e >= 0)
			return 0;
		pthread_mutex_lock(&r->lock);
		delist(r, p);
		pthread_mutex_unlock(&r->lock);
	}
	unref(r, p);
	return e;
}

/* ---- the timer ---- */

/* The next request to be answered by the timer, off the list; NULL when there is none. */
static struct parked *expired_take(struct reader *r, uint64_t now, struct reader_request **ret_rq,
				   int *ret)
{
	for (struct parked *p = r->head; p && (r->some_cancelled || p->deadline_ns <= now);
	     p = p->next) {
		if (p->busy || (!p->cancelled && p->deadline_ns > now))
			continue;
		*ret = p->cancelled ? -EINTR : -ETIMEDOUT;
		*ret_rq = p->rq;
		p->refs++;
		delist(r, p);
		return p;
	}
	r->some_cancelled = false;
	return NULL;
}

static struct flight *delayed_take(struct reader *r, uint64_t now)
{
	struct flight *due = NULL;

	for (struct flight **at = &r->delayed; *at;) {
		struct flight *f = *at;

		if (f->start_ns > now && !atomic_load(&r->cancel)) {
			at = &f->next_delayed;
			continue;
		}
		*at = f->next_delayed;
		f->next_delayed = due;
		due = f;
	}
	return due;
}

static void timer_wait(struct reader *r, uint64_t now)
{
	uint64_t next = now + TIMER_MAX_NS;
	struct timespec ts;

	if (!r->head && !r->delayed) {
		pthread_cond_wait(&r->changed, &r->lock);
		return;
	}
	if (r->head)
		next = min_u64(next, r->head->deadline_ns);
	for (const struct flight *f = r->delayed; f; f = f->next_delayed)
		next = min_u64(next, f->start_ns);
	next = next > now + TIMER_MIN_NS ? next - now : TIMER_MIN_NS;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	next += (uint64_t)ts.tv_nsec;
	ts.tv_sec += (time_t)(next / NS_PER_S);
	ts.tv_nsec = (long)(next % NS_PER_S);
	pthread_cond_clockwait(&r->changed, &r->lock, CLOCK_MONOTONIC, &ts);
}

static void timeout_note(struct reader *r)
{
	char text[96];

	snprintf(text, sizeof(text), "a read was given up after %.1f s without data",
		 (double)r->deadline_ns / 1e9);
	reader_failed(r, -ETIMEDOUT, text);
}

static void flights_due(struct reader *r, struct flight *due)
{
	if (!atomic_load(&r->cancel)) {
		flights_start(r, due);
		return;
	}
	while (due) {
		struct flight *f = due;

		due = f->next_delayed;
		flight_cancel(f);
	}
}

void *reader_timer(void *arg)
{
	struct reader *r = arg;

	pthread_mutex_lock(&r->lock);
	while (!r->stopping || r->head || r->jobs || r->delayed) {
		uint64_t now = reader_now(r);
		struct reader_request *rq;
		struct flight *due;
		struct parked *p;
		int e;

		due = delayed_take(r, now);
		p = expired_take(r, now, &rq, &e);
		if (!due && !p) {
			timer_wait(r, now);
			continue;
		}
		pthread_mutex_unlock(&r->lock);
		flights_due(r, due);
		if (p) {
			if (e == -ETIMEDOUT)
				timeout_note(r);
			deliver(r, p, rq, e);
			unref(r, p);
		}
		pthread_mutex_lock(&r->lock);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}
