/* SPDX-License-Identifier: MIT */
#include "registry/spool.h"

#include <errno.h>

#define PIECE_BYTES (256u << 10)
#define LOOK_AGAIN_NS (50 * NS_PER_MS)

void spool_init(struct spool *s, const struct seam *seam, uint64_t size)
{
	*s = (struct spool){.seam = seam, .fd = -1, .size = size};
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->news, NULL);
}

void spool_fini(struct spool *s)
{
	if (s->fd >= 0)
		close(s->fd);
	pthread_cond_destroy(&s->news);
	pthread_mutex_destroy(&s->lock);
}

bool spool_begin(struct spool *s, int (*open)(void *userdata, uint64_t bytes), void *userdata,
		 uint64_t *ret_have)
{
	bool mine = false;

	pthread_mutex_lock(&s->lock);
	if (!s->filling) {
		if (s->fd < 0 && open) {
			s->fd = open(userdata, s->size);
			s->have = 0;
		}
		mine = s->filling = s->fd >= 0;
		*ret_have = s->have;
	}
	pthread_mutex_unlock(&s->lock);
	return mine;
}

/* Only the one who fills it writes, so that no lock is held over the disk. */
int spool_put(struct spool *s, uint64_t off, const void *data, size_t n, uint32_t served)
{
	uint64_t skip;
	int r;

	pthread_mutex_lock(&s->lock);
	skip = s->have - min_u64(off, s->have);
	pthread_mutex_unlock(&s->lock);
	if (skip >= n)
		return 0;
	r = seam_pwrite_full(s->seam, s->fd, (const uint8_t *)data + skip, n - skip, off + skip);
	pthread_mutex_lock(&s->lock);
	if (r >= 0) {
		s->have = off + n;
		s->served |= served;
	}
	pthread_cond_broadcast(&s->news);
	pthread_mutex_unlock(&s->lock);
	return r;
}

void spool_end(struct spool *s)
{
	pthread_mutex_lock(&s->lock);
	s->filling = false;
	pthread_cond_broadcast(&s->news);
	pthread_mutex_unlock(&s->lock);
}

bool spool_is_filling(struct spool *s)
{
	bool yes;

	pthread_mutex_lock(&s->lock);
	yes = s->filling;
	pthread_mutex_unlock(&s->lock);
	return yes;
}

bool spool_is_complete(struct spool *s)
{
	bool yes;

	pthread_mutex_lock(&s->lock);
	yes = s->fd >= 0 && s->have == s->size;
	pthread_mutex_unlock(&s->lock);
	return yes;
}

void spool_drop(struct spool *s)
{
	pthread_mutex_lock(&s->lock);
	if (!s->filling && s->fd >= 0) {
		close(s->fd);
		s->fd = -1;
		s->have = 0;
	}
	pthread_mutex_unlock(&s->lock);
}

/* 0 with bytes of [at, end) that are there, SPOOL_HAS_NOT, < 0. *ret_fd is the caller's: the file
 * may be dropped meanwhile. */
static int there_wait(struct spool *s, uint64_t at, uint64_t end, const struct blob_read_options *o,
		      uint64_t *ret_end, int *ret_fd)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	while (s->filling && s->have <= at && !r) {
		uint64_t now = s->seam->monotonic_ns(s->seam), look = now + LOOK_AGAIN_NS;
		struct timespec ts = {.tv_sec = (time_t)(look / NS_PER_S),
				      .tv_nsec = (long)(look % NS_PER_S)};

		if (o->cancel && atomic_load(o->cancel))
			r = -ECANCELED;
		else if (o->deadline_ns && now >= o->deadline_ns)
			r = -ETIMEDOUT;
		else
			pthread_cond_clockwait(&s->news, &s->lock, CLOCK_MONOTONIC, &ts);
	}
	if (!r && (s->fd < 0 || s->have <= at))
		r = SPOOL_HAS_NOT;
	if (!r) {
		*ret_end = min_u64(end, s->have);
		*ret_fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 3);
		r = *ret_fd < 0 ? -errno : 0;
		if (o->served)
			*o->served |= s->served;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

int spool_read(struct spool *s, uint64_t *at, uint64_t end, const struct blob_read_options *o,
	       blob_sink_fn sink, void *userdata)
{
	_cleanup_(freep) uint8_t *buf = NULL;
	int r = 0;

	while (!r && *at < end) {
		uint64_t to;
		int fd = -1;

		r = there_wait(s, *at, end, o, &to, &fd);
		if (!r && !buf && !(buf = malloc(PIECE_BYTES)))
			r = -ENOMEM;
		while (!r && *at < to) {
			size_t n = min_u64(to - *at, PIECE_BYTES);

			r = seam_pread_full(s->seam, fd, buf, n, *at);
			if (r >= 0)
				r = sink(userdata, buf, n);
			if (r >= 0)
				*at += n;
		}
		if (fd >= 0)
			close(fd);
	}
	return r;
}
