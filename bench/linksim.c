/* SPDX-License-Identifier: MIT */
/*
 * A link with a round trip and a bandwidth, for kernels without netem: two network namespaces, a
 * TUN device in each, and this program, which carries packets from one to the other. Each
 * direction has a clock that says when the wire is free again (so all connections share the one
 * bandwidth), a queue that drops at its tail, and half of the round trip. Packets come as the
 * kernel's own large segments with their offload header, so that a gigabit costs few system calls;
 * the size of such a segment is what occupies the wire.
 *
 * It also writes down which HTTP requests pass and what comes back for each: measured outside of
 * the programs that are measured, whoever they are.
 *
 * It needs CAP_NET_ADMIN and CAP_SYS_ADMIN. Started, it prints "client PID server PID", processes
 * whose namespaces hold the device "link"; addresses are the caller's business. Commands on stdin,
 * a line each:
 *   set RTT_US BITS_PER_S   from the next packet on
 *   reset                   forgets totals and requests
 *   totals                  prints "totals DOWN UP CONNECTIONS DROPPED": TCP payload bytes, SYNs
 *   requests                prints a line a request, "START_US PORT METHOD PATH RANGE FIRST_US
 *                           LAST_US BYTES", then "end"; times since the last reset, as the client
 *                           sees them; "-" where there is none
 * It ends with its stdin, and takes the namespaces with it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define HEADER_BYTES sizeof(struct virtio_net_hdr)
#define PACKET_MAX (HEADER_BYTES + 65536)
#define QUEUE_PACKETS (1 << 16)
#define QUEUE_NS_MIN INT64_C(50000000)
#define REQUESTS_MAX 100000

struct packet {
	int64_t due_ns;
	size_t len; /* with the offload header */
	uint8_t *data;
};

struct direction {
	int in_fd, out_fd;
	int64_t free_ns; /* when the wire is free */
	struct packet *queue;
	uint64_t head, tail;
	bool is_down; /* towards the client */
};

struct request {
	int64_t start_ns, first_ns, last_ns;
	uint64_t bytes;
	uint16_t port;
	char method[8], path[200], range[64];
};

struct link {
	int64_t rtt_ns, epoch_ns;
	uint64_t bits_per_s;
	struct direction up, down;
	uint64_t down_bytes, up_bytes, connections, dropped;
	struct request *requests;
	size_t n_requests;
	uint32_t *of_port; /* index of the port's last request + 1 */
};

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* ---- what passes ---- */

static void request_note(struct link *l, uint16_t port, const char *text, size_t len, int64_t now)
{
	struct request *q = &l->requests[l->n_requests];
	char head[2048];
	const char *range;

	if (l->n_requests == REQUESTS_MAX ||
	    (strncmp(text, "GET ", 4) && strncmp(text, "HEAD ", 5)))
		return;
	len = len < sizeof(head) - 1 ? len : sizeof(head) - 1;
	memcpy(head, text, len);
	head[len] = '\0';
	*q = (struct request){.start_ns = now, .port = port, .range = "-"};
	if (sscanf(head, "%7s %199s", q->method, q->path) != 2)
		return;
	range = strcasestr(head, "\r\nRange: bytes=");
	if (range)
		sscanf(range + strlen("\r\nRange: bytes="), "%63[^\r]", q->range);
	l->of_port[port] = (uint32_t)++l->n_requests;
}

/* Down, what is counted has arrived; up, it has just left. */
static void packet_note(struct link *l, const struct direction *d, const uint8_t *data, size_t len,
			int64_t now)
{
	const struct iphdr *ip = (const void *)(data + HEADER_BYTES);
	const struct tcphdr *tcp;
	size_t headers;
	uint16_t port;

	len -= HEADER_BYTES;
	if (len < sizeof(*ip) || ip->version != 4 || ip->protocol != IPPROTO_TCP ||
	    len < ip->ihl * 4U + sizeof(*tcp))
		return;
	tcp = (const void *)((const uint8_t *)ip + ip->ihl * 4U);
	headers = ip->ihl * 4U + tcp->doff * 4U;
	if (!d->is_down && tcp->syn && !tcp->ack)
		l->connections++;
	if (len <= headers)
		return;
	port = ntohs(d->is_down ? tcp->dest : tcp->source);
	if (!d->is_down) {
		l->up_bytes += len - headers;
		if (len - headers > 5)
			request_note(l, port, (const char *)ip + headers, len - headers, now);
		return;
	}
	l->down_bytes += len - headers;
	if (l->of_port[port]) {
		struct request *q = &l->requests[l->of_port[port] - 1];

		q->first_ns = q->first_ns ? q->first_ns : now;
		q->last_ns = now;
		q->bytes += len - headers;
	}
}

/* ---- the wire ---- */

static void packet_take(struct link *l, struct direction *d, const uint8_t *data, size_t len)
{
	int64_t now = now_ns(), longest = l->rtt_ns > QUEUE_NS_MIN ? l->rtt_ns : QUEUE_NS_MIN;
	struct packet *p = &d->queue[d->tail % QUEUE_PACKETS];

	if (!d->is_down)
		packet_note(l, d, data, len, now);
	if (d->free_ns < now)
		d->free_ns = now;
	if (d->free_ns - now > longest || d->tail - d->head == QUEUE_PACKETS) {
		l->dropped++;
		return;
	}
	d->free_ns += (int64_t)((len - HEADER_BYTES) * 8 * UINT64_C(1000000000) / l->bits_per_s);
	*p = (struct packet){.due_ns = d->free_ns + l->rtt_ns / 2, .len = len, .data = malloc(len)};
	if (!p->data)
		err(1, "malloc");
	memcpy(p->data, data, len);
	d->tail++;
}

