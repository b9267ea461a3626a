/* SPDX-License-Identifier: MIT */
/* Broadcasts: a lane whose producer waits for nobody.
 *
 * Before the producer writes, it says how far it may overwrite (ring_end.claim), a good step ahead, so that the word
 * changes a few times a lap.  A reader looks at that word after it has read something: if what it read lay before what may
 * be overwritten, it has read nothing, and begins anew where the producer is. */
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

static int begin_anew(struct portal_ring *r)
{
	uint64_t from = r->lane->pos;

	broadcast_join(r);
	r->lost += r->lane->pos - from;
	return -EOVERFLOW;
}

int broadcast_front(struct portal_ring *r, struct portal_record *ret_record)
{
	struct lane_consumer *c = r->lane;
	int res;

	/* A record that is being overwritten may look like anything, also like a broken rule: not one of ours to judge. */
	if (broadcast_overtaken(r))
		return begin_anew(r);
	res = lane_front(c, ret_record);
	if (res != -EPROTO || !broadcast_overtaken(r))
		return res;
	return begin_anew(r);
}

int broadcast_release(struct portal_ring *r)
{
	struct lane_consumer *c = r->lane;

	if (broadcast_overtaken(r))
		return begin_anew(r);
	(void)lane_release(c);
	return 0;
}
