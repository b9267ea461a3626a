/* SPDX-License-Identifier: MIT */
#include "acceptor.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "listen.h"

static void on_pause_over(struct loop_timer *timer)
{
	struct acceptor *a = container_of(timer, struct acceptor, pause);

	(void)loop_mod(&a->src, EPOLLIN);
}

/* What no connection can be blamed for: the system, or we, are out of something. */
static bool is_exhaustion(int r)
{
	return r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -ENOBUFS;
}

static void pause_accepting(struct acceptor *a, int r)
{
	log_limited(&a->log, LOG_LEVEL_WARNING, a->tag, "accepting nobody for %llu ms: %s",
		    ACCEPTOR_PAUSE_NS / 1000000, strerror(-r));
	(void)loop_mod(&a->src, 0);
	loop_timer_set(a->loop, &a->pause, loop_now_ns() + ACCEPTOR_PAUSE_NS);
}

static void deliver(struct acceptor *a, int fd)
{
	int r = a->check_peer ? listen_check_peer(fd) : 0;

	if (r == 0) {
		a->fn(a, fd);
		return;
	}
	close(fd);
	a->n_refused++;
	log_limited(&a->log, LOG_LEVEL_WARNING, a->tag, "refused a process of another user: %s",
		    strerror(-r));
}

static void on_readable(struct loop_source *src, uint32_t events)
{
	struct acceptor *a = container_of(src, struct acceptor, src);
	int fd, r = 0;

	for (unsigned n = 0; n < ACCEPTOR_BUDGET && a->loop; n++) {
		r = listen_accept(a->fd, &fd);
		if (r < 0)
			break;
		deliver(a, fd);
	}
	if (r < 0 && is_exhaustion(r))
		pause_accepting(a, r);
	else if (r < 0 && r != -EAGAIN)
		log_limited(&a->log, LOG_LEVEL_WARNING, a->tag, "accepting: %s", strerror(-r));
}

int acceptor_open(struct acceptor *acceptor, struct loop *loop, int fd, bool check_peer,
		  const char *tag, acceptor_fn *fn)
{
	int r;

	*acceptor = (struct acceptor){ .fd = fd, .check_peer = check_peer, .fn = fn, .tag = tag };
	loop_timer_init(&acceptor->pause, on_pause_over);
	r = loop_add(loop, &acceptor->src, fd, EPOLLIN, on_readable);
	if (r < 0)
		close(fd);
	else
		acceptor->loop = loop;
	return r;
}

void acceptor_close(struct acceptor *acceptor)
{
	if (!acceptor->loop)
		return;
	loop_timer_cancel(acceptor->loop, &acceptor->pause);
	loop_del(&acceptor->src);
	close(acceptor->fd);
	acceptor->loop = NULL;
}
