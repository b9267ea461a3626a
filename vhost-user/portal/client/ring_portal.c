/* SPDX-License-Identifier: MIT */
/* Rings of an arena: memory from the heap, a name in its table, leases as owners, bells through the daemon.
 *
 * A ring's memory must outlive its last end, and its name.  Its maker frees it when the name has gone and nobody has an end any
 * more, so a closed ring may stay in the portal's list for a while.  When the maker dies first, recovery hands the block to an end that lives (ring_heir()),
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

/* An observer has no lease: it rings nobody and hears no bell, and as it writes nothing it is always at rest. */
static void peer_bell(void *ctx, uint64_t owner)
{
	struct portal *p = ctx;

	if (p->tether)
		(void)tether_bell(p->tether, owner, 0);
}

static uint64_t own_bells(void *ctx)
{
	struct portal *p = ctx;

	return p->tether ? tether_bells(p->tether) : 0;
}

static int nap(void *ctx, uint64_t seen, uint64_t until_ns)
{
	struct portal *p = ctx;

	return p->tether ? tether_wait(p->tether, seen, until_ns) : 0;
}

static int rest(void *ctx)
{
	struct portal *p = ctx;

	return p->tether ? portal_rest(p) : 0;
}

static bool is_still(void *ctx, const struct portal_object *object)
{
	return portal_still(ctx, object) == 0;
}

/* Not by its handle now: to ask for that is to offer the block to others, and it may be something else of ours. */
static bool is_intact(void *ctx, const void *mem, uint64_t block)
{
	return portal_resolve(ctx, block, 1) == mem;
}

static const struct ring_ops in_arena = {
	.alive = peer_alive,
	.near = peer_near,
	.bell = peer_bell,
	.bells = own_bells,
	.nap = nap,
	.rest = rest,
	.still = is_still,
	.intact = is_intact,
};

/* ---- the portal's list ----------------------------------------------------------- */

/* Only the portal's own thread changes the list, and so may walk it as it is. */
static void link_ring(struct portal *p, struct portal_ring *r)
{
	pthread_mutex_lock(&p->rings_lock);
	r->portal = p;
	r->next = p->rings;
	p->rings = r;
	pthread_mutex_unlock(&p->rings_lock);
}

static void drop_ring(struct portal *p, struct portal_ring *r)
{
	struct portal_ring **at = &p->rings;

	pthread_mutex_lock(&p->rings_lock);
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	pthread_mutex_unlock(&p->rings_lock);
	free(r);
}

bool ring_any_writing(struct portal *p)
{
	bool any = false;

	pthread_mutex_lock(&p->rings_lock);
	for (const struct portal_ring *r = p->rings; r && !any; r = r->next)
		any = __atomic_load_n(&r->writing, __ATOMIC_ACQUIRE);
	pthread_mutex_unlock(&p->rings_lock);
	return any;
}

/* ---- whose memory -------------------------------------------------------------- */

/* Is the name that of something else of ours?  The daemon goes by the name alone.  If it has still not answered to this ring's
 * publication it will refuse it, as that was sent before whatever may take the name from the other. */
static bool is_anothers(const struct portal *p, const struct portal_ring *r)
{
	struct portal_object object;

	return portal_lookup(p, r->name, PORTAL_OBJECT_ANY, &object) == 0 &&
	       portal_owner(object.id, object.id_generation) == portal_self(p) &&
	       object.ptr != r->mem;
}

/* Withdraw a ring's name.  False: the daemon has not said that it has gone, and nobody's memory may lie there. */
static bool withdraw(struct portal *p, struct portal_ring *r)
{
	int res = is_anothers(p, r) ? 0 : portal_unpublish(p, r->name);

	if (res == -ENOTCONN || res == -ETIMEDOUT || res == -EAGAIN)
		return false;
	r->name[0] = '\0';
	return true;
}

