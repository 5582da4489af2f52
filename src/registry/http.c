/* SPDX-License-Identifier: MIT */
/*
 * The engine thread owns the multi handle and all easy handles. A caller hands a transfer over
 * through a list and a wake-up; from then on both sides talk through the transfer's lock:
 *
 *   engine: header lines, body bytes (pausing at BODY_BUFFER), the result   -> caller
 *   caller: "go on" after it has taken bytes, "stop"                        -> engine
 */
#include "registry/http.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#define BODY_BUFFER ((size_t)1 << 20)
#define RECEIVE_BYTES (512L << 10)
#define HOST_CONNECTIONS 16L
#define LOOK_AGAIN_NS (100 * NS_PER_MS)
#define SLOW_BYTES_PER_S 1024
#define CONNECT_NS (5 * NS_PER_S)
#define FIRST_BYTE_NS (10 * NS_PER_S)
#define SLOW_NS (10 * NS_PER_S)

struct transfer {
	struct transfer *next;
	const struct http_request *rq;
	CURL *easy;
	struct curl_slist *headers;
	pthread_mutex_t lock;
	pthread_cond_t news;
	struct buf lines, body; /* under lock, as all below */
	int status;
	bool headers_done, paused, resume, stop, queued, done, too_big;
	bool address_refused;
	CURLcode code;
	char error[CURL_ERROR_SIZE];
};

struct http {
	struct http_options o;
	CURLM *multi;
	pthread_t thread;
	pthread_mutex_t lock;
	struct transfer *incoming, *active; /* incoming: under lock; active: the engine's */
	bool stopping;
};

/* ---- callbacks, in the engine thread ---- */

static size_t on_header(char *p, size_t one, size_t n, void *userdata)
{
	struct transfer *t = userdata;
	size_t len = n, colon;
	long status = 0;
	const char *c;

	while (len && (p[len - 1] == '\r' || p[len - 1] == '\n'))
		len--;
	pthread_mutex_lock(&t->lock);
	c = memchr(p, ':', len);
	if (len > 5 && !memcmp(p, "HTTP/", 5))
		t->lines.len = 0; /* a new answer: the one before was 1xx */
	else if (len && c) {
		colon = (size_t)(c - p);
		for (size_t i = 0; i < colon; i++)
			p[i] = (char)tolower((unsigned char)p[i]);
		if (t->lines.len + len + 1 > HTTP_HEADERS_MAX ||
		    buf_append(&t->lines, p, len) < 0 || buf_append(&t->lines, "", 1) < 0) {
			t->too_big = true;
			n = 0;
		}
	} else if (!len) {
		curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
		t->status = (int)status;
		t->headers_done = status >= 200;
		pthread_cond_signal(&t->news);
	}
	pthread_mutex_unlock(&t->lock);
	return n;
}

static size_t on_body(char *p, size_t one, size_t n, void *userdata)
{
	struct transfer *t = userdata;
	size_t r = n;

	pthread_mutex_lock(&t->lock);
	if (t->stop)
		r = 0;
	else if (t->body.len && t->body.len + n > BODY_BUFFER) {
		t->paused = true;
		r = CURL_WRITEFUNC_PAUSE;
	} else if (buf_append(&t->body, p, n) < 0)
		r = 0;
	pthread_cond_signal(&t->news);
	pthread_mutex_unlock(&t->lock);
	return r;
}

