/* SPDX-License-Identifier: MIT */
/* One request, in the caller's thread: waiting for the engine, consuming, judging. */
#include "registry/http_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#include "prof/trace.h"
#include "registry/source.h"

#define LOOK_AGAIN_NS (100 * NS_PER_MS)
#define SLOW_BYTES_PER_S 1024

/* How long this caller has been waiting, and for what. */
struct patience {
	bool for_headers;
	uint64_t since_ns; /* headers: from the start; body: the window for slowness */
	uint64_t window_bytes;
};

/* Under the lock: how long nothing may happen, and since when it has not. While a body is sent that
 * is from the last time the connection took bytes. */
static uint64_t patience_of(struct http *h, const struct transfer *t, const struct patience *p,
			    uint64_t now, uint64_t *ret_since)
{
	*ret_since = p->since_ns;
	if (t->headers_done)
		return t->rq->slow_ns ? t->rq->slow_ns : h->o.slow_ns;
	*ret_since = t->starved ? now : max_u64(p->since_ns, t->fed_ns);
	return t->rq->answer_ns ? t->rq->answer_ns : h->o.connect_ns + h->o.first_byte_ns;
}

/* Under the lock. 0 = news; else why the wait is over. */
static int news_wait(struct http *h, struct transfer *t, struct patience *p, struct attempt *a)
{
	const struct seam *s = h->o.seam;

	while (!t->done && !(t->headers_done && (t->body.len || p->for_headers))) {
		uint64_t now = s->monotonic_ns(s), at = now + LOOK_AGAIN_NS, since;
		uint64_t limit = patience_of(h, t, p, now, &since);
		struct timespec ts = {.tv_sec = (time_t)(at / NS_PER_S),
				      .tv_nsec = (long)(at % NS_PER_S)};

		if (t->rq->cancel && atomic_load(t->rq->cancel)) {
			*a = (struct attempt){.fault = TRANSFER_OURS, .code = -ECANCELED};
			return 1;
		}
		if ((t->rq->deadline_ns && now >= t->rq->deadline_ns &&
		     !(t->rq->timeless && *t->rq->timeless)) ||
		    now - min_u64(since, now) >= limit) {
			*a = (struct attempt){.fault = TRANSFER_TIMEOUT};
			return 1;
		}
		pthread_cond_clockwait(&t->news, &t->lock, CLOCK_MONOTONIC, &ts);
	}
	return 0;
}

static enum transfer_fault fault_of(CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return TRANSFER_RESOLVE;
	case CURLE_COULDNT_CONNECT:
		return TRANSFER_CONNECT;
	case CURLE_OPERATION_TIMEDOUT:
		return TRANSFER_TIMEOUT;
	case CURLE_PARTIAL_FILE:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		return TRANSFER_CUT;
	case CURLE_SSL_CONNECT_ERROR:
		return TRANSFER_HANDSHAKE;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_CERTPROBLEM:
		return TRANSFER_CERT;
	default:
		return TRANSFER_GARBLED;
	}
}

/* -EPROTO from a callback says that the answer is not what was asked for: worth another attempt. */
static void ours(struct attempt *a, int code)
{
	if (code == -EPROTO)
		*a = (struct attempt){.fault = TRANSFER_GARBLED,
				      .detail = "the answer is not the range asked for"};
	else
		*a = (struct attempt){.fault = TRANSFER_OURS, .code = code};
}

/* An error's text may be cut; a document may not. > 0: that is enough. */
static int collect(const struct http_request *rq, struct http_response *rs, const struct buf *piece)
{
	size_t max = rq->body_max ? rq->body_max : HTTP_ERROR_BODY_MAX;

	if (rs->status >= 300 || rs->status < 200) {
		size_t room = HTTP_ERROR_BODY_MAX - min_u64(HTTP_ERROR_BODY_MAX, rs->body.len);
		int r = buf_append(&rs->body, piece->data, min_u64(piece->len, room));

		return r < 0 ? r : piece->len > room;
	}
	if (piece->len > max - min_u64(max, rs->body.len))
		return -E2BIG;
	return buf_append(&rs->body, piece->data, piece->len);
}

