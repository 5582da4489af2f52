/* SPDX-License-Identifier: MIT */
/* A repository of a registry as a target. Blobs go up through upload_http.c. */
#include <errno.h>
#include <stdio.h>

#include "registry/headers.h"
#include "registry/source_impl.h"
#include "registry/upload_session.h"

#define FINISH_NS (120 * NS_PER_S)
#define LOOK_NS (3 * NS_PER_S)

static struct target_registry *registry_of(struct target *t)
{
	return (struct target_registry *)t;
}

static int ask(struct exchange *x, const char *path, struct http_response *ret, struct error *err)
{
	x->path = path;
	return exchange_run(x, ret, err);
}

static char *blob_path(const struct target_registry *t, const struct digest *d)
{
	char digest[DIGEST_TEXT_MAX], *path;

	digest_format(d, digest);
	return asprintf(&path, "%s/blobs/%s", t->repo, digest) < 0 ? NULL : path;
}

static int target_registry_has(struct target *target, const struct digest *d, uint64_t size,
			       struct error *err)
{
	struct target_registry *t = registry_of(target);
	struct exchange x = target_exchange(t, t->r->o.cancel, "HEAD");
	_cleanup_(freep) char *path = blob_path(t, d);
	struct http_response rs = {0};
	struct error why = ERROR_INIT;
	const char *length;
	uint64_t n;
	int r;

	if (!path)
		return -ENOMEM;
	r = ask(&x, path, &rs, &why);
	length = r < 0 ? NULL : http_header(&rs, "content-length");
	if (r == -ENOENT || (length && (content_length_parse(length, &n) < 0 || n != size)))
		r = TARGET_ABSENT;
	else if (r < 0)
		error_set(err, r, "%s", why.text);
	http_response_fini(&rs);
	return r;
}

/* 202 is a session for an upload of the usual kind, which is not wanted. */
static void mount_refused(struct target_registry *t, const struct http_response *rs)
{
	struct session s = {.t = t};

	session_advance(&s, rs);
	session_cancel(&s);
	session_fini(&s);
}

static int target_registry_mount(struct target *target, const struct digest *d, uint64_t size,
				 struct error *err)
{
	struct target_registry *t = registry_of(target);
	struct exchange x = target_exchange(t, t->r->o.cancel, "POST");
	char digest[DIGEST_TEXT_MAX];
	_cleanup_(freep) char *path = NULL;
	struct http_response rs = {0};
	int r;

	if (!t->from)
		return TARGET_ABSENT;
	digest_format(d, digest);
	if (asprintf(&path, "%s/blobs/uploads/?mount=%s&from=%s", t->repo, digest, t->from) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	r = ask(&x, path, &rs, NULL); /* who can't mount is sent the bytes */
	if (r == -ECANCELED)
		return error_set(err, r, "interrupted");
	if (r >= 0 && rs.status == 202)
		mount_refused(t, &rs);
	r = r >= 0 && rs.status == 201 ? 0 : TARGET_ABSENT;
	http_response_fini(&rs);
	return r ? r : target_has(target, d, size, err);
}

static int target_registry_upload(struct target *t, const struct digest *known, int64_t size,
				  struct upload **ret, struct error *err)
{
	return upload_http_new(registry_of(t), known, size, ret, err);
}

/* ---- manifests ---- */

/* hurried: somebody has given up already, but wants to know. */
static int manifest_look(struct target_registry *t, const char *name,
			 const struct target_manifest *m, bool hurried, struct digest *ret,
			 struct error *err)
{
	const struct seam *seam = t->r->o.seam;
	struct exchange x = target_exchange(t, hurried ? NULL : t->r->o.cancel, NULL);
	_cleanup_(freep) char *path = NULL, *accept = NULL;
	struct http_response rs = {0};
	int r;

