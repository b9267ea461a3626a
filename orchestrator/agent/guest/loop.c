/* SPDX-License-Identifier: MIT */
#include "agent/guest/loop.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int loop_init(struct loop *loop)
{
	memset(loop, 0, sizeof(*loop));
	list_init(&loop->timers);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return loop->epoll_fd < 0 ? -errno : 0;
}

void loop_done(struct loop *loop)
{
	close(loop->epoll_fd);
}

int loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events,
	     void (*ready)(struct loop_source *source, uint32_t events))
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event))
		return -errno;
	*source = (struct loop_source){ .fd = fd, .events = events, .ready = ready };
	return 0;
}

void loop_change(struct loop *loop, struct loop_source *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	if (!source->ready || source->events == events)
		return;
	source->events = events;
	(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event);
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
	if (!source->ready)
		return;
	(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	for (int i = 0; i < loop->n_batch; i++) {
		if (loop->batch[i].data.ptr == source)
			loop->batch[i].data.ptr = NULL;
	}
	source->ready = NULL;
}

uint64_t loop_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t ms,
		      void (*due)(struct loop_timer *timer))
{
	struct list *before;

	list_remove(&timer->link);
	timer->due_ms = loop_now_ms() + ms;
	timer->due = due;
	/* Most timers are as long as the last one: the place is found from the end. */
	before = loop->timers.prev;
	while (before != &loop->timers &&
	       container_of(before, struct loop_timer, link)->due_ms > timer->due_ms)
		before = before->prev;
	list_append(before->next, &timer->link);
}

void loop_timer_stop(struct loop_timer *timer)
{
	list_remove(&timer->link);
}

/* Those that are due now, not those that they start. */
static void run_timers(struct loop *loop)
{
	uint64_t now = list_empty(&loop->timers) ? 0 : loop_now_ms();
	struct list due;

	list_init(&due);
	while (!list_empty(&loop->timers)) {
		struct loop_timer *timer = container_of(loop->timers.next, struct loop_timer, link);

		if (timer->due_ms > now)
			break;
		list_remove(&timer->link);
		list_append(&due, &timer->link);
	}
	while (!list_empty(&due)) {
		struct loop_timer *timer = container_of(due.next, struct loop_timer, link);

		list_remove(&timer->link);
		timer->due(timer);
	}
}

static int timeout(const struct loop *loop, int max_ms)
{
	uint64_t now, due;
	int ms;

	if (list_empty(&loop->timers))
		return max_ms;
	now = loop_now_ms();
	due = container_of(loop->timers.next, struct loop_timer, link)->due_ms;
	if (due <= now)
		return 0;
	ms = due - now > 3600000 ? 3600000 : (int)(due - now);
	return max_ms >= 0 && max_ms < ms ? max_ms : ms;
}

void loop_turn(struct loop *loop, int max_ms)
{
	int n = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, timeout(loop, max_ms));

	loop->n_batch = n < 0 ? 0 : n;
	for (int i = 0; i < loop->n_batch; i++) {
		struct loop_source *source = loop->batch[i].data.ptr;

		if (source)
			source->ready(source, loop->batch[i].events);
	}
	loop->n_batch = 0;
	run_timers(loop);
	if (loop->turned)
		loop->turned(loop);
}

void loop_run(struct loop *loop)
{
	while (!loop->quit)
		loop_turn(loop, -1);
}