static curl_socket_t on_socket(void *userdata, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct transfer *t = userdata;

	if (t->rq->judge_address &&
	    !address_allowed(address_classify(&a->addr, a->addrlen), t->rq->registry_class)) {
		t->address_refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* ---- the engine ---- */

static void transfer_end(struct http *h, struct transfer *t, CURLcode code)
{
	for (struct transfer **p = &h->active; *p; p = &(*p)->next)
		if (*p == t) {
			*p = t->next;
			break;
		}
	curl_multi_remove_handle(h->multi, t->easy);
	pthread_mutex_lock(&t->lock);
	t->code = code;
	t->done = true;
	pthread_cond_signal(&t->news);
	pthread_mutex_unlock(&t->lock);
}

static bool incoming_take(struct http *h)
{
	struct transfer *t, *next;
	bool stopping;

	pthread_mutex_lock(&h->lock);
	t = h->incoming;
	h->incoming = NULL;
	stopping = h->stopping;
	pthread_mutex_unlock(&h->lock);
	for (; t; t = next) {
		next = t->next;
		t->next = h->active;
		h->active = t;
		curl_multi_add_handle(h->multi, t->easy);
	}
	return !stopping;
}

/* What callers asked for since the last round. */
static void wishes_apply(struct http *h)
{
	struct transfer *t, *next;

	for (t = h->active; t; t = next) {
		bool stop, resume;

		next = t->next;
		pthread_mutex_lock(&t->lock);
		stop = t->stop;
		resume = t->resume;
		t->resume = false;
		if (resume)
			t->paused = false;
		pthread_mutex_unlock(&t->lock);
		if (stop)
			transfer_end(h, t, CURLE_ABORTED_BY_CALLBACK);
		else if (resume)
			curl_easy_pause(t->easy, CURLPAUSE_CONT);
	}
}

static void *engine_run(void *arg)
{
	struct http *h = arg;

	while (incoming_take(h)) {
		CURLMsg *msg;
		int left;

		wishes_apply(h);
		curl_multi_perform(h->multi, &left);
		while ((msg = curl_multi_info_read(h->multi, &left)))
			if (msg->msg == CURLMSG_DONE) {
				struct transfer *t;

				curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &t);
				transfer_end(h, t, msg->data.result);
			}
		curl_multi_poll(h->multi, NULL, 0, 1000, NULL);
	}
	return NULL;
}

int http_new(const struct http_options *o, struct http **ret)
{
	struct http *h = calloc(1, sizeof(*h));
	sigset_t all, old;
	int r;

	if (!h)
		return -ENOMEM;
	h->o = *o;
	h->o.connect_ns = o->connect_ns ? o->connect_ns : CONNECT_NS;
	h->o.first_byte_ns = o->first_byte_ns ? o->first_byte_ns : FIRST_BYTE_NS;
	h->o.slow_ns = o->slow_ns ? o->slow_ns : SLOW_NS;
	pthread_mutex_init(&h->lock, NULL);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) || !(h->multi = curl_multi_init())) {
		free(h);
		return -ENOMEM;
	}
	curl_multi_setopt(h->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
	curl_multi_setopt(h->multi, CURLMOPT_MAX_HOST_CONNECTIONS, HOST_CONNECTIONS);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&h->thread, NULL, engine_run, h);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0) {
		curl_multi_cleanup(h->multi);
		free(h);
		return r;
	}
	pthread_setname_np(h->thread, "morsel-http");
	*ret = h;
	return 0;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stopping = true;
	pthread_mutex_unlock(&h->lock);
	curl_multi_wakeup(h->multi);
	pthread_join(h->thread, NULL);
	curl_multi_cleanup(h->multi);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* ---- one request, in the caller's thread ---- */

static int easy_prepare(struct http *h, struct transfer *t)
{
	const struct http_request *rq = t->rq;
	CURL *e = t->easy = curl_easy_init();

	if (!e)
		return -ENOMEM;
	for (const char *const *line = rq->headers; line && *line; line++) {
		struct curl_slist *l = curl_slist_append(t->headers, *line);

		if (!l)
			return -ENOMEM;
		t->headers = l;
	}
	curl_easy_setopt(e, CURLOPT_URL, rq->url);
	curl_easy_setopt(e, CURLOPT_PRIVATE, t);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(e, CURLOPT_NOPROXY, "localhost,127.0.0.0/8,::1");
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(e, CURLOPT_PIPEWAIT, 1L);
	curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)(h->o.connect_ns / NS_PER_MS));
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, RECEIVE_BYTES);
	curl_easy_setopt(e, CURLOPT_HTTP_CONTENT_DECODING, 0L);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t);
	curl_easy_setopt(e, CURLOPT_USERAGENT, h->o.user_agent);
	if (h->o.tls_noverify && !rq->judge_address) { /* never for where others point us */
		curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (rq->judge_address) /* a kept connection would not be judged */
		curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
	if (rq->body) {
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, rq->body);
		curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE, (long)strlen(rq->body));
	} else if (!strcmp(rq->method, "HEAD"))
		curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
	return 0;
}