/* Body bytes as they come, until the end; the lock is not held while they are consumed. */
static int body_run(struct http *h, struct transfer *t, struct http_response *rs, bool collecting,
		    struct attempt *a)
{
	const struct seam *s = h->o.seam;
	_cleanup_(buf_fini) struct buf piece = BUF_INIT;
	struct patience p = {.since_ns = s->monotonic_ns(s)};
	int r = 0;

	for (;;) {
		struct buf taken;

		if (news_wait(h, t, &p, a))
			return 1;
		if (!t->body.len)
			return 0; /* done: the result says how */
		taken = t->body;
		t->body = piece;
		t->body.len = 0;
		piece = taken;
		if (t->paused)
			transfer_wish(h, t, false);
		pthread_mutex_unlock(&t->lock);
		rs->body_bytes += piece.len;
		r = collecting ? collect(t->rq, rs, &piece)
			       : t->rq->sink(t->rq->userdata, piece.data, piece.len);
		pthread_mutex_lock(&t->lock);
		if (r) {
			if (r < 0)
				ours(a, r);
			else
				*a = (struct attempt){.fault = TRANSFER_ANSWERED};
			return 1;
		}
		p.window_bytes += piece.len;
		if (p.window_bytes >= SLOW_BYTES_PER_S * h->o.slow_ns / NS_PER_S) {
			p.window_bytes = 0;
			p.since_ns = s->monotonic_ns(s);
		}
	}
}

static int answer_run(struct http *h, struct transfer *t, struct http_response *rs,
		      struct attempt *a)
{
	struct patience p = {.for_headers = true, .since_ns = h->o.seam->monotonic_ns(h->o.seam)};
	int mode = HTTP_COLLECT;

	if (news_wait(h, t, &p, a))
		return 1;
	if (!t->headers_done)
		return 0;
	rs->status = t->status;
	rs->headers = t->lines;
	t->lines = BUF_INIT;
	if (t->rq->on_headers) {
		pthread_mutex_unlock(&t->lock);
		mode = t->rq->on_headers(t->rq->userdata, rs);
		pthread_mutex_lock(&t->lock);
	}
	if (mode < 0) {
		ours(a, mode);
		return 1;
	}
	return body_run(h, t, rs, mode == HTTP_COLLECT, a);
}

static void timings_take(struct transfer *t, struct http_response *rs)
{
	curl_off_t connect = 0, pre = 0, start = 0, total = 0;
	char *ip = NULL;
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

	curl_easy_getinfo(t->easy, CURLINFO_APPCONNECT_TIME_T, &connect);
	if (!connect)
		curl_easy_getinfo(t->easy, CURLINFO_CONNECT_TIME_T, &connect);
	curl_easy_getinfo(t->easy, CURLINFO_PRETRANSFER_TIME_T, &pre);
	curl_easy_getinfo(t->easy, CURLINFO_STARTTRANSFER_TIME_T, &start);
	curl_easy_getinfo(t->easy, CURLINFO_TOTAL_TIME_T, &total);
	rs->connect_ns = (uint64_t)connect * 1000;
	rs->queue_ns = (uint64_t)(pre > connect ? pre - connect : 0) * 1000;
	rs->first_byte_ns = (uint64_t)(start > pre ? start - pre : 0) * 1000;
	rs->transfer_ns = (uint64_t)(total > start ? total - start : 0) * 1000;
	if (!t->rq->proxy || !*t->rq->proxy) /* else it is the proxy's */
		curl_easy_getinfo(t->easy, CURLINFO_PRIMARY_IP, &ip);
	if (ip && inet_pton(AF_INET, ip, &v4.sin_addr) == 1)
		rs->peer = address_classify((struct sockaddr *)&v4, sizeof(v4));
	else if (ip && inet_pton(AF_INET6, ip, &v6.sin6_addr) == 1)
		rs->peer = address_classify((struct sockaddr *)&v6, sizeof(v6));
}

static void traffic_count(struct http *h, const struct transfer *t, const struct http_response *rs)
{
	curl_off_t sent = 0;

	curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
	atomic_fetch_add_explicit(&h->requests, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->received, rs->body_bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sent, (uint64_t)sent, memory_order_relaxed);
}

