/* SPDX-License-Identifier: MIT */
/* What wakes links when their frames are due, to the microsecond.
 *
 * A sleep in epoll ends late: by the timer slack, by a thousandth of its length (that is how the kernel coalesces), and
 * by the way back into our process.  So the clock sleeps until a little before, looks again, and spins the rest: as
 * long as its last sleeps were late, which it measures.  While frames are due all the time it spins all the time, like
 * any other port that is busy; with none held it costs nothing.
 *
 * On a machine that has other work a sleep may end by milliseconds late, and so may one that a frame was to end.  Who
 * asks for more than that has precise events: for these nobody sleeps in the last 100 ms before they are due, nor for as
 * long after they were set or have run.  That costs a processor while frames come and go, and nothing when none do.
 *
 * A frame that wakes us has come before we know of it.  When it came is told by link_clock_arrival(): as long before the
 * end of our sleep as sleeps have been late to end.  So a delay counts from when a guest sent, not from when we woke.
 *
 * Events lie in a heap of their own.  One timer of the loop stands for all of them, and is touched when the first of
 * them changes, not for each frame.
 *
 * Ownership: events are embedded in their owners, who take them out (link_clock_set() to IMPAIR_NEVER) before they go.
 * Threads:   that of the loop. */
#ifndef NET_LINK_CLOCK_H
#define NET_LINK_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"

/* Nobody is woken as exactly as this: what is due so soon may as well go now.  So a frame that finds the rate free is not
 * kept for its own length, if that is 60 bytes at 480 Mbit/s or 1514 at 12.12 Gbit/s, or the rate is higher. */
#define LINK_CLOCK_NEAR_NS 1000

struct link_event;

/* It is due, and was taken out; may be set again, also by itself. */
typedef void link_event_fn(struct link_event *e, uint64_t now_ns);

/* Zero-filled but for fn is valid and not set. */
struct link_event {
	link_event_fn *fn;
	uint64_t at_ns;
	uint32_t place; /* in the heap, from 1; 0: not in it */
	bool precise;   /* its owner's; counts from the next link_clock_set() on */
};

struct link_clock {
	struct loop *loop; /* NULL: nobody is woken, link_clock_run() is called by a test */
	uint64_t (*now_ns)(void);
	struct link_event **heap;
	uint32_t n, size, owners;
	struct loop_timer timer;
	uint64_t armed_ns, timer_ns; /* when it is to wake us, and what it was set to for that */
	uint64_t late_ns, dev_ns;    /* of the last sleeps: mean, and mean deviation */
	struct loop_poller poller;
	uint64_t awake_ns; /* nobody sleeps until then, for what is precise */
	bool running;      /* events: what they let go has not just come */
};

/* loop may be NULL.  Asks the kernel for timers without slack and a turn as soon as we wake, for the calling thread,
 * whose loop this is. */
void link_clock_init(struct link_clock *c, struct loop *loop, uint64_t (*now_ns)(void));
void link_clock_done(struct link_clock *c);

/* Room for `more` events, so that setting one never fails; given back by link_clock_leave().  0 or -ENOMEM. */
int link_clock_room(struct link_clock *c, uint32_t more);
void link_clock_leave(struct link_clock *c, uint32_t fewer);

/* Call `e` at at_ns; IMPAIR_NEVER: not at all.  Replaces what was set. */
void link_clock_set(struct link_clock *c, struct link_event *e, uint64_t at_ns, uint64_t now_ns);

/* When a burst came that is looked at now. */
uint64_t link_clock_arrival(const struct link_clock *c, uint64_t now_ns);

/* Call all that are due. */
void link_clock_run(struct link_clock *c, uint64_t now_ns);

#endif
