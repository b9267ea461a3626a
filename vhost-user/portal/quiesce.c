/* SPDX-License-Identifier: MIT */
#include "quiesce.h"

#include <errno.h>
#include <string.h>

#include "base.h"

#define MS 1000000ull

static void enter(struct quiesce *q, enum portal_quiesce_state state, uint64_t for_ms)
{
	q->state = state;
	q->until_ns = state == PORTAL_RUNNING ? 0 : loop_now_ns() + for_ms * MS;
	if (state == PORTAL_RUNNING)
		loop_timer_cancel(q->loop, &q->timer);
	else
		loop_timer_set(q->loop, &q->timer, q->until_ns);
	/* Pairs with the acquire of clients that look before they claim. */
	le64_store_release(&q->live->quiesce, PORTAL_QUIESCE(q->epoch, state));
	q->changed(q);
}

static void freeze(struct quiesce *q)
{
	q->n_laggards = q->n_waiting;
	enter(q, PORTAL_FROZEN, q->hold_ms);
}

static void on_timer(struct loop_timer *timer)
{
	struct quiesce *q = container_of(timer, struct quiesce, timer);

	if (q->state == PORTAL_DRAINING)
		freeze(q);
	else
		(void)quiesce_thaw(q);
}

void quiesce_init(struct quiesce *q, struct loop *loop, struct portal_live *live,
		  uint64_t hold_max_ms, quiesce_fn *changed)
{
	*q = (struct quiesce){
		.loop = loop,
		.live = live,
		.changed = changed,
		.hold_max_ms = hold_max_ms,
		.epoch = PORTAL_QUIESCE_EPOCH(le64_load(&live->quiesce)),
		.starter = QUIESCE_NOBODY,
	};
	loop_timer_init(&q->timer, on_timer);
	le64_store_release(&live->quiesce, PORTAL_QUIESCE(q->epoch, PORTAL_RUNNING));
}

void quiesce_done(struct quiesce *q)
{
	if (!q->loop)
		return;
	loop_timer_cancel(q->loop, &q->timer);
	le64_store_release(&q->live->quiesce, PORTAL_QUIESCE(q->epoch, PORTAL_RUNNING));
	q->loop = NULL;
}

int quiesce_begin(struct quiesce *q, uint32_t starter, const uint64_t leases[PORTAL_LEASES / 64],
		  uint64_t deadline_ms, uint64_t hold_ms)
{
	if (q->state != PORTAL_RUNNING)
		return -EALREADY;
	q->epoch = PORTAL_QUIESCE_EPOCH(PORTAL_QUIESCE(q->epoch + 1, 0)); /* as clients see it */
	q->starter = starter;
	q->hold_ms = hold_ms == 0 ? q->hold_max_ms : min(hold_ms, q->hold_max_ms);
	q->n_waiting = 0;
	q->n_laggards = 0;
	memcpy(q->waiting, leases, sizeof(q->waiting));
	for (unsigned i = 0; i < array_size(q->waiting); i++)
		q->n_waiting += (uint32_t)__builtin_popcountll(q->waiting[i]);
	enter(q, PORTAL_DRAINING, min(deadline_ms, q->hold_max_ms));
	if (q->n_waiting == 0)
		freeze(q);
	return 0;
}

/* True: the lease was waited for. */
static bool strike_out(struct quiesce *q, uint32_t lease)
{
	uint64_t bit = BIT_ULL(lease % 64);

	if (lease >= PORTAL_LEASES || !(q->waiting[lease / 64] & bit))
		return false;
	q->waiting[lease / 64] &= ~bit;
	q->n_waiting--;
	if (q->state == PORTAL_FROZEN)
		q->n_laggards = q->n_waiting;
	return true;
}

int quiesce_ack(struct quiesce *q, uint32_t lease, uint64_t epoch)
{
	if (q->state == PORTAL_RUNNING || epoch != q->epoch || !strike_out(q, lease))
		return -ESTALE;
	if (q->state == PORTAL_DRAINING && q->n_waiting == 0)
		freeze(q);
	return 0;
}

void quiesce_left(struct quiesce *q, uint32_t lease)
{
	if (q->state == PORTAL_RUNNING)
		return;
	if (q->starter == lease) {
		(void)quiesce_thaw(q);
		return;
	}
	if (strike_out(q, lease) && q->state == PORTAL_DRAINING && q->n_waiting == 0)
		freeze(q);
}

int quiesce_thaw(struct quiesce *q)
{
	if (q->state == PORTAL_RUNNING)
		return -EINVAL;
	memset(q->waiting, 0, sizeof(q->waiting));
	q->n_waiting = 0;
	enter(q, PORTAL_RUNNING, 0);
	q->starter = QUIESCE_NOBODY;
	return 0;
}

uint64_t quiesce_left_ms(const struct quiesce *q)
{
	uint64_t now = loop_now_ns();

	return q->until_ns > now ? (q->until_ns - now + MS - 1) / MS : 0;
}
