/* SPDX-License-Identifier: MIT */
/* Which extent is whose: the truth, and its mirror in the arena.
 *
 * A grant is a run of extents given to one owner as a whole.  Single ones are taken from the low end, longer runs from the
 * high end: so that segments, which come and go one by one, do not cut up the room that huge objects need.
 *
 * All decisions are made on private memory.  The mirror is written (layout.h says in which order) and read back once, by the next
 * daemon over the same file.  What it says is then checked as a whole: an entry that is part of no consistent grant is
 * put into quarantine, because somebody who lives may believe that it is his; it comes out when nobody is left who could.
 *
 * Trust:   owners are valid words (portal_owner_valid()); numbers of extents are a client's and are checked here.
 * Threads: loop thread.
 */
#ifndef PORTAL_EXTENTS_H
#define PORTAL_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

struct leases_client;

struct extent {
	uint64_t owner;
	uint32_t serial;
	uint16_t back, run; /* as in PORTAL_WHAT() */
	uint8_t kind;
	/* Notes of leases.h at the first extent of a grant; NULL and false in a new one, and not looked at here. */
	bool orphan;                 /* its lease is over, and somebody holds blocks in it */
	struct leases_client *payer; /* whose quota it counts against; NULL: nobody's */
};

struct extents {
	struct extent *e;
	struct portal_extent *mirror;
	uint32_t n, n_free, n_quarantined;
	uint32_t low; /* nothing below it is free: where the search for a single one begins */
};

/* n extents, of which the first two are the system's; load: believe the mirror as far as it holds, else begin anew.  -ENOMEM. */
int extents_init(struct extents *x, struct portal_extent *mirror, uint32_t n, bool load);
/* The mirror stays.  Zero-filled is fine. */
void extents_done(struct extents *x);

/* Grant a run of n.  -EINVAL (n or kind), -ENOSPC (no such run is free). */
int extents_get(struct extents *x, uint64_t owner, uint32_t n, enum portal_extent_kind kind,
		uint32_t *ret_first);
/* Take a grant back.  -EINVAL (not a whole grant), -EPERM (another's). */
int extents_put(struct extents *x, uint64_t owner, uint32_t first, uint32_t n);

/* The first grant of `owner` at or behind *at, or of anybody if owner is 0.  False: there is none.  On true *at is the
 * grant's first extent, and e[*at] tells the rest. */
bool extents_find(const struct extents *x, uint64_t owner, uint32_t *at);
/* Does [offset, offset+len), len above 0, lie in extents of `owner`, and in one grant? */
bool extents_hold(const struct extents *x, uint64_t owner, uint64_t offset, uint64_t len);

/* Put the grant that begins at `first` into quarantine. */
void extents_quarantine(struct extents *x, uint32_t first);
/* Free what is in quarantine: nobody is left who could have it.  How many. */
uint32_t extents_pardon(struct extents *x);

#endif