static void transfer_submit(struct http *h, struct transfer *t)
{
	pthread_mutex_lock(&h->lock);
	t->next = h->incoming;
	h->incoming = t;
	pthread_mutex_unlock(&h->lock);
	curl_multi_wakeup(h->multi);
}

static void transfer_wish(struct http *h, struct transfer *t, bool stop)
{
	if (stop)
		t->stop = true;
	else
		t->resume = true;
	curl_multi_wakeup(h->multi);
}

/* How long this caller has been waiting, and for what. */
struct patience {
	bool for_headers;
	uint64_t since_ns; /* headers: from the start; body: the window for slowness */
	uint64_t window_bytes;
};

/* Under the lock. 0 = news; else why the wait is over. */
static int news_wait(struct http *h, struct transfer *t, struct patience *p, struct attempt *a)
{
	const struct seam *s = h->o.seam;

	while (!t->done && !(t->headers_done && (t->body.len || p->for_headers))) {
		uint64_t now = s->monotonic_ns(s), at = now + LOOK_AGAIN_NS;
		uint64_t limit =
			t->headers_done ? h->o.slow_ns : h->o.connect_ns + h->o.first_byte_ns;
		struct timespec ts = {.tv_sec = (time_t)(at / NS_PER_S),
				      .tv_nsec = (long)(at % NS_PER_S)};

		if (t->rq->cancel && atomic_load(t->rq->cancel)) {
			*a = (struct attempt){.fault = TRANSFER_OURS, .code = -ECANCELED};
			return 1;
		}
		if ((t->rq->deadline_ns && now >= t->rq->deadline_ns) ||
		    now - p->since_ns >= limit) {
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

static int collect(const struct http_request *rq, struct http_response *rs, const struct buf *piece)
{
	size_t max = rq->body_max ? rq->body_max : HTTP_ERROR_BODY_MAX;

	if (rs->status >= 300 ||
	    rs->status < 200) /* an error's text may be cut; a document may not */
		return buf_append(
			&rs->body, piece->data,
			min_u64(piece->len,
				HTTP_ERROR_BODY_MAX - min_u64(HTTP_ERROR_BODY_MAX, rs->body.len)));
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
	curl_easy_getinfo(t->easy, CURLINFO_PRIMARY_IP, &ip);
	if (ip && inet_pton(AF_INET, ip, &v4.sin_addr) == 1)
		rs->peer = address_classify((struct sockaddr *)&v4, sizeof(v4));
	else if (ip && inet_pton(AF_INET6, ip, &v6.sin6_addr) == 1)
		rs->peer = address_classify((struct sockaddr *)&v6, sizeof(v6));
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
	if (t->address_refused)
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

int http_perform(struct http *h, const struct http_request *rq, struct http_response *ret,
		 struct attempt *a, char detail[static 256])
{
	struct transfer t = {
		.rq = rq, .lock = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER};
	int r;

	*ret = (struct http_response){0};
	detail[0] = 0;
	r = easy_prepare(h, &t);
	if (r < 0)
		*a = (struct attempt){.fault = TRANSFER_OURS, .code = r};
	else {
		transfer_submit(h, &t);
		pthread_mutex_lock(&t.lock);
		r = answer_run(h, &t, ret, a);
		transfer_stop_wait(h, &t);
		pthread_mutex_unlock(&t.lock);
		timings_take(&t, ret);
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
