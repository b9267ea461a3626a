/* SPDX-License-Identifier: MIT */
/* CoDel (RFC 8289): which frames of a queue to drop, or to mark, so that its standing delay goes away.
 *
 * The owner asks for each frame as it leaves the queue.  A delay that never falls below the target for a whole interval
 * is a standing queue, not a burst; then one frame is dropped, and further ones in ever shorter time (interval /
 * sqrt(count)) until the delay is short again.  TCP's rate falls as the square root of its losses rises, which is where
 * the root comes from.
 *
 * Threads: plain data. */
#ifndef NET_CODEL_H
#define NET_CODEL_H

#include <stdbool.h>
#include <stdint.h>

struct codel {
	uint64_t first_above_ns; /* when the delay will have been too long for an interval; 0: it is not */
	uint64_t drop_next_ns;
	uint32_t count, last_count; /* drops of this spell, and of the last one when it began */
	bool dropping;
};

/* A frame leaves the queue at now_ns after sojourn_ns in it, and `last` says that less than a frame's length is left
 * behind it.  True: drop it, and ask for the next at the same time; or, if it can be marked, mark it and pass it on. */
bool codel_judge(struct codel *c, uint64_t target_ns, uint64_t interval_ns, uint64_t now_ns,
		 uint64_t sojourn_ns, bool last);

#endif
