/* SPDX-License-Identifier: MIT */
/*
 * The engine's side of http_impl.h: one thread in curl_multi, which alone touches the multi handle,
 * and an easy handle as long as its transfer is handed over. Callers' wishes (a transfer, go on,
 * stop) are taken between two rounds.
 */
#include "registry/http_impl.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "base/thread.h"
#include "registry/client_certs.h"

#define BODY_BUFFER ((size_t)1 << 20)
#define RECEIVE_BYTES (512L << 10)
#define SEND_BYTES (1L << 20)
#define EXPECT_MS 250L /* for a server's "100 Continue", which not all say */
#define HOST_CONNECTIONS 16L
#define CONNECT_NS (5 * NS_PER_S)
#define FIRST_BYTE_NS (10 * NS_PER_S)
#define SLOW_NS (10 * NS_PER_S)

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

static size_t on_feed(char *buf, size_t one, size_t n, void *userdata)
{
	struct transfer *t = userdata;
	const struct seam *s = t->http->o.seam;
	ssize_t got;

	pthread_mutex_lock(&t->lock);
	t->starved = true; /* before it is asked: a wake-up must not come between */
	pthread_mutex_unlock(&t->lock);
	got = t->rq->feed->read(t->rq->feed->userdata, buf, n);
	pthread_mutex_lock(&t->lock);
	t->starved = got == HTTP_FEED_LATER;
	t->fed_ns = s->monotonic_ns(s);
	if (got < 0 && got != HTTP_FEED_LATER)
		t->feed_code = (int)got;
	pthread_mutex_unlock(&t->lock);
	return got == HTTP_FEED_LATER ? CURL_READFUNC_PAUSE
	       : got < 0	      ? CURL_READFUNC_ABORT
				      : (size_t)got;
}

static const unsigned gone_ms = 1000;

static curl_socket_t on_socket(void *userdata, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct transfer *t = userdata;

	int fd;

	/* through a proxy it is the proxy's address, which nobody but us has named */
	if (t->rq->judge_address && (!t->rq->proxy || !*t->rq->proxy) &&
	    !address_allowed(address_classify(&a->addr, a->addrlen), t->rq->registry_class)) {
		t->address_refused = true;
		return CURL_SOCKET_BAD;
	}
	fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
	if (fd >= 0 && t->rq->hurried)
		setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &gone_ms, sizeof(gone_ms));
	return fd;
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
	curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, 4 * HOST_CONNECTIONS); /* stay warm */
	r = thread_start(&h->thread, "morsel-http", engine_run, h);
	if (r < 0) {
		curl_multi_cleanup(h->multi);
		free(h);
		return r;
	}
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

/* ---- transfers, handed over by callers ---- */

static void method_set(struct transfer *t, CURL *e)
{
	const struct http_request *rq = t->rq;

	if (!strcmp(rq->method, "HEAD")) {
		curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
		return;
	}
	if (rq->feed) {
		curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)rq->feed->size);
		curl_easy_setopt(e, CURLOPT_READFUNCTION, on_feed);
		curl_easy_setopt(e, CURLOPT_READDATA, t);
		curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, SEND_BYTES);
		curl_easy_setopt(e, CURLOPT_EXPECT_100_TIMEOUT_MS, EXPECT_MS);
	} else if (rq->body || !strcmp(rq->method, "POST") || !strcmp(rq->method, "PUT")) {
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, rq->body ? rq->body : "");
		curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)rq->body_len);
	}
	if (strcmp(rq->method, "GET") != 0)
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, rq->method);
}

static CURLcode on_ssl_ctx(CURL *e, void *ssl_ctx, void *clients)
{
	client_certs_use(clients, ssl_ctx);
	return CURLE_OK;
}

/* The system's roots stay, in CURLOPT_CAPATH. libcurl knows of one client certificate, by which it
 * tells connections apart. */
static void tls_set(const struct http_tls *tls, CURL *e)
{
	struct curl_blob ca = {.flags = CURL_BLOB_NOCOPY};

	if (tls && tls->ca) {
		ca.data = tls->ca;
		ca.len = tls->ca_len;
		curl_easy_setopt(e, CURLOPT_CAINFO_BLOB, &ca);
	}
	if (tls && tls->cert) {
		curl_easy_setopt(e, CURLOPT_SSLCERT, tls->cert);
		curl_easy_setopt(e, CURLOPT_SSLKEY, tls->key);
		curl_easy_setopt(e, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
		curl_easy_setopt(e, CURLOPT_SSL_CTX_DATA, tls->clients);
	}
}

int transfer_prepare(struct http *h, struct transfer *t)
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
	/* who gives up does not wait for a name server */
	curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(e, CURLOPT_PROXY, rq->proxy ? rq->proxy : "");
	curl_easy_setopt(e, CURLOPT_NOPROXY, "");
	curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(e, CURLOPT_PIPEWAIT, 1L);
	curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
			 (long)((rq->connect_ns ? rq->connect_ns : h->o.connect_ns) / NS_PER_MS));
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, RECEIVE_BYTES);
	curl_easy_setopt(e, CURLOPT_HTTP_CONTENT_DECODING, 0L);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t);
	curl_easy_setopt(e, CURLOPT_USERAGENT, h->o.user_agent);
	tls_set(rq->tls, e);
	if ((h->o.tls_noverify || rq->tls_noverify) &&
	    !rq->judge_address) { /* never for where others point us */
		curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (rq->judge_address) /* a kept connection would not be judged */
		curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
	method_set(t, e);
	return 0;
}

void transfer_submit(struct http *h, struct transfer *t)
{
	pthread_mutex_lock(&h->lock);
	t->next = h->incoming;
	h->incoming = t;
	pthread_mutex_unlock(&h->lock);
	curl_multi_wakeup(h->multi);
}

void http_feed_init(struct http_feed *f)
{
	pthread_mutex_init(&f->lock, NULL);
}

void http_feed_fini(struct http_feed *f)
{
	pthread_mutex_destroy(&f->lock);
}

void http_feed_wake(struct http_feed *f)
{
	struct transfer *t;

	pthread_mutex_lock(&f->lock);
	t = f->transfer;
	if (t) {
		pthread_mutex_lock(&t->lock);
		if (t->starved)
			transfer_wish(f->http, t, false);
		pthread_mutex_unlock(&t->lock);
	}
	pthread_mutex_unlock(&f->lock);
}

void transfer_wish(struct http *h, struct transfer *t, bool stop)
{
	if (stop)
		t->stop = true;
	else
		t->resume = true;
	curl_multi_wakeup(h->multi);
}
