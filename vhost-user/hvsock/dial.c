/* SPDX-License-Identifier: MIT */
#include "dial.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"

static int try_addresses(struct dial *d, int r);

static void forget_attempt(struct dial *d)
{
	loop_del(&d->src);
	loop_timer_cancel(d->loop, &d->timer);
	fd_drop(&d->fd);
}

/* It is over: `result` is a descriptor or -errno. */
static void finish(struct dial *d, int result)
{
	d->loop = NULL;
	d->fn(d, result);
}

/* The attempt under way has failed with r: go on to the next address. */
static void go_on(struct dial *d, int r)
{
	forget_attempt(d);
	r = try_addresses(d, r);
	if (r != -EINPROGRESS)
		finish(d, r);
}

static void on_writable(struct loop_source *src, uint32_t events)
{
	struct dial *d = container_of(src, struct dial, src);
	int error = 0, fd;
	socklen_t len = sizeof(error);

	if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error) {
		go_on(d, -error);
		return;
	}
	fd = fd_take(&d->fd);
	forget_attempt(d);
	finish(d, fd);
}

static void on_attempt_over(struct loop_timer *timer)
{
	struct dial *d = container_of(timer, struct dial, timer);

	go_on(d, -ETIMEDOUT);
}

/* The backlog was full: the same address once more, as long as there is time. */
static void on_retry(struct loop_timer *timer)
{
	struct dial *d = container_of(timer, struct dial, timer);

	if (loop_now_ns() >= d->deadline_ns) {
		d->next = d->target.n_addrs;
		go_on(d, -ETIMEDOUT);
		return;
	}
	d->next--;
	go_on(d, -EAGAIN);
}

/* Wait for what connect() has begun; the time left is shared out among the addresses left. */
static int await_connection(struct dial *d)
{
	uint64_t now_ns = loop_now_ns(), left_ns = d->deadline_ns - min(now_ns, d->deadline_ns);
	int r = loop_add(d->loop, &d->src, d->fd, EPOLLOUT, on_writable);

	if (r < 0)
		return r;
	loop_timer_init(&d->timer, on_attempt_over);
	loop_timer_set(d->loop, &d->timer, now_ns + left_ns / (d->target.n_addrs - d->next + 1));
	return -EINPROGRESS;
}

static int await_room(struct dial *d)
{
	loop_timer_init(&d->timer, on_retry);
	loop_timer_set(d->loop, &d->timer, loop_now_ns() + DIAL_RETRY_NS);
	return -EINPROGRESS;
}

/* One attempt: a connected descriptor, -EINPROGRESS, or why it failed. */
static int try_address(struct dial *d, const union target_addr *addr, socklen_t len)
{
	d->fd = socket(addr->sa.sa_family, d->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (d->fd < 0)
		return -errno;
	if (connect(d->fd, &addr->sa, len) == 0)
		return fd_take(&d->fd);
	if (errno == EINPROGRESS)
		return await_connection(d);
	if (errno == EAGAIN && d->target.family == AF_UNIX) {
		fd_drop(&d->fd);
		return await_room(d);
	}
	return -errno;
}

/* r: why the last attempt failed, to be told if there is none left. */
static int try_addresses(struct dial *d, int r)
{
	while (d->next < d->target.n_addrs) {
		unsigned i = d->next++;

		r = try_address(d, &d->target.addr[i], d->target.len[i]);
		if (r >= 0 || r == -EINPROGRESS)
			return r;
		forget_attempt(d);
	}
	return r;
}

int dial_start(struct dial *dial, struct loop *loop, const struct target *target, int type,
	       dial_fn *fn)
{
	int r;

	if (target->family != AF_UNIX && type != SOCK_STREAM)
		return -EPROTOTYPE;
	*dial = (struct dial){
		.loop = loop,
		.fn = fn,
		.target = *target,
		.type = type,
		.fd = -1,
		.deadline_ns = loop_now_ns() + DIAL_TIMEOUT_NS,
	};
	r = try_addresses(dial, -EINVAL);
	if (r != -EINPROGRESS)
		dial->loop = NULL;
	return r;
}

void dial_cancel(struct dial *dial)
{
	if (!dial->loop)
		return;
	forget_attempt(dial);
	dial->loop = NULL;
}
