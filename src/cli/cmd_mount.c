/* SPDX-License-Identifier: MIT */
/*
 * morsel mount: a supervisor and its child, the server; both are forked before any thread exists.
 * In the background the supervisor is a child too: the parent waits until the mount answers, or
 * until the supervisor has ended, and passes its exit code on.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct server {
	struct cli *c;
	const char *dir;    /* absolute */
	char cwd[PATH_MAX]; /* what relative paths mean to every server; empty: not known */
	bool background;
	int parent_fd; /* told when the mount answers; -1: done, or nobody */
	int ready_fd;  /* --ready-fd, or -1 */
	unsigned prefetch;
	char prefetch_list[PATH_MAX]; /* absolute, or empty */
	uint64_t bandwidth;
	enum morsel_backend backend;
};

static void stdio_detach(struct cli *c)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null_fd < 0)
		return;
	dup2(null_fd, 0);
	dup2(null_fd, 1);
	dup2(c->log == stderr ? null_fd : fileno(c->log), 2); /* what libraries say */
	close(null_fd);
}

/* In the background neither server nor supervisor keep anything of the caller's in use. */
static void leave_caller(struct server *s)
{
	if (chdir("/") >= 0)
		stdio_detach(s->c);
}

static void server_ready(void *userdata)
{
	struct server *s = userdata;

	progress_stop(s->c);
	if (s->background)
		leave_caller(s);
}

static void fd_drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void supervisor_ready(void *userdata)
{
	struct server *s = userdata;
	ssize_t r;

	r = s->ready_fd >= 0 ? write(s->ready_fd, "ready\n", 6) : 0;
	fd_drop(&s->ready_fd);
	if (!s->background)
		return;
	prctl(PR_SET_PDEATHSIG, 0);
	setsid();
	leave_caller(s);
	r = write(s->parent_fd, "", 1);
	fd_drop(&s->parent_fd);
	(void)r; /* nobody is there to be told: then nobody waits */
}

static void supervisor_log(void *userdata, enum morsel_log_level level, const char *line)
{
	struct server *s = userdata;

	if (level <= s->c->options.log_level)
		log_line(s->c, level, line);
}

static int mount_failed(struct cli *c, int code)
{
	int exit_code = fail(c, code);

	return exit_code == 2 || exit_code == 130 ? exit_code : 32;
}

/* stderr may lead nowhere by now. */
static void failure_log(struct cli *c)
{
	if (c->log != stderr)
		log_line(c, MORSEL_LOG_ERROR, c->err.text);
}

/* The exit code of a server. One that takes over goes on with the image that is mounted. */
static int server_run(void *userdata, struct morsel_handover *h)
{
	struct server *s = userdata;
	struct cli *c = s->c;
	struct morsel_mount_options o;
	struct morsel_image *img;
	struct morsel *m;
	int r;

	if (s->cwd[0] && chdir(s->cwd) < 0)
		s->cwd[0] = 0; /* gone: then only relative paths fail */
	fd_drop(&s->ready_fd);
	fd_drop(&s->parent_fd);
	c->options.digest = morsel_handover_digest(h);
	r = image_new(c, &m, &img);
	if (r) {
		failure_log(c);
		return r;
	}
	morsel_mount_options_init(&o);
	o.handover = h;
	o.allow_other = option_given(c, OPT_ALLOW_OTHER);
	o.suid = option_given(c, OPT_SUID);
	o.dev = option_given(c, OPT_DEV);
	o.noexec = option_given(c, OPT_NOEXEC);
	if (option_given(c, OPT_THREADS))
		o.threads = (unsigned)atoi(c->values[OPT_THREADS]);
	o.prefetch = s->prefetch;
	o.prefetch_list = s->prefetch_list[0] ? s->prefetch_list : NULL;
	o.prefetch_bytes_per_s = s->bandwidth;
	o.backend = s->backend;
	o.ready = server_ready;
	o.userdata = s;
	r = morsel_mount(img, s->dir, &o, &c->err);
	if (r < 0) {
		r = mount_failed(c, r);
		failure_log(c);
	}
	morsel_image_close(img);
	context_free(m);
	return r;
}

static int supervise(struct server *s)
{
	struct morsel_supervise_options o;
	int exit_code = 1, r;

	if (!getcwd(s->cwd, sizeof(s->cwd)))
		s->cwd[0] = 0;
	morsel_supervise_options_init(&o);
	o.serve = server_run;
	o.ready = supervisor_ready;
	o.log = supervisor_log;
	o.userdata = s;
	r = morsel_supervise(&o, &exit_code, &s->c->err);
	if (r >= 0)
		return exit_code;
	r = mount_failed(s->c, r);
	failure_log(s->c);
	return r;
}

/* Who interrupts us means the mount that we wait for. */
static volatile sig_atomic_t waited_for;

static void on_signal(int sig)
{
	kill(waited_for, sig);
}

static int parent_wait(pid_t pid, int fd)
{
	struct sigaction sa = {.sa_handler = on_signal};

	char byte;
	ssize_t n;
	int status;

	waited_for = pid;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		return 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	fprintf(stderr,
		"morsel: the supervisor was killed by signal %d before the mount answered\n",
		WTERMSIG(status));
	return 32;
}

static int mount_background(struct server *s)
{
	pid_t parent = getpid();
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		fprintf(stderr, "morsel: can't start a server: %s\n", strerror(errno));
		return 1;
	}
	if (pid) {
		close(fds[1]);
		return parent_wait(pid, fds[0]);
	}
	close(fds[0]);
	s->background = true;
	s->parent_fd = fds[1];
	prctl(PR_SET_PDEATHSIG, SIGTERM); /* until the mount answers */
	if (getppid() != parent)
		return 130;
	return supervise(s);
}