	if (asprintf(&path, "%s/manifests/%s", t->repo, name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	if (asprintf(&accept, "Accept: %s", m->media_type) < 0) {
		accept = NULL;
		return -ENOMEM;
	}
	x.headers[0] = accept;
	x.body_max = DOCUMENT_MAX;
	if (hurried)
		x.deadline_ns = seam->monotonic_ns(seam) + LOOK_NS;
	r = ask(&x, path, &rs, err);
	if (r >= 0)
		digest_of(m->digest.algo, rs.body.data, rs.body.len, ret);
	http_response_fini(&rs);
	return r;
}

static int manifest_send(struct target_registry *t, const char *name,
			 const struct target_manifest *m, struct error *err)
{
	struct exchange x = target_exchange(t, t->r->o.cancel, "PUT");
	_cleanup_(freep) char *path = NULL, *type = NULL;
	struct http_response rs = {0};
	int r;

	if (asprintf(&path, "%s/manifests/%s", t->repo, name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	if (asprintf(&type, "Content-Type: %s", m->media_type) < 0) {
		type = NULL;
		return -ENOMEM;
	}
	x.headers[0] = type;
	x.body = m->body;
	x.body_len = m->len;
	x.answer_ns = FINISH_NS;
	x.deadline_ns += FINISH_NS;
	r = ask(&x, path, &rs, err);
	http_response_fini(&rs);
	return r;
}

/* What is read back decides, whatever was answered: an answer may be lost, and may be a lie. */
static int target_registry_put_manifest(struct target *target, const struct target_manifest *m,
					struct error *err)
{
	struct target_registry *t = registry_of(target);
	char digest[DIGEST_TEXT_MAX], other[DIGEST_TEXT_MAX];
	struct error sent_err = ERROR_INIT, look_err = ERROR_INIT;
	const char *name = digest;
	struct digest got;
	int sent, r;

	digest_format(&m->digest, digest);
	if (!m->is_child && t->has_digest && !digest_equal(&t->digest, &m->digest))
		return error_set(err, -EINVAL, "%s: what is pushed has the digest %s", t->text,
				 digest);
	if (!m->is_child && t->tag)
		name = t->tag;
	sent = manifest_send(t, name, m, &sent_err);
	if (sent < 0 && sent != -ECANCELED && error_exit_code(sent) != 5)
		return error_set(err, sent, "%s", sent_err.text);
	r = manifest_look(t, name, m, sent == -ECANCELED, &got, &look_err);
	if (r >= 0 && digest_equal(&got, &m->digest))
		return 0;
	if (sent < 0)
		return error_set(err, sent, "%s", sent_err.text);
	if (r == -ENOENT)
		return error_set(err, -EPROTO,
				 "%s: the registry said that it stored the manifest, and has none",
				 t->text);
	if (r < 0)
		return error_set(err, r, "%s", look_err.text);
	digest_format(&got, other);
	return error_set(err, -EBUSY,
			 "%s: it names %s now, not what was pushed (%s): was something else pushed "
			 "at the same time?",
			 t->text, other, digest);
}

static void target_registry_close(struct target *target)
{
	struct target_registry *t = registry_of(target);

	free(t->text);
	free(t->repo);
	free(t->tag);
	free(t->from);
	free(t);
}

int target_registry_open(struct registry *r, const struct ref *ref, const char *from,
			 struct target **ret, struct error *err)
{
	static const struct target_ops ops = {.has = target_registry_has,
					      .mount = target_registry_mount,
					      .upload = target_registry_upload,
					      .put_manifest = target_registry_put_manifest,
					      .close = target_registry_close};
	struct host *host = registry_host(r, ref->api_host, err);
	struct target_registry *t;

	if (!host)
		return err && err->code ? err->code : -ENOMEM;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	*t = (struct target_registry){.target.ops = &ops,
				      .r = r,
				      .auth = registry_auth(r, host, ref->path, true, from),
				      .text = strdup(ref->text),
				      .repo = strdup(ref->path),
				      .tag = ref->tag ? strdup(ref->tag) : NULL,
				      .from = from ? strdup(from) : NULL,
				      .has_digest = ref->has_digest,
				      .digest = ref->digest};
	if (!t->auth || !t->text || !t->repo || (ref->tag && !t->tag) || (from && !t->from)) {
		target_registry_close(&t->target);
		return -ENOMEM;
	}
	*ret = &t->target;
	return 0;
}
