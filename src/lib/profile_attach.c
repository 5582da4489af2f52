/* SPDX-License-Identifier: MIT */
/*
 * Profiles of a server that runs, over its control socket. The client sends one line, what is to be
 * recorded and for how long, and anything more when it has enough. The server answers
 *
 *	started
 *	file KIND SUFFIX BYTES		and so many bytes, for each file
 *	done				or: error -ERRNO TEXT, at any point
 *
 * A client that goes away ends the recording, too; one that does not read what it gets is left.
 */
#include <ctype.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#include "fs/fs.h"
#include "lib/profile.h"

#define DURATION_MAX_NS (3600 * NS_PER_S)
#define FILE_MAX ((uint64_t)2 << 30)
#define SEND_WAIT_MS 10000  /* without progress */
#define REPLY_WAIT_MS 90000 /* the same: symbols take time to look up */
#define LOOK_AGAIN_MS 100

/* ---- the server ---- */

static int send_all(int fd, const void *data, size_t n)
{
	const uint8_t *p = data;

	while (n) {
		ssize_t w = send(fd, p, n, MSG_NOSIGNAL);

		if (w < 0 && (errno == EAGAIN || errno == EINTR)) {
			struct pollfd pfd = {.fd = fd, .events = POLLOUT};

			if (poll(&pfd, 1, SEND_WAIT_MS) == 0)
				return -ETIMEDOUT;
			continue;
		}
		if (w <= 0)
			return -EPIPE;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

static int line_send(int fd, const char *fmt, ...) _printf_(2, 3);
static int line_send(int fd, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	return send_all(fd, line, min_u64((uint64_t)n, sizeof(line) - 1));
}

static int file_send(void *userdata, const char *kind, const char *suffix, const void *data,
		     size_t n)
{
	int fd = *(int *)userdata;
	int r = line_send(fd, "file %s %s %zu\n", kind, suffix, n);

	return r < 0 ? r : send_all(fd, data, n);
}

static bool request_parse(const char *request, struct morsel_profile_options *o,
			  uint64_t *ret_duration_ns)
{
	unsigned chrome, gperftools, bytes;
	unsigned long long ms;
	int end = 0;

	return sscanf(request, "profile kinds=%u hz=%u chrome=%u gperftools=%u bytes=%u ms=%llu%n",
		      &o->kinds, &o->cpu_hz, &chrome, &gperftools, &bytes, &ms, &end) == 6 &&
	       !request[end] && chrome < 2 && gperftools < 2 && ms < DURATION_MAX_NS / NS_PER_MS &&
	       (o->chrome_trace = chrome, o->gperftools = gperftools, o->trace_bytes = bytes,
		*ret_duration_ns = ms * NS_PER_MS, true);
}

static void wait_for_end(int fd, int end_fd, uint64_t duration_ns)
{
	const struct seam *s = seam_real();
	uint64_t until = s->monotonic_ns(s) + duration_ns, now;
	struct pollfd fds[2] = {{.fd = fd, .events = POLLIN | POLLRDHUP},
				{.fd = end_fd, .events = POLLIN}};

	while ((now = s->monotonic_ns(s)) < until) {
		int ms = (int)min_u64((until - now) / NS_PER_MS + 1, 60000);

		if (poll(fds, 2, ms) < 0 && errno != EINTR)
			return;
		if (fds[0].revents || fds[1].revents)
			return;
	}
}

void profile_serve(struct morsel_image *img, int fd, int end_fd, const char *request)
{
	struct error err = ERROR_INIT;
	struct morsel_profile_options o;
	struct morsel_profile *p;
	uint64_t duration_ns;
	int r;

	morsel_profile_options_init(&o);
	o.file = file_send;
	o.userdata = &fd;
	if (!request_parse(request, &o, &duration_ns)) {
		line_send(fd, "error %d this server can't make such a profile\n", -EINVAL);
		return;
	}
	r = profile_start(&o, &p, &err);
	if (r >= 0) {
		r = profile_image(p, img, &err);
		if (r >= 0 && line_send(fd, "started\n") >= 0)
			wait_for_end(fd, end_fd, duration_ns);
		r = profile_stop(p, &err);
	}
	if (r < 0)
		line_send(fd, "error %d %s\n", r, err.text[0] ? err.text : "no memory");
	else
		line_send(fd, "done\n");
}

/* ---- the client ---- */

struct attached {
	const char *dir;
	const struct morsel_profile_options *o;
	int fd;
	uint64_t give_up_ns;
	bool told; /* that we have enough */
	struct error *err;
};

/* Also when the server says nothing: it records. */
static int bytes_wait(struct attached *a)
{
	const struct seam *s = seam_real();

	for (;;) {
		struct pollfd p = {.fd = a->fd, .events = POLLIN};
		int r = poll(&p, 1, LOOK_AGAIN_MS);

		if (r > 0)
			return 0;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (!a->told && a->o->stop && a->o->stop(a->o->userdata)) {
			a->told = true;
			a->give_up_ns = s->monotonic_ns(s) + REPLY_WAIT_MS * NS_PER_MS;
			if (send(a->fd, "stop\n", 5, MSG_NOSIGNAL) < 0)
				return -EPIPE;
		}
		if (s->monotonic_ns(s) >= a->give_up_ns)
			return -ETIMEDOUT;
	}
}

static int bytes_read(struct attached *a, void *buf, size_t n)
{
	uint8_t *p = buf;

	while (n) {
		int r = bytes_wait(a);
		ssize_t got = r < 0 ? -1 : recv(a->fd, p, n, 0);

		if (r < 0)
			return r;
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -ECONNRESET;
		p += got;
		n -= (size_t)got;
	}
	return 0;
}

static int line_read(struct attached *a, char *line, size_t n)
{
	size_t len = 0;
	int r = 0;

	while (len < n - 1 && (r = bytes_read(a, line + len, 1)) >= 0 && line[len] != '\n')
		len++;
	line[len] = 0;
	return r < 0 ? r : len == n - 1 ? -EPROTO : 0;
}

/* A suffix or kind becomes part of a file's name. */
static bool is_plain(const char *s)
{
	for (; *s; s++)
		if (!islower((unsigned char)*s) && *s != '.')
			return false;
	return true;
}

static int file_take(struct attached *a, const char *line)
{
	_cleanup_(freep) void *data = NULL;
	char kind[32], suffix[32];
	unsigned long long n;
	int r;

	if (sscanf(line, "file %31s %31s %llu", kind, suffix, &n) != 3 || n > FILE_MAX ||
	    !is_plain(kind) || !is_plain(suffix))
		return -EPROTO;
	data = malloc(n + 1);
	if (!data)
		return -ENOMEM;
	r = bytes_read(a, data, n);
	a->give_up_ns = seam_real()->monotonic_ns(seam_real()) + REPLY_WAIT_MS * NS_PER_MS;
	return r < 0 ? r : a->o->file(a->o->userdata, kind, suffix, data, n);
}

static int error_take(struct attached *a, const char *line)
{
	const char *text = line + strlen("error ");
	int code = atoi(text);

	text += strcspn(text, " ");
	return error_set(a->err, code < 0 ? code : -EIO, "%s: %s", a->dir, text + (*text == ' '));
}

static int reply_take(struct attached *a)
{
	char line[1024];

	for (;;) {
		int r = line_read(a, line, sizeof(line));

		if (r >= 0 && !strcmp(line, "done"))
			return 0;
		if (r >= 0 && !strncmp(line, "error ", 6))
			return error_take(a, line);
		if (r >= 0 && strcmp(line, "started") != 0)
			r = file_take(a, line);
		if (r < 0)
			return r;
	}
}

static int attach(const char *dir, const struct morsel_profile_options *o, uint64_t duration_ns,
		  struct error *err)
{
	const struct seam *s = seam_real();
	_cleanup_(closep) int fd = -1;
	struct attached a = {.dir = dir, .o = o, .err = err};
	char request[160];
	int r;

	if (!o->file || !duration_ns || duration_ns >= DURATION_MAX_NS)
		return error_set(err, -EINVAL, "a profile of a mount lasts less than an hour");
	snprintf(request, sizeof(request),
		 "profile kinds=%u hz=%u chrome=%d gperftools=%d bytes=%llu ms=%llu", o->kinds,
		 o->cpu_hz, o->chrome_trace, o->gperftools,
		 (unsigned long long)min_u64(o->trace_bytes, UINT32_MAX),
		 (unsigned long long)((duration_ns + NS_PER_MS - 1) / NS_PER_MS));
	fd = fs_control_open(dir, request, err);
	if (fd < 0)
		return fd;
	a.fd = fd;
	a.give_up_ns = s->monotonic_ns(s) + duration_ns + REPLY_WAIT_MS * NS_PER_MS;
	r = reply_take(&a);
	if (r == -ECONNRESET || r == -EPIPE)
		return error_set(err, -ENOTCONN, "%s: its server ended meanwhile", dir);
	if (r < 0)
		return error_set_errno(err, r, "%s: its server's profile could not be had", dir);
	return 0;
}

int morsel_mount_profile(const char *dir, const struct morsel_profile_options *o,
			 uint64_t duration_ns, struct morsel_error *ret_err)
{
	struct morsel_profile_options own;
	struct error err = ERROR_INIT;

	morsel_profile_options_init(&own);
	if (o->size <= sizeof(own))
		memcpy(&own, o, o->size);
	return error_publish(attach(dir, &own, duration_ns, &err), &err, ret_err);
}