static int number_option(struct cli *c, enum option_id id, long max, long *ret)
{
	const char *text = c->values[id];
	char *end;

	errno = 0;
	*ret = strtol(text, &end, 10);
	if (errno || end == text || *end || *ret < 0 || *ret > max)
		return usage_error(c, "--%s: \"%s\" is not a number from 0 to %ld",
				   option_of(c->verb, id)->name, text, max);
	return 0;
}

static int prefetch_list_option(struct server *s, const char *file)
{
	int e;

	if (realpath(file, s->prefetch_list))
		return 0;
	e = errno;
	fprintf(stderr, "morsel: can't read the prefetch list %s: %s\n", file, strerror(e));
	return morsel_exit_code(-e);
}

/* "landmark,order", "none", "all,list=FILE": a file's name may have commas, so it comes last. */
static int prefetch_option(struct server *s, const char *text)
{
	static const struct {
		const char *name;
		unsigned kind;
	} kinds[] = {{"none", MORSEL_PREFETCH_NONE},
		     {"landmark", MORSEL_PREFETCH_LANDMARK},
		     {"order", MORSEL_PREFETCH_ORDER},
		     {"all", MORSEL_PREFETCH_ALL}};

	for (const char *p = text;; p++) {
		size_t n = strcspn(p, ","), i = 0;

		if (!strncmp(p, "list=", 5) && p[5]) {
			s->prefetch |= MORSEL_PREFETCH_NONE; /* no default beside it */
			return prefetch_list_option(s, p + 5);
		}
		while (i < 4 && (strlen(kinds[i].name) != n || strncmp(p, kinds[i].name, n)))
			i++;
		if (i == 4 || (!i && (p != text || p[n]))) /* "none" stands alone */
			return usage_error(s->c,
					   "--prefetch: \"%s\" is not valid (none, landmark, "
					   "order, all, list=FILE)",
					   text);
		s->prefetch |= kinds[i].kind;
		p += n;
		if (!*p)
			return 0;
	}
}

static int backend_option(struct server *s)
{
	const char *text = s->c->values[OPT_BACKEND];
	const char *const *names = option_of(s->c->verb, OPT_BACKEND)->values;

	for (int i = 0; text && names[i]; i++)
		if (!strcmp(text, names[i])) {
			s->backend = (enum morsel_backend)i;
			return 0;
		}
	return text ? usage_error(s->c, "--backend: \"%s\" is not valid (fuse, kernel, auto)", text)
		    : 0;
}

static int prefetch_options(struct server *s)
{
	struct cli *c = s->c;
	int r = 0;

	if (option_given(c, OPT_PREFETCH))
		r = prefetch_option(s, c->values[OPT_PREFETCH]);
	if (!r && option_given(c, OPT_BANDWIDTH) &&
	    (parse_size(c->values[OPT_BANDWIDTH], &s->bandwidth) < 0 || !s->bandwidth))
		r = usage_error(c, "--bandwidth: \"%s\" is not a number of bytes a second",
				c->values[OPT_BANDWIDTH]);
	return r;
}

/* A lock, a pipe, whatever the caller has open, shall not stay open for as long as the mount. */
static void others_close(int ready_fd)
{
	if (ready_fd > 3)
		close_range(3, (unsigned)ready_fd - 1, 0);
	close_range(ready_fd >= 3 ? (unsigned)ready_fd + 1 : 3, ~0u, 0);
}

int cmd_mount(struct cli *c)
{
	char dir[PATH_MAX];
	struct server s = {.c = c, .dir = dir, .parent_fd = -1, .ready_fd = -1};
	long n;
	int r;

	if (option_given(c, OPT_READY_FD)) {
		r = number_option(c, OPT_READY_FD, INT_MAX, &n);
		if (r)
			return r;
		s.ready_fd = (int)n;
		if (fcntl(s.ready_fd, F_GETFD) < 0)
			return usage_error(c, "--ready-fd: descriptor %d is not open", s.ready_fd);
	}
	if (!option_given(c, OPT_FOREGROUND))
		others_close(s.ready_fd);
	if (option_given(c, OPT_THREADS) && (r = number_option(c, OPT_THREADS, 64, &n)))
		return r;
	r = prefetch_options(&s);
	if (!r)
		r = backend_option(&s);
	if (r)
		return r;
	if ((option_given(c, OPT_SUID) || option_given(c, OPT_DEV)) && geteuid())
		return usage_error(c, "--suid and --dev are for root");
	if (!realpath(c->args[1], dir)) {
		fprintf(stderr, "morsel: can't mount on %s: %s\n", c->args[1], strerror(errno));
		return 32;
	}
	if (c->again_is_done && mount_is_there(c, dir))
		return 0;
	if (option_given(c, OPT_LOG_FILE)) {
		c->log = fopen(c->values[OPT_LOG_FILE], "ae");
		if (!c->log) {
			fprintf(stderr, "morsel: can't open the log file %s: %s\n",
				c->values[OPT_LOG_FILE], strerror(errno));
			return 1;
		}
	}
	if (option_given(c, OPT_FOREGROUND))
		return supervise(&s);
	return mount_background(&s);
}

static int umount_failed(struct cli *c, int code)
{
	return code == -ENOENT || code == -EACCES ? fail(c, code) : mount_failed(c, code);
}

int cmd_umount(struct cli *c)
{
	int worst = 0;

	for (int i = 0; i < c->n_args; i++) {
		int r = morsel_umount(c->args[i], option_given(c, OPT_LAZY), &c->err);

		if (r < 0)
			worst = umount_failed(c, r);
		c->err = (struct morsel_error){0};
	}
	return worst;
}
