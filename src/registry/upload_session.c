/* SPDX-License-Identifier: MIT */
#include "registry/upload_session.h"

#include <errno.h>
#include <stdio.h>

#include "registry/headers.h"

#define CALL_NS (30 * NS_PER_S)
#define CANCEL_NS (3 * NS_PER_S)
#define FINISH_NS (600 * NS_PER_S) /* some registries copy or hash the whole blob now */
#define FINISH_WAIT_NS (60 * NS_PER_S)
#define CHUNK_MIN_MAX (UINT64_C(64) << 20)

struct exchange target_exchange(struct target_registry *t, const atomic_bool *cancel,
				const char *method)
{
	const struct seam *s = t->r->o.seam;
	uint64_t budget = t->r->o.call_ns ? t->r->o.call_ns : CALL_NS;

	return (struct exchange){.r = t->r,
				 .auth = t->auth,
				 .method = method,
				 .cancel = cancel,
				 .deadline_ns = s->monotonic_ns(s) + budget};
}

int session_error(const struct session *s, int code, const struct error *why, struct error *err)
{
	if (s->why[0])
		return error_set(err, code == -EPERM ? code : -EPROTO, "%s: %s", s->t->text,
				 s->why);
	if (why->code)
		return error_set(err, why->code, "%s", why->text);
	return code;
}

/* ---- answers ---- */

static int wrong(struct session *s, int code, const char *fmt, const char *arg)
{
	snprintf(s->why, sizeof(s->why), fmt, arg);
	return code;
}

static int location_take(struct session *s, const char *value)
{
	char base[ORIGIN_TEXT_MAX], text[ORIGIN_TEXT_MAX];
	_cleanup_(url_fini) struct url from = {0}, to = {0};
	struct error why = ERROR_INIT;
	enum address_class peer;
	struct origin origin;
	int r;

	host_look(s->t->r, s->t->auth->host, &origin, &peer);
	origin_format(&origin, base);
	r = url_parse(s->location ? s->location : base, &from, &why);
	if (r >= 0)
		r = url_resolve(&from, value, &to, &why);
	if (r < 0)
		return wrong(s, -EPROTO, "the Location of the upload makes no sense: %s", why.text);
	if (!origin_equal(&to.origin, &origin)) {
		origin_format(&to.origin, text);
		return wrong(s, -EPERM,
			     "the registry wants the upload sent to another host (%s): refused",
			     text);
	}
	free(s->location);
	s->location = steal_ptr(to.text);
	return 0;
}

int session_advance(struct session *s, const struct http_response *rs)
{
	const char *location = http_header(rs, "location"), *range = http_header(rs, "range");
	uint64_t next = s->sent;
	int r = 0;

	if (range && upload_range_parse(range, &next) < 0)
		return wrong(s, -EPROTO, "the upload's Range makes no sense: \"%.80s\"", range);
	if (!next && s->sent == 1 && !s->confirmed)
		next = 1; /* "0-0" is both */
	if (next > s->sent)
		return wrong(s, -EPROTO,
			     "the registry says it has more than was sent (Range: %.80s)", range);
	if (location)
		r = location_take(s, location);
	if (r >= 0)
		s->confirmed = next;
	return r;
}

/* ---- begin ---- */

static int begin_answered(void *userdata, const struct http_response *rs)
{
	struct session *s = userdata;
	const char *location = http_header(rs, "location");
	const char *least = http_header(rs, "oci-chunk-min-length");
	int r;

	s->status = rs->status;
	s->why[0] = 0;
	if (rs->status >= 300)
		return HTTP_COLLECT;
	if (rs->status != 202 || !location)
		return wrong(s, -EPROTO, "no upload was begun: %s",
			     location ? "the answer is not 202" : "the answer has no Location");
	if (!least || content_length_parse(least, &s->chunk_min) < 0)
		s->chunk_min = 0;
	s->chunk_min = min_u64(s->chunk_min, CHUNK_MIN_MAX);
	r = location_take(s, location);
	return r < 0 ? r : HTTP_COLLECT;
}

static int upload_begin(struct session *s, const char *path, struct error *err)
{
	struct exchange x = target_exchange(s->t, s->cancel, "POST");
	struct http_response rs = {0};
	struct error why = ERROR_INIT;
	int r;

	free(s->location);
	s->location = NULL;
	s->confirmed = s->sent = 0;
	x.path = path;
	x.on_headers = begin_answered;
	x.userdata = s;
	r = exchange_run(&x, &rs, &why);
	http_response_fini(&rs);
	return r < 0 ? session_error(s, r, &why, err) : 0;
}

