/* SPDX-License-Identifier: MIT */
#include "link_clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "base.h"
#include "impair.h"
#include "slice.h"

/* Bounds of how long before it is time we begin to spin. */
#define SPIN_MIN_NS 5000
#define SPIN_MAX_NS 150000

/* What is precise is spun for from so long before it is due, and after it came or went. */
#define PRECISE_NS 100000000

/* The kernel takes a thousandth of a sleep as leave to be late (select_estimate_accuracy()); twice that is safe. */
#define SLEEP_SLACK 512

/* What is looked at so soon after a sleep is what has ended it. */
#define WOKEN_NS 20000

/* Events in one pass, between which others get their turn. */
#define RUN_BUDGET 64

/* ---- the heap ---- */

static void put(struct link_clock *c, uint32_t place, struct link_event *e)
{
	c->heap[place - 1] = e;
	e->place = place;
}

static void sift_up(struct link_clock *c, uint32_t place, struct link_event *e)
{
	for (; place > 1 && e->at_ns < c->heap[place / 2 - 1]->at_ns; place /= 2)
		put(c, place, c->heap[place / 2 - 1]);
	put(c, place, e);
}

static void sift_down(struct link_clock *c, uint32_t place, struct link_event *e)
{
	uint32_t child;

	while ((child = 2 * place) <= c->n) {
		if (child < c->n && c->heap[child]->at_ns < c->heap[child - 1]->at_ns)
			child++;
		if (c->heap[child - 1]->at_ns >= e->at_ns)
			break;
		put(c, place, c->heap[child - 1]);
		place = child;
	}
	put(c, place, e);
}

static void take_out(struct link_clock *c, struct link_event *e)
{
	struct link_event *last = c->heap[--c->n];
	uint32_t place = e->place;

	e->place = 0;
	if (last == e)
		return;
	if (place > 1 && last->at_ns < c->heap[place / 2 - 1]->at_ns)
		sift_up(c, place, last);
	else
		sift_down(c, place, last);
}

static void move(struct link_clock *c, struct link_event *e, uint64_t at_ns)
{
	bool later = at_ns > e->at_ns;

	e->at_ns = at_ns;
	if (e->place == 0) {
		assert(c->n < c->size);
		sift_up(c, ++c->n, e);
	} else if (later) {
		sift_down(c, e->place, e);
	} else {
		sift_up(c, e->place, e);
	}
}

/* ---- waking ---- */

/* How long before the first is due we must be awake. */
static uint64_t spin_ns(const struct link_clock *c)
{
	if (c->heap[0]->precise)
		return PRECISE_NS;
	return min(max(c->late_ns + 4 * c->dev_ns, (uint64_t)SPIN_MIN_NS), (uint64_t)SPIN_MAX_NS);
}

/* When we have to be awake again: for the first, or for a precise one behind it.  There is one event at least.  Looks at all
 * of them, so it is for who is about to sleep. */
static uint64_t wake_ns(const struct link_clock *c)
{
	uint64_t at_ns = c->heap[0]->at_ns - min(spin_ns(c), c->heap[0]->at_ns);

	for (uint32_t i = 1; i < c->n; i++) {
		uint64_t due_ns = c->heap[i]->at_ns;

		if (c->heap[i]->precise && due_ns < at_ns + PRECISE_NS)
			at_ns = due_ns - min((uint64_t)PRECISE_NS, due_ns);
	}
	return at_ns;
}

/* Is it not worth a sleep?  Who spins already goes on for what is twice as far. */
static bool stays_awake(const struct link_clock *c, uint64_t now_ns)
{
	unsigned times = c->poller.added ? 2 : 1;

	if (now_ns < c->awake_ns)
		return true;
	return c->n > 0 &&
	       (c->heap[0]->at_ns <= now_ns + times * spin_ns(c) || wake_ns(c) <= now_ns);
}

static bool poll(struct loop_poller *poller);

