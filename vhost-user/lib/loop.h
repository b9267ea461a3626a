/* SPDX-License-Identifier: MIT */
/* The event loop of a daemon: descriptors, timers, deferred work and pollers on one thread.
 *
 * One pass of loop_run() is, in this order:
 *   1. every poller once;
 *   2. epoll: if a poller was busy, only a look without waiting, and that only every
 *      LOOP_PEEK_PASSES passes; otherwise sleep until a descriptor is ready or the first timer
 *      is due;
 *   3. the callbacks of what was ready, then those of the timers that are due;
 *   4. the work deferred up to now.
 *
 * All objects are embedded in their owner (container_of() leads back), so that nothing here
 * allocates after loop_init() and nothing but the registration of a descriptor can fail.
 *
 * What a callback may do: anything in this header, to any object, with one exception: it may
 * not free the object it was called for, nor the owner of it.  loop_defer() is how an owner
 * goes away: its work runs after all callbacks of the pass are over.  A source that is
 * deleted, or a timer that is cancelled, is not called any more, even if it was ready in the
 * same pass.  A callback does a bounded amount of work and returns; level triggering calls it
 * again.
 *
 * Ownership: descriptors stay the caller's.  Delete the source before its descriptor is
 *            closed: a duplicate elsewhere (the other process has one of every descriptor
 *            passed by SCM_RIGHTS) would keep it alive in the epoll set.
 * Threads:   none but the one in loop_run().
 */
#ifndef VU_LOOP_H
#define VU_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>

#define LOOP_BATCH \
	64 /* events taken from the kernel at once: bounds the time between two looks at the timers */
#define LOOP_PEEK_PASSES \
	16 /* busy passes between two looks at epoll: about a syscall per 16 bursts */
#define LOOP_GUARD_MS 100 /* longest that a system call can hold up a callback, with loop_guard() */
#define LOOP_NEVER    UINT64_MAX /* a time that does not come */

struct loop;
struct loop_source;
struct loop_timer;
struct loop_work;
struct loop_poller;

/* events: what epoll said, EPOLLIN and so on; EPOLLERR and EPOLLHUP come unasked. */
typedef void loop_fn(struct loop_source *src, uint32_t events);
typedef void loop_timer_fn(struct loop_timer *timer);
typedef void loop_work_fn(struct loop_work *work);
/* true: busy, call again without sleeping.  false: nothing to do, and whatever brings the next
 * work (a kick, a timer) has been armed and re-checked, so that sleeping is safe. */
typedef bool loop_poll_fn(struct loop_poller *poller);

/* A descriptor watched.  Zero-filled is a valid source that is not registered. */
struct loop_source {
	loop_fn *fn;
	struct loop *loop; /* NULL: not registered */
	int fd;
};

/* A node of the pairing heap of timers.  Zero-filled is a valid timer that is not set. */
struct loop_timer {
	loop_timer_fn *fn;
	uint64_t at_ns;
	bool set;
	struct loop_timer *child; /* first of those later than this one */
	struct loop_timer *next;  /* sibling */
	struct loop_timer *prev;  /* sibling before, or the parent if this is its first child */
};

/* Work to be done at the end of the pass.  Zero-filled is valid and not queued. */
struct loop_work {
	loop_work_fn *fn;
	struct loop_work *next;
	bool queued;
	unsigned pass; /* in which it was queued */
};

struct loop_poller {
	loop_poll_fn *poll;
	struct loop_poller *next, *prev;
	bool added;
};

