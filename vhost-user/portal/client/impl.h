/* SPDX-License-Identifier: MIT */
/* The inside of a struct portal, and what the library's parts use of each other.  For vhost-user/portal/client alone.
 *
 *	attach.c      where -> a mapping (door.c) -> a checked geometry (geometry.c) -> a lease (tether.c)
 *	tether.c       the connection to the daemon: requests, replies, notices; comes back to a restarted daemon
 *	names.c       publish, lookup
 *	quiesce.c     pauses, flushes
 *	memory.c      blocks: heap.h over the extents that the lease is granted
 *	ring*.c       rings in blocks
 *
 * Trust: `geo` was copied out of the arena and checked once.  The extents, names and leases behind it are other people's
 *        words: portal_range() and portal_offset() decide what is a place in the arena, portal_alive() who lives.
 * Threads: the lease locks itself (tether.h).  All else belongs to one thread at a time, as portal.h says.
 */
#ifndef PORTAL_CLIENT_IMPL_H
#define PORTAL_CLIENT_IMPL_H

#include <pthread.h>

#include "checked.h"
#include "door.h"
#include "geometry.h"
#include "layout.h"
#include "tether.h"
#include "portal.h"

struct heap;

struct portal {
	struct mapping map;
	struct geometry geo;
	struct tether *tether;          /* NULL: an observer */
	uint64_t kernel;                /* this kernel, as HELLO told the daemon */
	struct portal_lease_page *page; /* this client's own; NULL unless it may write */
	uint64_t acked;    /* the last pause that the daemon was told we rest for; atomic */
	uint32_t writing;  /* calls under way that write to the arena, rings' ends apart; atomic */
	struct heap *heap; /* heap.h; made by portal_attach() */
	struct portal_ring
		*rings; /* ring*.c: all ends, until their memory is nobody's or another one's */
	pthread_mutex_t rings_lock; /* held to change the list, and by other threads to walk it */
};

/* [offset, offset+len) of the arena as memory; NULL if it does not lie inside the extents that are granted to clients, or
 * is empty. */
static inline void *portal_range(const struct portal *p, uint64_t offset, uint64_t len)
{
	const uint64_t first = 2 * (uint64_t)PORTAL_EXTENT;

	if (len == 0 || offset < first || !range_within(offset, len, p->geo.arena_size))
		return NULL;
	return p->map.base + offset;
}

/* Where in the arena ptr points: an offset; UINT64_MAX: nowhere in the extents that are granted to clients. */
static inline uint64_t portal_offset(const struct portal *p, const void *ptr)
{
	uint64_t offset = (uintptr_t)ptr - (uintptr_t)p->map.base;

	return portal_range(p, offset, 1) ? offset : UINT64_MAX;
}

static inline const struct portal_live *portal_live(const struct portal *p)
{
	return (const void *)(p->map.base + PORTAL_LIVE_OFFSET);
}

/* May something new be claimed: memory, a place in a ring?  One load of a line that hardly ever changes. */
static inline bool portal_running(const struct portal *p)
{
	return PORTAL_QUIESCE_STATE(le64_load_acquire(&portal_live(p)->quiesce)) == PORTAL_RUNNING;
}

/* A call that writes to the arena begins, unless there is a pause: until it ends none is acknowledged.  Calls within calls
 * are part of the outer one. */
static inline bool portal_begin(struct portal *p)
{
	uint32_t depth = p->writing;

	__atomic_store_n(&p->writing, depth + 1, __ATOMIC_RELAXED);
	/* Partner: portal_rest(), whose barrier is for both. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (depth || portal_running(p))
		return true;
	__atomic_store_n(&p->writing, 0, __ATOMIC_RELEASE);
	return false;
}

static inline void portal_end(struct portal *p)
{
	__atomic_store_n(&p->writing, p->writing - 1, __ATOMIC_RELEASE);
}

static inline const struct portal_lease *portal_lease_of(const struct portal *p, uint64_t owner)
{
	return (const struct portal_lease *)(p->map.base + PORTAL_LEASES_OFFSET) +
	       portal_owner_id(owner) % PORTAL_LEASES;
}

/* This client's owner word; 0 for an observer. */
static inline uint64_t portal_self(const struct portal *p)
{
	return p->tether ? tether_owner(p->tether) : 0;
}

/* Has the lease of that owner word neither ended nor been given to another?  LOST counts as alive: it may come back. */
static inline bool portal_alive(const struct portal *p, uint64_t owner)
{
	uint64_t word = le64_load_acquire(&portal_lease_of(p, owner)->word);
	unsigned state = PORTAL_LEASE_STATE(word);

	return portal_owner_valid(owner) && PORTAL_LEASE_OWNER(word) == owner &&
	       (state == PORTAL_LEASE_LIVE || state == PORTAL_LEASE_LOST);
}

/* Does that owner run on this kernel, so that a futex wakes it?  It says so itself: if it lies, it sleeps too long. */
static inline bool portal_near(const struct portal *p, uint64_t owner)
{
	return p->kernel && le64_load(&portal_lease_of(p, owner)->kernel) == p->kernel;
}

/* Acknowledge a pause if there is one and no thread of this client is writing.  0 (no pause), -EAGAIN, -ESTALE.  From any
 * thread that writes nothing itself. */
int portal_rest(struct portal *p);

/* memory.c: the heap over what the lease is granted; of an observer it only resolves.  0, -ENOMEM. */
int memory_open(struct portal *p);
void memory_close(struct portal *p);

/* ring_portal.c: give back all ends that are still open, to which the lease's end adds the rest.  It may be over. */
void ring_close_all(struct portal *p);

/* Is a record being written, or a place for one reserved, at any end?  From any thread. */
bool ring_any_writing(struct portal *p);

#endif