int session_begin(struct session *s, struct error *err)
{
	_cleanup_(freep) char *path = NULL;

	if (asprintf(&path, "%s/blobs/uploads/", s->t->repo) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	return upload_begin(s, path, err);
}

/* ---- look ---- */

static int look_answered(void *userdata, const struct http_response *rs)
{
	struct session *s = userdata;
	int r = 0;

	s->status = rs->status;
	s->why[0] = 0;
	if (rs->status < 300)
		r = http_header(rs, "range") ? session_advance(s, rs)
					     : wrong(s, -EPROTO, "%s", "an upload without a Range");
	return r < 0 ? r : HTTP_COLLECT;
}

int session_look(struct session *s, struct error *err)
{
	struct exchange x = target_exchange(s->t, s->cancel, NULL);
	struct http_response rs = {0};
	struct error why = ERROR_INIT;
	_cleanup_(freep) char *location = s->location ? strdup(s->location) : NULL;
	int r;

	if (!location)
		return SESSION_LOST;
	x.location = location;
	x.on_headers = look_answered;
	x.userdata = s;
	s->status = 0;
	r = exchange_run(&x, &rs, &why);
	http_response_fini(&rs);
	if (r >= 0)
		return 0;
	if (s->status && r != -EPERM && r != -EACCES && r != -ECANCELED && s->status < 500)
		return SESSION_LOST;
	return session_error(s, r, &why, err);
}

/* ---- finish ---- */

char *session_final_url(const struct session *s, const struct digest *d)
{
	char digest[DIGEST_TEXT_MAX], *url;

	digest_format(d, digest);
	if (asprintf(&url, "%s%cdigest=%s", s->location, strchr(s->location, '?') ? '&' : '?',
		     digest) < 0)
		return NULL;
	return url;
}

int session_created(struct session *s, const struct http_response *rs, const struct digest *d)
{
	const char *text = http_header(rs, "docker-content-digest");
	struct digest got;

	s->status = rs->status;
	s->why[0] = 0;
	if (rs->status >= 300)
		return HTTP_COLLECT;
	if (rs->status != 201 && rs->status != 204)
		return wrong(s, -EPROTO, "%s", "the end of an upload was not answered with 201");
	if (text && !digest_parse(text, &got, NULL) && got.algo == d->algo &&
	    !digest_equal(&got, d))
		return wrong(s, -EPROTO, "the registry stored another blob than was sent (%.100s)",
			     text);
	return HTTP_COLLECT;
}

struct finish {
	struct session *s;
	const struct digest *d;
	uint64_t size;
	bool repeated;
};

static int finish_answered(void *userdata, const struct http_response *rs)
{
	struct finish *f = userdata;

	return session_created(f->s, rs, f->d);
}

/* The answer may have been lost and not the request. */
static bool finish_before(void *userdata, struct exchange *x)
{
	struct finish *f = userdata;
	bool repeated = f->repeated;

	f->repeated = true;
	return repeated && !target_has(&f->s->t->target, f->d, f->size, NULL);
}

int session_finish(struct session *s, const struct digest *d, uint64_t size, struct error *err)
{
	struct finish f = {.s = s, .d = d, .size = size};
	struct exchange x = target_exchange(s->t, s->cancel, "PUT");
	struct http_response rs = {0};
	struct error why = ERROR_INIT;
	_cleanup_(freep) char *url = session_final_url(s, d);
	int r;

	if (!url)
		return -ENOMEM;
	x.location = url;
	x.headers[0] = "Content-Type: application/octet-stream";
	x.on_headers = finish_answered;
	x.before = finish_before;
	x.userdata = &f;
	x.deadline_ns = 0;
	x.wait_ns = FINISH_WAIT_NS;
	x.answer_ns = FINISH_NS;
	s->status = 0;
	r = exchange_run(&x, &rs, &why);
	http_response_fini(&rs);
	return r < 0 ? session_error(s, r, &why, err) : 0;
}

void session_cancel(struct session *s)
{
	struct exchange x = target_exchange(s->t, NULL, "DELETE");
	struct http_response rs = {0};

	if (!s->location)
		return;
	x.location = s->location;
	x.deadline_ns = s->t->r->o.seam->monotonic_ns(s->t->r->o.seam) + CANCEL_NS;
	exchange_run(&x, &rs, NULL);
	http_response_fini(&rs);
}

void session_fini(struct session *s)
{
	free(s->location);
	s->location = NULL;
}