struct loop {
	int epoll_fd;
	bool stop;
	/* Set by whoever has other threads, or NULL: a wait for descriptors begins, or is over.  Between
	 * the two this thread touches nothing but its loop. */
	void (*waiting)(struct loop *loop, bool on);
	void *waiting_arg;
	bool guarded, guard_ticks;
	timer_t guard;
	bool no_pwait2; /* kernel before 5.11: sleep in whole milliseconds */
	unsigned passes_unpeeked;
	uint64_t woke_ns;          /* when the last sleep ended */
	struct loop_timer *timers; /* root of the heap: the first that is due */
	uint64_t due_ns;           /* while timers are run: those up to here; else 0 */
	struct loop_work *work, **work_tail;
	unsigned pass;
	struct loop_poller *pollers, *poller_next; /* poller_next: cursor of the pass under way */
	int n_batch,
		batch_next; /* the events of the pass under way, and the first not yet called */
	struct epoll_event batch[LOOP_BATCH];
};

/* CLOCK_MONOTONIC in nanoseconds; what timers are measured against.  No syscall. */
uint64_t loop_now_ns(void);

int loop_init(struct loop *loop);
/* Runs what is still deferred (owners that are on their way out are freed by it), then closes.
 * Sources, timers and pollers still registered are forgotten; deleting them afterwards is a
 * mistake.  A zero-filled or failed loop is fine. */
void loop_done(struct loop *loop);

/* Call fn when fd has one of `events` (EPOLLIN, EPOLLOUT, EPOLLET, ...).  A source is
 * registered once. -EPERM: this kind of file cannot be watched (regular files: a stranger may
 * well pass one); -ENOMEM, -ENOSPC. On failure the source stays unregistered. */
int loop_add(struct loop *loop, struct loop_source *src, int fd, uint32_t events, loop_fn *fn);
/* Change what a registered source waits for.  0 events pauses it but for EPOLLERR and
 * EPOLLHUP. */
int loop_mod(struct loop_source *src, uint32_t events);
/* Stop watching; not called any more from here on.  A source that is not registered is left
 * alone. */
void loop_del(struct loop_source *src);
/* The same without a system call, for a descriptor that is closed next and of which there is no duplicate: the kernel
 * takes it out with its last reference. */
void loop_forget(struct loop_source *src);

void loop_timer_init(struct loop_timer *timer, loop_timer_fn *fn);
/* Call the timer once at at_ns (absolute, CLOCK_MONOTONIC) or soon after; the past means the
 * next pass.  A timer that was set is moved.  It is unset when its function is called, which
 * may set it again. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t at_ns);
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);

/* Call fn(work) at the end of the pass, when no callback is under way.  Work already queued
 * stays queued once.  Work deferred by deferred work runs at the end of the next pass.  fn may
 * free work and its owner. */
void loop_defer(struct loop *loop, struct loop_work *work, loop_work_fn *fn);
/* Take it back, e.g. because the owner is freed by somebody else. */
void loop_defer_cancel(struct loop *loop, struct loop_work *work);

void loop_poller_add(struct loop *loop, struct loop_poller *poller, loop_poll_fn *poll);
/* A poller may delete itself, or any other, from within its function. */
void loop_poller_del(struct loop *loop, struct loop_poller *poller);

/* Passes until loop_stop().  0, or -errno if epoll itself failed. */
int loop_run(struct loop *loop);
/* One pass that sleeps until until_ns at the latest (0: not at all, LOOP_NEVER: as loop_run
 * does).  For tests, fuzzing and benchmarks; always looks at epoll.  0 or -errno. */
int loop_once(struct loop *loop, uint64_t until_ns);
/* Let no callback be held up: from here on a system call of this thread that waits for a stranger
 * ends with EINTR after LOOP_GUARD_MS at the latest.  We make no such calls, but a descriptor that
 * another process has as well can be made blocking by it at any moment, e.g. an eventfd whose
 * counter it then fills.  Whoever gets EINTR from a call that does not wait should take it for
 * that, and not try again.  A stderr that nobody reads is caught as well.
 * Takes SIGALRM, for the calling thread, whose loop this is.  Costs nothing while the loop spins,
 * and one more waking when it falls asleep.  0 or -errno. */
int loop_guard(struct loop *loop);
/* Let loop_run() return at the end of this pass. */
void loop_stop(struct loop *loop);

#endif
