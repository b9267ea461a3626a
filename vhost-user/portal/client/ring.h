/* SPDX-License-Identifier: MIT */
/* Rings on a plain piece of memory: the inside of struct portal_ring.
 *
 * ring_format() makes a ring of zeroed memory, ring_open() takes one of its ends, and the functions of portal.h move records
 * (ring_data.c) and wait (ring_wait.c).  None of that knows what an arena is: what a ring needs to know of the world is
 * struct ring_env, and without one every other end is alive and near.  ring_portal.c makes rings of an arena's memory, names
 * and leases.
 *
 * Ends.  An end is taken by putting one's owner word into it, in place of nobody's or of a dead owner's, with one
 * compare and swap; it is given back by closing it.  A producer that takes over where another one died goes on behind the
 * last record that one committed; what was reserved and not committed never was.  A consumer that takes over goes on where
 * the dead one said it was: up to an eighth of the lane may come a second time.  Everything that was committed is read.
 *
 * A broadcast knows its readers not.  Its producer never waits: who reads too slowly is overtaken, is told so once
 * (-EOVERFLOW), and goes on with what is sent from then on.  A record of a broadcast is sound when portal_release() says so
 * after it has been looked at, or when portal_recv() has copied it.  Its memory goes with its maker, read or not.  A reader
 * that may write says there that it sleeps; it looks first whether that is the ring's still, but if it is stopped just
 * behind this look, and its maker goes meanwhile, it writes a word or two where another's block may lie.
 *
 * Trust: geometry is copied out of the head and checked once.  Ends are strangers' words; see lane.h for what is believed of
 *        them.  A stranger who rewrites an end's owner or sleep word makes others fail to open, or wait, or be woken for
 *        nothing; a wait looks for itself every NAP_NS (ring_wait.c).
 * Ownership: the memory is the caller's, and stays until ring_close().
 * Threads: an end belongs to one thread at a time.
 */
#ifndef PORTAL_RING_H
#define PORTAL_RING_H

#include "lane.h"
#include "layout.h"

/* What a ring asks the world.  Each gets ctx. */
struct ring_ops {
	/* Does this owner live? */
	bool (*alive)(void *ctx, uint64_t owner);
	/* Does it run on our kernel, so that futexes reach it? */
	bool (*near)(void *ctx, uint64_t owner);
	/* Ring its bell.  Never blocks; a bell that is lost is made up for by the sleeper's own look. */
	void (*bell)(void *ctx, uint64_t owner);
	/* A count that differs after each bell of our own; and sleep until it differs from `seen`, or the time (ns of
	 * CLOCK_MONOTONIC): 0, -ETIMEDOUT, -ESTALE. */
	uint64_t (*bells)(void *ctx);
	int (*nap)(void *ctx, uint64_t seen, uint64_t until_ns);
	/* Nothing of ours is being written now: let a pause go on.  0, -EAGAIN during one, -ESTALE. */
	int (*rest)(void *ctx);
	/* Is what was published still published?  NULL: yes. */
	bool (*still)(void *ctx, const struct portal_object *object);
	/* Is a ring's memory still the block that it was?  NULL: yes. */
	bool (*intact)(void *ctx, const void *mem, uint64_t block);
};

struct ring_env {
	uint64_t self; /* our owner word; 0: we may not write, and can only read broadcasts */
	const le64_t *quiesce;      /* the arena's, layout.h; NULL: it never pauses */
	const struct ring_ops *ops; /* NULL: everybody lives, is near, and has no bells */
	void *ctx;
	const struct portal_object
		*object; /* that we open, which may go away meanwhile; NULL: nobody knows of it */
	uint64_t block;  /* the handle of its memory */
};

struct ring_geometry {
	enum portal_ring_kind kind;
	uint32_t lanes;
	uint32_t max_record;
	uint64_t size; /* of a lane, bytes */
};

struct portal_ring {
	enum portal_role role;
	bool many; /* lanes to sweep */
	bool broadcast;
	bool writing; /* to the arena, or there is a reservation to be written to; atomic */
	const le64_t *quiesce;
	struct lane_producer producer;
	struct lane_consumer *
		direct; /* what portal_recv() reads if it needs not look further: of SPSC the lane, otherwise silent */
	struct lane_consumer *lane; /* the one being read */
	struct lane_consumer *lanes;
	unsigned budget; /* records that the current lane may still give before the next one's turn */
	unsigned empties; /* looks in a row that found nothing */
	uint64_t peeked;  /* bit i: lane i has records to be released */
	int untold; /* of many lanes or a broadcast: the error that the next look returns; 0: none */
	struct ring_geometry geo;
	struct ring_env env;
	uint8_t *mem;
	struct ring_end *end;     /* ours; a broadcast's reader has a private one */
	struct ring_end *far;     /* the consumer's, or a broadcast's readers' */
	uint64_t sleep_number;    /* of our own sleeps */
	uint64_t lost;            /* bytes that went by a broadcast's reader */
	uint64_t wakes, sleeps;   /* that we have ended, and have slept */
	bool futexes;             /* work on this memory */
	uint64_t spin_ns;         /* before a sleep */
	struct portal_ring *next; /* of the same portal */
	struct portal *portal;
	bool gone;                   /* a broadcast's memory, behind a reader's back */
	bool closing;                /* by the user, who has no handle any more */
	bool closed;                 /* our end is given back, the memory perhaps not */
	char name[PORTAL_NAME_SIZE]; /* published by us, or empty */
};

