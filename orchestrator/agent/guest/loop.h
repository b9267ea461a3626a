/* SPDX-License-Identifier: MIT */
/* The agent's one event loop: descriptors by epoll, and timers.
 *
 * Callbacks never block.  A callback may remove, close and free anything, itself included: events of this round for what is
 * removed are dropped. */
#ifndef ORCHESTRATOR_AGENT_GUEST_LOOP_H
#define ORCHESTRATOR_AGENT_GUEST_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "agent/guest/list.h"

#define LOOP_BATCH 32 /* events taken from the kernel at once */

struct loop_source {
	int fd; /* not owned */
	uint32_t events;
	void (*ready)(struct loop_source *source, uint32_t events);
};

struct loop_timer {
	struct list link;
	uint64_t due_ms; /* CLOCK_MONOTONIC */
	void (*due)(struct loop_timer *timer);
};

struct loop {
	int epoll_fd;
	bool quit;
	void (*turned)(struct loop *loop); /* called at the end of each round, if not NULL */
	struct list timers;                /* the earliest first */
	struct epoll_event batch[LOOP_BATCH];
	int n_batch; /* of these, how many are valid */
};

/* Returns 0 or a negative errno. */
int loop_init(struct loop *loop);
void loop_done(struct loop *loop);

/* Watch FD (level-triggered).  EVENTS 0 still reports EPOLLHUP and EPOLLERR.  Returns 0 or -ENOSPC, -ENOMEM, -EPERM (a plain file). */
int loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events,
	     void (*ready)(struct loop_source *source, uint32_t events));
/* Watch for other EVENTS; no system call if they are the same. */
void loop_change(struct loop *loop, struct loop_source *source, uint32_t events);
/* Before the descriptor is closed.  What was never added (all zero) or is removed already is left alone. */
void loop_remove(struct loop *loop, struct loop_source *source);

/* Call DUE once, in MS milliseconds; a timer that runs starts again.  A zeroed timer is a stopped one. */
void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t ms,
		      void (*due)(struct loop_timer *timer));
void loop_timer_stop(struct loop_timer *timer);

static inline bool loop_timer_runs(const struct loop_timer *timer)
{
	return timer->link.next && !list_empty(&timer->link);
}

uint64_t loop_now_ms(void);

/* Until quit is set. */
void loop_run(struct loop *loop);
/* One round: wait for events, at most MAX_MS (-1: no limit), then call back. */
void loop_turn(struct loop *loop, int max_ms);

#endif
