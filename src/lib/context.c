/* SPDX-License-Identifier: MIT */
#include "lib/context.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>

static_assert((int)MORSEL_LOG_ERROR == (int)LOG_ERROR && (int)MORSEL_LOG_TRACE == (int)LOG_TRACE,
	      "the public log levels are the internal ones");

int error_publish(int r, const struct error *err, struct morsel_error *ret)
{
	char text[128];

	if (r >= 0 || !ret)
		return r;
	ret->code = r;
	if (err->code)
		memcpy(ret->text, err->text, sizeof(ret->text));
	else /* a lower layer failed without a word: at least the errno's */
		snprintf(ret->text, sizeof(ret->text), "%s", strerror_r(-r, text, sizeof(text)));
	return r;
}

int morsel_exit_code(int code)
{
	return error_exit_code(code);
}

const char *morsel_version(void)
{
	return MORSEL_VERSION;
}

void morsel_options_init(struct morsel_options *o)
{
	*o = (struct morsel_options){.size = sizeof(*o), .log_level = MORSEL_LOG_WARN};
}

static void context_log(void *userdata, enum log_level level, const char *line)
{
	struct morsel *m = userdata;

	m->o.log(m->o.userdata, (enum morsel_log_level)level, line);
}

static int option_strdup(const char **s)
{
	if (*s && !(*s = strdup(*s)))
		return -ENOMEM;
	return 0;
}

/* o may come from a program built against a smaller, older struct. */
static int options_copy(struct morsel *m, const struct morsel_options *o, struct error *err)
{
	if (o->size < sizeof(size_t) || o->size > sizeof(*o))
		return error_set(err, -EINVAL,
				 "options: size %zu; call morsel_options_init() first", o->size);
	memcpy(&m->o, o, o->size);
	if (option_strdup(&m->o.cache_dir) < 0) {
		m->o.platform = m->o.authfile = NULL;
		return -ENOMEM;
	}
	if (option_strdup(&m->o.platform) < 0) {
		m->o.authfile = NULL;
		return -ENOMEM;
	}
	return option_strdup(&m->o.authfile);
}

static int cancel_open(void)
{
	_cleanup_(closep) int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);

	return high < 0 ? -errno : high;
}

static int spool_open(void *userdata, uint64_t bytes)
{
	return cache_spool_open(userdata, bytes);
}

static int context_open(struct morsel *m, struct error *err)
{
	struct registry_options ro = {
		.seam = m->seam,
		.log = &m->log,
		.authfile = m->o.authfile,
		.insecure = m->o.insecure,
		.tls_noverify = m->o.tls_noverify,
		.offline = m->o.offline,
		.user_agent = "morsel/" MORSEL_VERSION,
		.spool_open = spool_open,
		.cancel = &m->cancelled,
		.call_ns = m->o.read_deadline_ns,
	};
	struct cache_options co = {
		.seam = m->seam,
		.log = &m->log,
		.dir = m->o.cache_dir,
		.size_bytes = m->o.cache_bytes,
		.cancel = &m->cancelled,
	};
	int r;

	if (m->o.digest) {
		m->is_pinned = true;
		if (digest_parse(m->o.digest, &m->pinned, err) < 0)
			return -EINVAL;
	}
	m->o.digest = NULL; /* the caller's */
	m->cancel_fd = cancel_open();
	if (m->cancel_fd < 0)
		return error_set_errno(err, m->cancel_fd, "can't make an event descriptor");
	if (m->o.platform)
		r = platform_parse(m->o.platform, &m->platform, err);
	else {
		platform_host(&m->platform);
		r = 0;
	}
	if (r < 0)
		return r;
	r = cache_open(&co, &m->cache, err);
	if (r < 0)
		return r;
	ro.spool_userdata = m->cache;
	r = registry_new(&ro, &m->registry, err);
	if (r < 0)
		return r;
	return work_pool_new(FETCH_THREADS, "morsel-fetch", &m->pool);
}

int morsel_new(const struct morsel_options *o, struct morsel **ret, struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;
	struct morsel *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return error_publish(-ENOMEM, &err, ret_err);
	m->seam = seam_real();
	r = options_copy(m, o, &err);
	if (r >= 0) {
		if (m->o.log)
			m->log = (struct log){.level = (enum log_level)m->o.log_level,
					      .write = context_log,
					      .userdata = m};
		r = context_open(m, &err);
	}
	if (r < 0) {
		morsel_free(m);
		return error_publish(r, &err, ret_err);
	}
	*ret = m;
	return 0;
}

void morsel_free(struct morsel *m)
{
	if (!m)
		return;
	work_pool_free(m->pool);
	registry_free(m->registry);
	cache_close(m->cache);
	free((char *)m->o.cache_dir);
	free((char *)m->o.platform);
	free((char *)m->o.authfile);
	if (m->cancel_fd > 0)
		close(m->cancel_fd);
	free(m);
}

void morsel_cancel(struct morsel *m)
{
	uint64_t one = 1;
	int e = errno;

	atomic_store_explicit(&m->cancelled, true, memory_order_relaxed);
	if (write(m->cancel_fd, &one, sizeof(one)) < 0) /* full: it is readable already */
		errno = e;
}

bool morsel_cancelled(const struct morsel *m)
{
	return atomic_load_explicit(&m->cancelled, memory_order_relaxed);
}

void morsel_traffic(const struct morsel *m, struct morsel_traffic *ret)
{
	struct registry_traffic t;

	registry_traffic(m->registry, &t);
	*ret = (struct morsel_traffic){t.requests, t.received_bytes, t.sent_bytes};
}
