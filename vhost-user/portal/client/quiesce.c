/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "clock.h"
#include "impl.h"

/* Tell once that we rest for this pause: in our page, where the daemon looks if it was started anew, and by a frame. */
static void acknowledge(struct portal *p, uint64_t epoch)
{
	struct portal_frame ack = { .type = le32_of(PORTAL_ACK), .args = { le64_of(epoch) } };

	if (__atomic_load_n(&p->acked, __ATOMIC_RELAXED) == epoch)
		return;
	if (p->page)
		le64_store_release(&p->page->ack_epoch, epoch);
	if (tether_tell(p->tether, &ack) == 0)
		__atomic_store_n(&p->acked, epoch, __ATOMIC_RELAXED);
}

int portal_acknowledge(struct portal *p)
{
	uint64_t quiesce = le64_load_acquire(&portal_live(p)->quiesce);

	if (PORTAL_QUIESCE_STATE(quiesce) == PORTAL_RUNNING)
		return 0;
	if (p->tether)
		acknowledge(p, PORTAL_QUIESCE_EPOCH(quiesce));
	return -EAGAIN;
}

int portal_quiesce_point(struct portal *p)
{
	return portal_running(p) ? 0 : portal_acknowledge(p);
}

/* An observer has nobody to wake it. */
#define LOOK_AGAIN_NS (10 * NS_PER_MS)

static int sleep_as_observer(uint64_t deadline_ns)
{
	uint64_t now = clock_ns();
	struct timespec pause;

	if (now >= deadline_ns)
		return -ETIMEDOUT;
	pause = timespec_of_ns(deadline_ns - now < LOOK_AGAIN_NS ? deadline_ns - now :
								   LOOK_AGAIN_NS);
	nanosleep(&pause, NULL);
	return 0;
}

int portal_quiesce_wait(struct portal *p, uint64_t deadline_ns)
{
	for (;;) {
		uint64_t seen = p->tether ? tether_bells(p->tether) : 0;
		int r;

		if (portal_acknowledge(p) == 0)
			return 0;
		r = p->tether ? tether_wait(p->tether, seen, deadline_ns) :
				sleep_as_observer(deadline_ns);
		if (r < 0)
			return r;
	}
}

static unsigned ms_until(uint64_t deadline_ns)
{
	uint64_t now = clock_ns();
	uint64_t ms = deadline_ns > now ? (deadline_ns - now) / NS_PER_MS : 0;

	return ms < INT32_MAX / 2 ? (unsigned)ms : INT32_MAX / 2;
}

int portal_quiesce(struct portal *p, uint64_t deadline_ns)
{
	unsigned ms = ms_until(deadline_ns);
	struct portal_frame frame = { .type = le32_of(PORTAL_QUIESCE), .args = { le64_of(ms) } };
	int r;

	if (!p->tether)
		return -ENOTCONN;
	tether_rest(p->tether, true);
	r = tether_ask(p->tether, &frame, ms + tether_timeout_ms(p->tether));
	tether_rest(p->tether, false);
	if (r < 0)
		return r == -EACCES ? -EPERM : r == -EALREADY ? -EBUSY : r;
	return le64_get(frame.args[1]) < PORTAL_LEASES ? (int)le64_get(frame.args[1]) : -EPROTO;
}

int portal_thaw(struct portal *p)
{
	struct portal_frame frame = { .type = le32_of(PORTAL_THAW) };

	return p->tether ? tether_ask(p->tether, &frame, 0) : -ENOTCONN;
}

/* A disk may take its time. */
#define FLUSH_TIMEOUT_MS 60000u

int portal_flush(struct portal *p)
{
	struct portal_frame frame = { .type = le32_of(PORTAL_FLUSH) };
	int r;

	if (!p->tether)
		return -ENOTCONN;
	r = tether_ask(p->tether, &frame, FLUSH_TIMEOUT_MS);
	if (r < 0)
		return r;
	return le64_get(frame.args[0]) == 1 ? 0 : -ENODATA;
}
