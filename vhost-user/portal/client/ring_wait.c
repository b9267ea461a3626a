/* SPDX-License-Identifier: MIT */
/* Waiting and waking.
 *
 * A wait spins for about as long as a wake-up would take, then says that it sleeps (ring_end.sleep), looks once more, and
 * sleeps: on a futex, if all that may wake it run on the same kernel, otherwise until its lease's bell.  The first nap
 * is short, because the other side looks for sleepers without a fence (lane.h) and may just have missed this one; every
 * later one is bounded, too, so that a bell that got lost and an end that died are found out. */
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "relax.h"
#include "ring.h"

#define SPIN_LOOKS   64 /* between looks at the clock */
#define NAP_FIRST_NS (1 * (uint64_t)NS_PER_MS)
#define NAP_NS       (50 * (uint64_t)NS_PER_MS)

/* ---- waking ------------------------------------------------------------------- */

static void futex_wake(le32_t *word)
{
	__atomic_fetch_add(&word->raw, 1, __ATOMIC_RELEASE);
	(void)syscall(SYS_futex, &word->raw, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Ring the readers that sleep until then, and forget them. */
static void bell_readers(struct portal_ring *r, struct ring_end *sleepers)
{
	for (unsigned i = 0; i < RING_READERS; i++) {
		uint64_t owner = le64_load(&sleepers->sleepers[i]);

		if (owner) {
			le64_store(&sleepers->sleepers[i], 0);
			r->env.ops->bell(r->env.ctx, owner);
		}
	}
}

void ring_wake(struct portal_ring *r, struct ring_end *sleeper, uint64_t sleep, uint64_t *rung)
{
	/* The readers of a broadcast share a word, in which sleeps have no numbers. */
	*rung = r->broadcast ? 0 : sleep;
	if (r->broadcast)
		/* Who sleeps again sets it again. */
		sleep = le64toh(__atomic_exchange_n(&sleeper->sleep.raw, 0, __ATOMIC_ACQ_REL));
	r->wakes += (sleep & RING_SLEEP_MASK) != 0;
	if (sleep & RING_SLEEP_FUTEX)
		futex_wake(&sleeper->bell);
	if (!(sleep & RING_SLEEP_BELL) || !r->env.ops)
		return;
	if (r->broadcast)
		bell_readers(r, sleeper);
	else
		r->env.ops->bell(r->env.ctx, le64_load(&sleeper->owner));
}

void ring_wake_all(struct portal_ring *r)
{
	uint64_t rung;

	if (r->role == PORTAL_PRODUCER) {
		ring_wake(r, r->far, le64_load(&r->far->sleep), &rung);
		return;
	}
	for (uint32_t i = 0; i < r->geo.lanes; i++) {
		struct ring_end *end = ring_producer_end(r, i);

		ring_wake(r, end, le64_load(&end->sleep), &rung);
	}
}

/* ---- waiting ------------------------------------------------------------------- */

static bool producer_ready(const struct lane_producer *p)
{
	uint64_t position = RING_LOAD_ACQUIRE(&p->place->position);

	return p->fault || p->wanted == 0 || p->tail + p->wanted - position <= p->mask + 1;
}

static bool many_ready(const struct portal_ring *r)
{
	for (uint32_t i = 0; i < r->geo.lanes; i++)
		if (lane_ready(&r->lanes[i]))
			return true;
	return false;
}

bool ring_ready(const struct portal_ring *r)
{
	if (r->role == PORTAL_PRODUCER)
		return r->broadcast || producer_ready(&r->producer);
	if (r->untold)
		return true;
	if (r->many)
		return many_ready(r);
	return lane_ready(r->lane) || r->lane->fault || (r->broadcast && broadcast_overtaken(r));
}

/* How those who may wake us can do it: by a futex if all of them are near, and there is one. */
static enum ring_sleep manner(const struct portal_ring *r)
{
	uint32_t n = r->role == PORTAL_PRODUCER ? 1 : r->geo.lanes;
	bool near = false;

	if (!r->env.ops)
		return RING_SLEEP_FUTEX;
	if (!r->futexes)
		return RING_SLEEP_BELL;
	for (uint32_t i = 0; i < n; i++) {
		const struct ring_end *peer = r->role == PORTAL_PRODUCER ? r->far :
									   ring_producer_end(r, i);
		uint64_t owner = le64_load(&peer->owner);

		if (owner && !r->env.ops->near(r->env.ctx, owner))
			return RING_SLEEP_BELL;
		near |= owner != 0;
	}
	return near ? RING_SLEEP_FUTEX : RING_SLEEP_BELL;
}

static struct ring_end *bed(struct portal_ring *r)
{
	return r->role == PORTAL_PRODUCER ? r->end : r->far;
}

/* A sleep that has been told of.  The bells were counted before that: whoever rings for it rings behind them, be it for
 * something that we find awake, and then it is over. */
struct slumber {
	enum ring_sleep how;
	uint32_t bell;
	uint64_t bells;
};

/* Words of the sleep are written.  A reservation is written to before and behind that. */
static bool begin_sleep(struct portal_ring *r)
{
	if (r->producer.reserved)
		return (le64_load(r->env.quiesce) & RING_QUIESCE_MASK) == PORTAL_RUNNING;
	return ring_begin(&r->writing, r->env.quiesce);
}

static void end_sleep(struct portal_ring *r)
{
	if (!r->producer.reserved)
		ring_end(&r->writing);
}

/* Tell the others that we are about to sleep.  False: during a pause nobody is told anything. */
static bool arm(struct portal_ring *r, struct slumber *s)
{
	const struct lane_producer *p = &r->producer;
	struct ring_end *end = bed(r);

	s->how = manner(r);
	s->bell = le32_load_acquire(&end->bell);
	s->bells = r->env.ops ? r->env.ops->bells(r->env.ctx) : 0;
	if (!r->env.self)
		return true;
	if (!begin_sleep(r))
		return false;
	/* As late as can be: its memory is not kept for a reader.  Whoever waits finds that it has gone. */
	if (r->broadcast && r->role == PORTAL_CONSUMER && broadcast_gone(r)) {
		end_sleep(r);
		return false;
	}
	if (r->role == PORTAL_PRODUCER)
		/* Half a lane of room pays for a wake-up. */
		le64_store(&end->until, p->tail - min(p->mask + 1 - p->wanted, (p->mask + 1) / 2));
	if (!r->broadcast) {
		le64_store_release(&end->sleep, ++r->sleep_number << 2 | s->how);
	} else {
		if (s->how == RING_SLEEP_BELL)
			le64_store_release(&end->sleepers[r->env.self % RING_READERS], r->env.self);
		__atomic_fetch_or(&end->sleep.raw, htole64(s->how), __ATOMIC_RELEASE);
	}
	/* Partner: the other side's look in lane_sleeper(), lane_release(), as far as they have one. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	end_sleep(r);
	return true;
}

static void futex_nap(le32_t *word, uint32_t value, uint64_t ns)
{
	struct timespec t = timespec_of_ns(ns);

	(void)syscall(SYS_futex, &word->raw, FUTEX_WAIT, value, &t, NULL, 0);
}

bool ring_has_futexes(le32_t *word)
{
	return syscall(SYS_futex, &word->raw, FUTEX_WAKE, 0, NULL, NULL, 0) >= 0;
}

/* Nobody can wake us: look again soon. */
static void blind_nap(uint64_t ns)
{
	struct timespec t = timespec_of_ns(min(ns, NAP_FIRST_NS));

	(void)nanosleep(&t, NULL);
}

/* One nap, of ns at most.  0: woken, or there is something already; -ETIMEDOUT: nobody has; -ESTALE. */
static int nap(struct portal_ring *r, const struct slumber *s, uint64_t ns)
{
	le32_t *word = &bed(r)->bell;

	if (ring_ready(r))
		return 0;
	r->sleeps++;
	if (!r->env.self || (s->how == RING_SLEEP_FUTEX && !r->futexes)) {
		blind_nap(ns);
		return 0;
	}
	if (s->how == RING_SLEEP_BELL)
		return r->env.ops->nap(r->env.ctx, s->bells, clock_ns() + ns);
	futex_nap(word, s->bell, ns);
	return le32_load(word) != s->bell ? 0 : -ETIMEDOUT;
}

static bool spin(const struct portal_ring *r, uint64_t until)
{
	do {
		for (int i = 0; i < SPIN_LOOKS; i++) {
			if (ring_ready(r))
				return true;
			cpu_relax();
		}
	} while (clock_ns() < until);
	return false;
}

/* Come to rest during a pause.  0: there is none (any more). */
static int rest(const struct portal_ring *r, uint64_t deadline_ns)
{
	for (;;) {
		uint64_t seen, now;
		int res;

		if (!r->env.ops)
			return 0;
		seen = r->env.ops->bells(r->env.ctx);
		res = r->env.ops->rest(r->env.ctx);
		if (res != -EAGAIN)
			return res;
		now = clock_ns();
		if (now >= deadline_ns)
			return -ETIMEDOUT;
		res = r->env.ops->nap(r->env.ctx, seen, min(deadline_ns, now + NAP_NS));
		if (res < 0 && res != -ETIMEDOUT)
			return res;
	}
}

/* Sleep until there is something.  A nap is long only behind a short one in which nobody woke us and the sleep word stood
 * as it does: by then whoever looked at it too early has let go of what it had sent. */
static int sleep_until(struct portal_ring *r, uint64_t deadline_ns)
{
	struct slumber s = { .how = RING_AWAKE };
	uint64_t ns = NAP_FIRST_NS;

	for (;;) {
		uint64_t now = clock_ns();
		int res = rest(r, deadline_ns);

		if (res < 0)
			return res;
		if (ring_ready(r))
			return 0;
		res = ring_check_peers(r);
		if (res < 0)
			return res;
		if (now >= deadline_ns)
			return -ETIMEDOUT;
		if (ns == NAP_FIRST_NS || manner(r) != s.how) {
			ns = NAP_FIRST_NS;
			if (!arm(r, &s))
				continue;
		}
		res = nap(r, &s, min(ns, deadline_ns - now));
		if (res < 0 && res != -ETIMEDOUT)
			return res;
		ns = res == 0 ? NAP_FIRST_NS : NAP_NS;
	}
}

int portal_wait(struct portal_ring *r, uint64_t deadline_ns)
{
	int res = rest(r, deadline_ns);

	if (res < 0)
		return res;
	if (ring_ready(r))
		return 0;
	if (deadline_ns && r->spin_ns && spin(r, min(deadline_ns, clock_ns() + r->spin_ns)))
		return 0;
	if (r->role == PORTAL_CONSUMER && !r->broadcast)
		ring_say(r);
	res = sleep_until(r, deadline_ns);
	if (r->env.self && !r->broadcast && begin_sleep(r)) {
		le64_store(&bed(r)->sleep, ring_awake(r));
		end_sleep(r);
	}
	return res;
}