/* Sleep, or spin, until the first is due. */
static void arm(struct link_clock *c, uint64_t now_ns)
{
	uint64_t at_ns;

	if (!c->loop || c->poller.added)
		return;
	if (stays_awake(c, now_ns)) {
		loop_timer_cancel(c->loop, &c->timer);
		loop_poller_add(c->loop, &c->poller, poll);
		return;
	}
	if (c->n == 0) {
		loop_timer_cancel(c->loop, &c->timer);
		return;
	}
	at_ns = wake_ns(c);
	if (c->timer.set && c->armed_ns == at_ns)
		return;
	c->armed_ns = at_ns;
	c->timer_ns = at_ns - (at_ns - now_ns) / SLEEP_SLACK;
	loop_timer_set(c->loop, &c->timer, c->timer_ns);
}

static bool poll(struct loop_poller *poller)
{
	struct link_clock *c = container_of(poller, struct link_clock, poller);
	uint64_t now_ns = c->now_ns();

	link_clock_run(c, now_ns);
	if (stays_awake(c, now_ns))
		return true;
	loop_poller_del(c->loop, &c->poller);
	arm(c, now_ns);
	return false;
}

static void on_timer(struct loop_timer *timer)
{
	struct link_clock *c = container_of(timer, struct link_clock, timer);
	uint64_t now_ns = c->now_ns();
	uint64_t late = now_ns > c->timer_ns ? now_ns - c->timer_ns : 0;
	uint64_t off = late > c->late_ns ? late - c->late_ns : c->late_ns - late;

	/* As TCP knows its round trip (RFC 6298), a sleep that somebody else's work has made long counting as the
	 * longest that we would spin. */
	late = min(late, (uint64_t)SPIN_MAX_NS);
	c->late_ns = (7 * c->late_ns + late) / 8;
	c->dev_ns = (3 * c->dev_ns + min(off, (uint64_t)SPIN_MAX_NS)) / 4;
	link_clock_run(c, now_ns);
	arm(c, now_ns);
}

void link_clock_init(struct link_clock *c, struct loop *loop, uint64_t (*now_ns)(void))
{
	*c = (struct link_clock){ .loop = loop, .now_ns = now_ns, .dev_ns = SPIN_MAX_NS / 8 };
	loop_timer_init(&c->timer, on_timer);
	if (!loop)
		return;
	(void)prctl(PR_SET_TIMERSLACK, 1ul); /* if not, we spin longer */
	slice_ask_short();
}

void link_clock_done(struct link_clock *c)
{
	if (c->loop) {
		loop_timer_cancel(c->loop, &c->timer);
		loop_poller_del(c->loop, &c->poller);
	}
	free(c->heap);
	*c = (struct link_clock){ 0 };
}

int link_clock_room(struct link_clock *c, uint32_t more)
{
	uint32_t size = max(2 * c->size, c->owners + more);
	struct link_event **bigger;

	if (c->owners + more > c->size) {
		bigger = reallocarray(c->heap, size, sizeof(struct link_event *));
		if (!bigger)
			return -ENOMEM;
		c->heap = bigger;
		c->size = size;
	}
	c->owners += more;
	return 0;
}

void link_clock_leave(struct link_clock *c, uint32_t fewer)
{
	c->owners -= fewer;
}

void link_clock_set(struct link_clock *c, struct link_event *e, uint64_t at_ns, uint64_t now_ns)
{
	if (unlikely(e->precise) && (at_ns != IMPAIR_NEVER || c->running))
		c->awake_ns = now_ns + PRECISE_NS;
	if (at_ns != IMPAIR_NEVER)
		move(c, e, at_ns);
	else if (e->place != 0)
		take_out(c, e);
	else
		return;
	arm(c, now_ns);
}

uint64_t link_clock_arrival(const struct link_clock *c, uint64_t now_ns)
{
	uint64_t woke_ns = c->loop ? c->loop->woke_ns : 0;

	if (c->running || woke_ns == 0 || woke_ns > now_ns || now_ns - woke_ns > WOKEN_NS)
		return now_ns;
	return woke_ns - min(c->late_ns, woke_ns);
}

void link_clock_run(struct link_clock *c, uint64_t now_ns)
{
	c->running = true;
	for (unsigned i = 0; i < RUN_BUDGET && c->n > 0 && c->heap[0]->at_ns <= now_ns; i++) {
		struct link_event *e = c->heap[0];

		take_out(c, e);
		e->fn(e, now_ns);
	}
	c->running = false;
}