/* ---- making, opening ------------------------------------------------------- */

/* Options as asked for, to a geometry: defaults, bounds.  0, -EINVAL. */
int ring_plan(const struct portal_ring_options *options, struct ring_geometry *ret_geo);

/* Make a ring of ring_total() bytes of memory at a multiple of RING_PAGE; nobody else may know of it yet. */
void ring_format(void *mem, const struct ring_geometry *geo);

/* What ring lies in these bytes?  0; -EPROTO: none that this library can believe. */
int ring_look(const void *mem, uint64_t len, struct ring_geometry *ret_geo);

/* Take an end of a ring.  0; -ENOENT (it was withdrawn meanwhile); -EPROTO (no ring, or its lanes are broken); -EBUSY (taken by a live owner, and so is every
 * other lane); -EROFS; -EPIPE (the ring's lanes were given up as poisoned); -ENOMEM. */
int ring_open(void *mem, uint64_t len, enum portal_role role, const struct ring_env *env,
	      struct portal_ring **ret_ring);

/* Give the end back; the handle stays, `closed`, and says no more than where the ring was.  Not during a pause. */
void ring_leave(struct portal_ring *ring);

/* What lies here is no ring any more.  Before its memory is given away. */
void ring_unmake(void *mem);

/* Give the end back and free the handle.  What was reserved and not committed is gone. */
void ring_close(struct portal_ring *ring);

/* Who lives, and has an end of this ring?  For who recovers a dead owner's memory, or frees his own: a ring's is not free while
 * somebody uses it.  Whoever asks has withdrawn the ring's name before.  Returns an owner word, or 0. */
uint64_t ring_heir(const void *mem, uint64_t len, bool (*alive)(void *ctx, uint64_t owner),
		   void *ctx);

/* ---- between the parts of the ring ------------------------------------------ */

static inline bool ring_alive(const struct portal_ring *r, uint64_t owner)
{
	return owner != 0 && (!r->env.ops || r->env.ops->alive(r->env.ctx, owner));
}

/* What an end's sleep word says while its owner is awake. */
static inline uint64_t ring_awake(const struct portal_ring *r)
{
	return r->sleep_number << 2 | RING_AWAKE;
}

/* End a sleep of the other side, and note that it has been done. */
void ring_wake(struct portal_ring *r, struct ring_end *sleeper, uint64_t sleep, uint64_t *rung);

/* End every sleep of the other side: we go. */
void ring_wake_all(struct portal_ring *r);

/* Consumer, not of a broadcast, about to sleep: let producers see what was released, and wake who waits for it. */
void ring_say(struct portal_ring *r);

/* Are all the other ends gone?  -EPIPE, or 0. */
int ring_check_peers(struct portal_ring *r);

/* Do futexes work on this memory?  On some mappings of devices they do not. */
bool ring_has_futexes(le32_t *word);

/* Is there something for this end, without taking it? */
bool ring_ready(const struct portal_ring *r);

static inline struct ring_end *ring_producer_end(const struct portal_ring *r, uint32_t lane)
{
	return (struct ring_end *)(void *)(r->mem + ring_lane_offset(lane, r->geo.size));
}

static inline struct ring_end *ring_place(const struct portal_ring *r, uint32_t lane)
{
	return ring_producer_end(r, lane) + 1;
}

static inline uint8_t *ring_lane_data(const struct portal_ring *r, uint32_t lane)
{
	return (uint8_t *)(ring_producer_end(r, lane) + 2);
}

/* ---- broadcast.c -------------------------------------------------------------- */

/* Room for a record of that span at the tail, said in advance to readers.  0, -EPROTO. */
int broadcast_make_room(struct portal_ring *r, uint64_t span);

/* Begin where the producer is. */
void broadcast_join(struct portal_ring *r);

/* As lane_front() and portal_release(); -EOVERFLOW: records went by. */
int broadcast_front(struct portal_ring *r, struct portal_record *ret_record);
int broadcast_release(struct portal_ring *r);

/* Has what the reader looks at been overwritten? */
bool broadcast_overtaken(const struct portal_ring *r);

/* Is the memory not the ring's any more?  Asked behind what was read: then it was not the ring's either. */
bool broadcast_gone(struct portal_ring *r);

#endif
