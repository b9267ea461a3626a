/* SPDX-License-Identifier: MIT */
/* What leases know of the inside of their grants: the blocks that client/heap_recover.h takes back.
 *
 * A grant whose blocks others have taken, or in which they have an end of a ring, outlives its lease as an orphan; a block
 * dies with its holder, a ring's with the last who has an end.
 */
#ifndef PORTAL_BLOCKS_H
#define PORTAL_BLOCKS_H

#include "leases.h"

extern const struct leases_heap blocks_heap;

#endif