/* The memory may be another client's, the maker's mostly.  It may also be free already, and something else of ours by now. */
static void free_memory(struct portal *p, struct portal_ring *r)
{
	if (!is_intact(p, r->mem, r->env.block) || portal_usable(p, r->mem) == 0)
		return;
	ring_unmake(r->mem);
	(void)portal_free(p, r->mem);
	/* Partner: broadcast_gone().  The block's word says that it is free before anything else is written where it was. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

/* What is still to be done for a ring that was closed, as far as it can be done now.  True: all of it. */
static bool finish(struct portal *p, struct portal_ring *r, bool *answers)
{
	if (!r->closed)
		ring_leave(r);
	if (r->name[0] && *answers)
		*answers = withdraw(p, r);
	if (r->name[0] || ring_heir(r->mem, ring_total(r->geo.lanes, r->geo.size), peer_alive, p))
		return false;
	free_memory(p, r);
	return true;
}

static void reap(struct portal *p)
{
	struct portal_ring *next;
	bool answers = true;

	if (!portal_begin(p))
		return;
	for (struct portal_ring *r = p->rings; r; r = next) {
		next = r->next;
		if (r->closing && finish(p, r, &answers))
			drop_ring(p, r);
	}
	portal_end(p);
}

/* ---- opening -------------------------------------------------------------------- */

static int open_end(struct portal *p, const struct portal_object *object, void *mem, uint64_t len,
		    enum portal_role role, struct portal_ring **ret_ring)
{
	const struct ring_env env = {
		.self = p->page ? portal_self(p) : 0,
		.quiesce = &portal_live(p)->quiesce,
		.ops = &in_arena,
		.ctx = p,
		.object = object,
		.block = portal_handle(p, mem),
	};
	int r = ring_open(mem, len, role, &env, ret_ring);

	if (r == 0)
		link_ring(p, *ret_ring);
	return r;
}

static int create(struct portal *p, const char *name, const struct portal_ring_options *options,
		  struct portal_ring **ret_ring)
{
	struct portal_ring *ring;
	struct ring_geometry geo;
	uint64_t total;
	void *mem;
	int r = ring_plan(options, &geo);

	if (r < 0)
		return r;
	total = ring_total(geo.lanes, geo.size);
	mem = portal_alloc(p, total);
	if (!mem)
		return -errno;
	ring_format(mem, &geo);
	r = open_end(p, NULL, mem, total, options->role, &ring);
	if (r < 0) {
		(void)portal_free(p, mem);
		return r;
	}
	/* Also if nobody says that it was: then it is withdrawn before the memory goes. */
	(void)snprintf(ring->name, sizeof(ring->name), "%s", name);
	r = portal_publish(p, name, PORTAL_OBJECT_RING, mem, total);
	if (r == 0) {
		*ret_ring = ring;
		return 0;
	}
	if (r != -ENOTCONN && r != -ETIMEDOUT)
		ring->name[0] = '\0';
	portal_ring_close(ring);
	return r;
}

int portal_ring_create(struct portal *p, const char *name,
		       const struct portal_ring_options *options, struct portal_ring **ret_ring)
{
	int r;

	reap(p);
	if (!portal_begin(p))
		return portal_rest(p) == -ESTALE ? -ESTALE : -EAGAIN;
	r = create(p, name, options, ret_ring);
	portal_end(p);
	return r;
}

static int open_published(struct portal *p, const char *name, enum portal_role role,
			  struct portal_ring **ret_ring)
{
	struct portal_object object;
	struct portal_ring *ring;
	int r = portal_lookup(p, name, PORTAL_OBJECT_RING, &object);

	if (r < 0)
		return r;
	if (object.offset % RING_PAGE != 0)
		return -EPROTO;
	r = open_end(p, &object, object.ptr, object.len, role, &ring);
	if (r < 0)
		return r == -EPROTO && portal_still(p, &object) < 0 ? -ENOENT : r;
	/* Of a broadcast's reader the ring's maker knows nothing: its memory may have gone before it was looked at. */
	if (portal_still(p, &object) < 0) {
		portal_ring_close(ring);
		return -ENOENT;
	}
	*ret_ring = ring;
	return 0;
}

int portal_ring_open(struct portal *p, const char *name, enum portal_role role,
		     struct portal_ring **ret_ring)
{
	int r;

	reap(p);
	if (!portal_begin(p))
		return portal_rest(p) == -ESTALE ? -ESTALE : -EAGAIN;
	r = open_published(p, name, role, ret_ring);
	portal_end(p);
	return r;
}

void portal_ring_close(struct portal_ring *ring)
{
	if (!ring)
		return;
	ring->closing = true;
	/* What was reserved never was; a pause, which may keep us from more, need not wait for it. */
	ring->producer.reserved = 0;
	ring_end(&ring->writing);
	reap(ring->portal);
}

void ring_close_all(struct portal *p)
{
	while (p->rings) {
		if (!p->rings->closed)
			ring_leave(p->rings);
		drop_ring(p, p->rings);
	}
}
