/* SPDX-License-Identifier: MIT */
/* What a dead client leaves: its segments, its huge blocks, and blocks of others that it held.
 *
 * For the daemon, when a lease has ended and its client writes no more (or writes, and nobody may be hurt by it):
 *
 *	for each grant of the dead lease:     heap_recover_grant()   -> free the extents, or keep them as orphans
 *	for each other granted SEGMENT/HUGE:  heap_recover_visit()   -> what it held there is free, owners look again
 *
 * and then the lease's id may be given out again.  The order does not matter, each step may be repeated, and may be
 * cut off anywhere and begun anew: a step only ever moves words towards the state it aims at.
 *
 * An orphan is a grant whose owner is dead and in which living clients hold blocks that they took.  It belongs to the
 * daemon until heap_recover_grant() on it (owner 0, each time a lease ends, or extents run out) says that nothing is
 * held any more.
 *
 * No allocation, no system call, no lock; a segment costs one pass over the words in use (8 bytes for each block).
 *
 * Trust: everything in the arena may be a lie.  What is freed was granted to the dead lease by the caller's private books,
 *        so a lie can only free what the liar had, or keep extents as orphans in the name of a living client, as many as
 *        the dead one had; pass no living clients to keep none.
 */
#ifndef PORTAL_HEAP_RECOVER_H
#define PORTAL_HEAP_RECOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

/* The leases that are alive, by id. */
struct heap_leases {
	uint64_t bits[PORTAL_LEASES / 64];
	/* Does one of them use what lies in this block, though it never took it?  The one whose block it is from now on
	 * (it frees it, or dies), or HEAP_NOBODY.  NULL: nobody does. */
	unsigned (*heir)(const struct heap_leases *leases, const void *block, uint64_t size);
};
#define HEAP_NOBODY 0xffffu

/* What came back; adds up over calls. */
struct heap_recovered {
	uint64_t blocks; /* that the dead one held */
	uint64_t bytes;
	uint64_t kept; /* blocks that others hold or inherit in what was the dead one's */
};

/* A grant of `n` extents from `first` on, which was lease `dead`'s (0xffff: an orphan).  `base` and `size` are the
 * arena's.  True: nobody else holds anything there, it is wiped, and may be granted again. */
bool heap_recover_grant(void *base, uint64_t size, uint32_t first, uint32_t n, uint32_t dead,
			const struct heap_leases *alive, struct heap_recovered *sum);

/* A grant of somebody else. */
void heap_recover_visit(void *base, uint64_t size, uint32_t first, uint32_t n, uint32_t dead,
			struct heap_recovered *sum);

#endif
