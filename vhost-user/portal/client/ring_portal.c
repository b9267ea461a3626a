/* SPDX-License-Identifier: MIT */
/* Rings of an arena: memory from the heap, a name in its table, leases as owners, bells through the daemon.
 *
 * A ring's memory must outlive its last end.  Its maker frees it when nobody has an end any more, so a closed ring may stay in
 * the portal's list for a while.  When the maker dies first, recovery hands the block to an end that lives (ring_heir()),
 * and that one frees it. */
#include <stdio.h>
#include <stdlib.h>

#include "impl.h"
#include "ring.h"

static bool peer_alive(void *ctx, uint64_t owner)
{
	return portal_alive(ctx, owner);
}

static bool peer_near(void *ctx, uint64_t owner)
{
	return portal_near(ctx, owner);
}

static void peer_bell(void *ctx, uint64_t owner)
{
	struct portal *p = ctx;

	(void)tether_bell(p->tether, owner, 0);
}

static uint64_t own_bells(void *ctx)
{
	struct portal *p = ctx;

	return tether_bells(p->tether);
}

static int nap(void *ctx, uint64_t seen, uint64_t until_ns)
{
	struct portal *p = ctx;

	return tether_wait(p->tether, seen, until_ns);
}

/* An end of another thread may be in the middle of a record: then we do not rest yet. */
static int rest(void *ctx)
{
	struct portal *p = ctx;

	if (portal_running(p))
		return 0;
	for (const struct portal_ring *r = p->rings; r; r = r->next)
		if (__atomic_load_n(&r->producer.reserved, __ATOMIC_RELAXED))
			return -EAGAIN;
	return portal_acknowledge(p);
}

static const struct ring_ops leased = {
	.alive = peer_alive,
	.near = peer_near,
	.bell = peer_bell,
	.bells = own_bells,
	.nap = nap,
	.rest = rest,
};

/* ---- whose memory -------------------------------------------------------------- */

static void unlink_ring(struct portal_ring *r)
{
	struct portal_ring **at = &r->portal->rings;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
}

/* Free the rings that were closed and that nobody uses any more. */
static void reap(struct portal *p)
{
	struct portal_ring *next;

	for (struct portal_ring *r = p->rings; r; r = next) {
		next = r->next;
		if (!r->closed ||
		    ring_heir(r->mem, ring_total(r->geo.lanes, r->geo.size), peer_alive, p))
			continue;
		/* Refused where it is another client's, the maker's mostly.  It may also be free already, and something
		 * else of ours by now. */
		if (r->block && portal_handle(p, r->mem) == r->block &&
		    portal_free(p, r->mem) == -EAGAIN)
			continue; /* frozen */
		unlink_ring(r);
		free(r);
	}
}

/* ---- opening -------------------------------------------------------------------- */

static int open_end(struct portal *p, void *mem, uint64_t len, enum portal_role role,
		    struct portal_ring **ret_ring)
{
	const struct ring_env env = {
		.self = p->page ? portal_self(p) : 0,
		.quiesce = &portal_live(p)->quiesce,
		.ops = p->tether ? &leased : NULL,
		.ctx = p,
	};
	int r = ring_open(mem, len, role, &env, ret_ring);

	if (r < 0)
		return r;
	(*ret_ring)->portal = p;
	(*ret_ring)->block = portal_handle(p, mem);
	(*ret_ring)->next = p->rings;
	p->rings = *ret_ring;
	return 0;
}

int portal_ring_create(struct portal *p, const char *name,
		       const struct portal_ring_options *options, struct portal_ring **ret_ring)
{
	struct portal_ring *ring;
	struct ring_geometry geo;
	uint64_t total;
	void *mem;
	int r;

	reap(p);
	r = ring_plan(options, &geo);
	if (r < 0)
		return r;
	total = ring_total(geo.lanes, geo.size);
	mem = portal_alloc(p, total);
	if (!mem)
		return -errno;
	ring_format(mem, &geo);
	r = open_end(p, mem, total, options->role, &ring);
	if (r == 0) {
		r = portal_publish(p, name, PORTAL_OBJECT_RING, mem, total);
		if (r == 0) {
			(void)snprintf(ring->name, sizeof(ring->name), "%s", name);
			*ret_ring = ring;
			return 0;
		}
		portal_ring_close(ring);
		return r;
	}
	(void)portal_free(p, mem);
	return r;
}

int portal_ring_open(struct portal *p, const char *name, enum portal_role role,
		     struct portal_ring **ret_ring)
{
	struct portal_object object;
	int r;

	reap(p);
	r = portal_lookup(p, name, PORTAL_OBJECT_RING, &object);
	if (r < 0)
		return r;
	if (object.offset % RING_PAGE != 0)
		return -EPROTO;
	r = open_end(p, object.ptr, object.len, role, ret_ring);
	if (r < 0)
		return r;
	/* Its memory is ours to use from the moment that our owner word is in it, if it was a ring's until then: whoever frees
	 * it looks for such words after the name has gone.  Pairs with the daemon's names_withdraw(). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	r = portal_still(p, &object);
	if (r < 0)
		portal_ring_close(*ret_ring);
	return r;
}

void portal_ring_close(struct portal_ring *ring)
{
	struct portal *p;

	if (!ring)
		return;
	p = ring->portal;
	if (ring->name[0])
		(void)portal_unpublish(p, ring->name);
	ring_leave(ring);
	reap(p);
}

void ring_close_all(struct portal *p)
{
	struct portal_ring *next;

	for (struct portal_ring *r = p->rings; r; r = next) {
		next = r->next;
		if (!r->closed)
			ring_leave(r);
	}
	reap(p);
	while (p->rings) {
		next = p->rings->next;
		free(p->rings);
		p->rings = next;
	}
}
