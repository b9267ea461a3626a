/* SPDX-License-Identifier: MIT */
/* Broadcasts: a lane whose producer waits for nobody.
 *
 * Before the producer writes, it says how far it may overwrite (ring_end.claim), a good step ahead, so that the word
 * changes a few times a lap.  A reader looks at that word after it has read something: if what it read lay before what may
 * be overwritten, it has read nothing, and begins anew where the producer is.
 *
 * A reader has no end in the ring's memory and so does not keep it: who reads looks also, afterwards, whether the memory still is
 * the block that it was. */
#include "ring.h"

/* Let the claim cover span bytes at the tail, and the PAD before them.  Readers that are further back have lost. */
int broadcast_make_room(struct portal_ring *r, uint64_t span)
{
	struct lane_producer *p = &r->producer;
	uint64_t size = p->mask + 1, to_end = size - (p->tail & p->mask);
	uint64_t pad, end;
	int res;

	if (span + RING_LINE <= size / 2)
		span += RING_LINE; /* as lane_reserve_slowly() may ask for */
	pad = span > to_end ? to_end : 0;
	end = p->tail + pad + max(span, size / 8) + sizeof(le64_t);
	if (p->tail + span <= p->limit)
		return 0;
	le64_store(&p->own->claim, end);
	/* Partner: broadcast_overtaken().  The claim is seen before anything that it allows to be written. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	p->seen = p->tail;
	res = lane_make_room(p, span);
	if (res == 0)
		p->limit = min(p->limit, end - sizeof(le64_t));
	return res;
}

bool broadcast_overtaken(const struct portal_ring *r)
{
	uint64_t claim;

	/* Partner: broadcast_make_room(). */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	claim = RING_LOAD(&r->lane->peer->claim);
	return claim - r->lane->pos > r->geo.size;
}

void broadcast_join(struct portal_ring *r)
{
	struct lane_consumer *c = r->lane;
	uint64_t position = RING_LOAD_ACQUIRE(&c->peer->position) & ~7ULL;

	lane_consumer_init(c, ring_lane_data(r, 0), r->geo.size, position);
}

bool broadcast_gone(struct portal_ring *r)
{
	const struct ring_env *env = &r->env;

	/* What was read was read before this looks.  Partner: free_memory() of ring_portal.c, whose fence lies between the
	 * block's end and whatever is written there next. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (!r->gone && env->block && env->ops && env->ops->intact)
		r->gone = !env->ops->intact(env->ctx, r->mem, env->block);
	return r->gone;
}

static int begin_anew(struct portal_ring *r)
{
	uint64_t from = r->lane->pos;

	if (broadcast_gone(r))
		return -EPIPE;
	broadcast_join(r);
	r->lost += r->lane->pos - from;
	return -EOVERFLOW;
}

int broadcast_front(struct portal_ring *r, struct portal_record *ret_record)
{
	struct lane_consumer *c = r->lane;
	int res;

	if (r->gone)
		return -EPIPE;
	/* A record that is being overwritten may look like anything, also like a broken rule: not one of ours to judge. */
	if (broadcast_overtaken(r))
		return begin_anew(r);
	res = lane_front(c, ret_record);
	if (res != -EPROTO)
		return res;
	if (broadcast_gone(r))
		return -EPIPE;
	return broadcast_overtaken(r) ? begin_anew(r) : res;
}

int broadcast_release(struct portal_ring *r)
{
	struct lane_consumer *c = r->lane;

	if (broadcast_overtaken(r))
		return begin_anew(r);
	(void)lane_release(c);
	return broadcast_gone(r) ? -EPIPE : 0;
}
