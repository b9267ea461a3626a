/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base.h"
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

/* Every thread of this process is between two of its instructions, and sees what this one saw: who writes says so, and looks
 * whether there is a pause, without a fence of its own.  Where the kernel has no such call, a while does it. */
static void barrier_everywhere(void)
{
	struct timespec a_while = timespec_of_ns(NS_PER_MS);

	if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0)
		return;
	(void)syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0)
		return;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	(void)nanosleep(&a_while, NULL);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Who is not writing now will see the pause before it does. */
static bool is_writing(struct portal *p)
{
	barrier_everywhere();
	return __atomic_load_n(&p->writing, __ATOMIC_ACQUIRE) || ring_any_writing(p);
}

/* Is the lease as it should be?  Where the table says otherwise the connection is looked at, which alone decides: it may
 * also be that we are to come back to a daemon that was started anew. */
static int attend(struct portal *p)
{
	uint64_t self = portal_self(p), word;

	if (!p->tether)
		return 0;
	word = le64_load_acquire(&portal_lease_of(p, self)->word);
	return likely(word == PORTAL_LEASE_WORD(self, PORTAL_LEASE_LIVE)) ?
		       0 :
		       tether_attend(p->tether);
}

int portal_rest(struct portal *p)
{
	uint64_t quiesce = le64_load_acquire(&portal_live(p)->quiesce);
	uint64_t epoch = PORTAL_QUIESCE_EPOCH(quiesce);
	int r = attend(p);

	if (r < 0 || PORTAL_QUIESCE_STATE(quiesce) == PORTAL_RUNNING)
		return r;
	if (p->tether && __atomic_load_n(&p->acked, __ATOMIC_RELAXED) != epoch && !is_writing(p))
		acknowledge(p, epoch);
	return -EAGAIN;
}

int portal_quiesce_point(struct portal *p)
{
	return portal_rest(p);
}

/* An observer has nobody to wake it, and nobody is told that an end's record is written. */
#define LOOK_AGAIN_NS (10 * (uint64_t)NS_PER_MS)

static void nap(uint64_t ns)
{
	struct timespec pause = timespec_of_ns(ns);

	(void)nanosleep(&pause, NULL);
}

int portal_quiesce_wait(struct portal *p, uint64_t deadline_ns)
{
	for (;;) {
		uint64_t seen = p->tether ? tether_bells(p->tether) : 0, now;
		int r = portal_rest(p);

		if (r != -EAGAIN)
			return r;
		now = clock_ns();
		if (now >= deadline_ns)
			return -ETIMEDOUT;
		if (p->tether)
			(void)tether_wait(p->tether, seen, min(deadline_ns, now + LOOK_AGAIN_NS));
		else
			nap(min(deadline_ns - now, LOOK_AGAIN_NS));
	}
}

static unsigned ms_until(uint64_t deadline_ns)
{
	uint64_t now = clock_ns();
	uint64_t ms = deadline_ns > now ? (deadline_ns - now) / NS_PER_MS : 0;

	return ms < INT32_MAX / 2 ? (unsigned)ms : INT32_MAX / 2;
}

/* Its other threads' ends see the pause as everybody's do. */
static bool comes_to_rest(struct portal *p, uint64_t deadline_ns)
{
	while (is_writing(p)) {
		if (clock_ns() >= deadline_ns)
			return false;
		nap(NS_PER_MS / 10);
	}
	return true;
}

int portal_quiesce(struct portal *p, uint64_t deadline_ns)
{
	unsigned ms = ms_until(deadline_ns);
	struct portal_frame frame = { .type = le32_of(PORTAL_QUIESCE), .args = { le64_of(ms) } };
	uint64_t laggards;
	int r;

	if (!p->tether)
		return -ENOTCONN;
	r = tether_ask(p->tether, &frame, ms + tether_timeout_ms(p->tether));
	if (r < 0)
		return r == -EACCES ? -EPERM : r == -EALREADY ? -EBUSY : r;
	laggards = le64_get(frame.args[1]);
	if (laggards >= PORTAL_LEASES)
		return -EPROTO;
	return (int)laggards + !comes_to_rest(p, deadline_ns);
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