void http_traffic_add(const struct http *h, struct registry_traffic *ret)
{
	ret->requests += atomic_load_explicit(&h->requests, memory_order_relaxed);
	ret->received_bytes += atomic_load_explicit(&h->received, memory_order_relaxed);
	ret->sent_bytes += atomic_load_explicit(&h->sent, memory_order_relaxed);
}

static void transfer_stop_wait(struct http *h, struct transfer *t)
{
	while (!t->done) {
		transfer_wish(h, t, true);
		pthread_cond_wait(&t->news, &t->lock);
	}
}

static int result_judge(struct transfer *t, struct attempt *a, char detail[static 256])
{
	if (t->feed_code)
		*a = (struct attempt){.fault = TRANSFER_OURS, .code = t->feed_code};
	else if (t->rq->feed && t->code != CURLE_OK && t->headers_done && t->status >= 400)
		/* it answered and did not listen any longer: the answer counts */
		*a = (struct attempt){.fault = TRANSFER_ANSWERED, .status = t->status};
	else if (t->address_refused)
		*a = (struct attempt){.fault = TRANSFER_OURS, .code = -EPERM};
	else if (t->too_big)
		*a = (struct attempt){.fault = TRANSFER_GARBLED,
				      .detail = "headers of more than 256 KiB"};
	else if (t->code != CURLE_OK) {
		snprintf(detail, 256, "%s", t->error[0] ? t->error : curl_easy_strerror(t->code));
		*a = (struct attempt){.fault = fault_of(t->code), .detail = detail};
	} else
		*a = (struct attempt){.fault = TRANSFER_ANSWERED, .status = t->status};
	return a->fault == TRANSFER_ANSWERED ? 0 : 1;
}

static void feed_join(struct http *h, struct http_feed *f, struct transfer *t)
{
	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	f->http = h;
	f->transfer = t;
	pthread_mutex_unlock(&f->lock);
}

int http_perform(struct http *h, const struct http_request *rq, struct http_response *ret,
		 struct attempt *a, char detail[static 256])
{
	struct transfer t = {.http = h,
			     .rq = rq,
			     .lock = PTHREAD_MUTEX_INITIALIZER,
			     .news = PTHREAD_COND_INITIALIZER};
	uint64_t start = trace_begin();
	int r;

	*ret = (struct http_response){0};
	detail[0] = 0;
	r = transfer_prepare(h, &t);
	if (r < 0)
		*a = (struct attempt){.fault = TRANSFER_OURS, .code = r};
	else {
		feed_join(h, rq->feed, &t);
		transfer_submit(h, &t);
		pthread_mutex_lock(&t.lock);
		r = answer_run(h, &t, ret, a);
		transfer_stop_wait(h, &t);
		pthread_mutex_unlock(&t.lock);
		feed_join(h, rq->feed, NULL);
		timings_take(&t, ret);
		traffic_count(h, &t, ret);
		if (!r)
			r = result_judge(&t, a, detail);
		else if (a->fault == TRANSFER_ANSWERED) { /* enough was said */
			a->status = ret->status;
			r = 0;
		}
	}
	curl_easy_cleanup(t.easy);
	curl_slist_free_all(t.headers);
	buf_fini(&t.lines);
	buf_fini(&t.body);
	http_trace(rq, ret, start);
	return r < 0 ? 1 : r;
}

void http_response_fini(struct http_response *rs)
{
	buf_fini(&rs->headers);
	buf_fini(&rs->body);
	*rs = (struct http_response){0};
}

const char *http_header_next(const struct http_response *rs, const char *name, size_t *pos)
{
	size_t n = strlen(name);

	while (*pos < rs->headers.len) {
		const char *line = (const char *)rs->headers.data + *pos;

		*pos += strlen(line) + 1;
		if (!strncmp(line, name, n) && line[n] == ':')
			return line + n + 1 + strspn(line + n + 1, " \t");
	}
	return NULL;
}

const char *http_header(const struct http_response *rs, const char *name)
{
	size_t pos = 0;

	return http_header_next(rs, name, &pos);
}