static void direction_read(struct link *l, struct direction *d)
{
	uint8_t data[PACKET_MAX] __attribute__((aligned(8)));

	for (int i = 0; i < 64; i++) {
		ssize_t n = read(d->in_fd, data, sizeof(data));

		if (n < (ssize_t)HEADER_BYTES)
			return;
		packet_take(l, d, data, (size_t)n);
	}
}

/* Delivers what is due; says when to look again. */
static int64_t direction_deliver(struct link *l, struct direction *d)
{
	while (d->head != d->tail) {
		struct packet *p = &d->queue[d->head % QUEUE_PACKETS];
		int64_t now = now_ns();

		if (p->due_ns > now)
			return p->due_ns;
		if (write(d->out_fd, p->data, p->len) < 0)
			l->dropped++;
		if (d->is_down)
			packet_note(l, d, p->data, p->len, now);
		free(p->data);
		d->head++;
	}
	return INT64_MAX;
}

/* ---- commands ---- */

static void requests_print(const struct link *l)
{
	for (size_t i = 0; i < l->n_requests; i++) {
		const struct request *q = &l->requests[i];

		printf("%" PRId64 " %u %s %s %s %" PRId64 " %" PRId64 " %" PRIu64 "\n",
		       (q->start_ns - l->epoch_ns) / 1000, q->port, q->method, q->path, q->range,
		       q->first_ns ? (q->first_ns - l->epoch_ns) / 1000 : 0,
		       q->last_ns ? (q->last_ns - l->epoch_ns) / 1000 : 0, q->bytes);
	}
	printf("end\n");
}

static void link_reset(struct link *l)
{
	l->down_bytes = l->up_bytes = l->connections = l->dropped = 0;
	l->n_requests = 0;
	memset(l->of_port, 0, sizeof(*l->of_port) << 16);
	l->epoch_ns = now_ns();
}

static void command_run(struct link *l, const char *line)
{
	int64_t rtt_us;
	uint64_t bits;

	if (sscanf(line, "set %" SCNd64 " %" SCNu64, &rtt_us, &bits) == 2 && bits > 0) {
		l->rtt_ns = rtt_us * 1000;
		l->bits_per_s = bits;
		printf("ok\n");
	} else if (!strncmp(line, "reset", 5)) {
		link_reset(l);
		printf("ok\n");
	} else if (!strncmp(line, "totals", 6)) {
		printf("totals %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", l->down_bytes,
		       l->up_bytes, l->connections, l->dropped);
	} else if (!strncmp(line, "requests", 8)) {
		requests_print(l);
	} else {
		errx(2, "no such command: %s", line);
	}
	fflush(stdout);
}

static void commands_read(struct link *l)
{
	char text[4096];
	ssize_t n = read(STDIN_FILENO, text, sizeof(text) - 1);

	if (n <= 0)
		exit(0);
	text[n] = '\0';
	for (char *save, *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		command_run(l, line);
}

/* ---- namespaces ---- */

/* A process that only keeps the namespace that the caller is in. */
static pid_t holder_start(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(STDIN_FILENO);
		close(STDOUT_FILENO);
		while (getppid() == parent)
			pause();
		_exit(0);
	}
	return pid;
}

static int tun_open(void)
{
	struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, .ifr_name = "link"};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		err(1, "/dev/net/tun");
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		err(1, "TUNSETIFF");
	if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) < 0)
		err(1, "TUNSETOFFLOAD");
	return fd;
}

static int side_make(pid_t *ret_holder)
{
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		err(1, "a network namespace");
	*ret_holder = holder_start();
	fd = tun_open();
	return fd;
}

int main(void)
{
	struct link l = {.rtt_ns = 20000000, .bits_per_s = 100000000};
	struct sched_param priority = {.sched_priority = 1};
	pid_t client, server;
	int client_fd = side_make(&client), server_fd = side_make(&server);

	l.requests = calloc(REQUESTS_MAX + 1, sizeof(*l.requests));
	l.of_port = calloc(1 << 16, sizeof(*l.of_port));
	l.up = (struct direction){.in_fd = client_fd, .out_fd = server_fd};
	l.down = (struct direction){.in_fd = server_fd, .out_fd = client_fd, .is_down = true};
	l.up.queue = calloc(QUEUE_PACKETS, sizeof(*l.up.queue));
	l.down.queue = calloc(QUEUE_PACKETS, sizeof(*l.down.queue));
	if (!l.requests || !l.of_port || !l.up.queue || !l.down.queue)
		err(1, "calloc");
	link_reset(&l);
	/* A late packet is a wrong measurement; without the privilege it is one more often. */
	sched_setscheduler(0, SCHED_FIFO, &priority);
	printf("client %d server %d\n", client, server);
	fflush(stdout);
	for (;;) {
		int64_t a = direction_deliver(&l, &l.up), b = direction_deliver(&l, &l.down);
		int64_t wait = (a < b ? a : b) - now_ns();
		struct timespec t = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
		struct pollfd p[] = {{.fd = client_fd, .events = POLLIN},
				     {.fd = server_fd, .events = POLLIN},
				     {.fd = STDIN_FILENO, .events = POLLIN}};

		if (wait < 0)
			t = (struct timespec){0};
		if (ppoll(p, 3, a == INT64_MAX && b == INT64_MAX ? NULL : &t, NULL) <= 0)
			continue;
		if (p[0].revents)
			direction_read(&l, &l.up);
		if (p[1].revents)
			direction_read(&l, &l.down);
		if (p[2].revents)
			commands_read(&l);
	}
}
