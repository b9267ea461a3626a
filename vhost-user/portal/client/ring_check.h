/* SPDX-License-Identifier: MIT */
/* What a reader can prove of a ring: that it is one, that its ends are in states there are, and that records lie one behind the
 * other from where the consumer is to where the producer is.
 *
 * Of a ring in use the consumer moves on while one looks: what was seen from a place that it has left is not told.
 *
 * Trust: nothing; the ring is read only, and a lane's walk is as long as the lane at most.
 */
#ifndef PORTAL_RING_CHECK_H
#define PORTAL_RING_CHECK_H

#include <stdbool.h>
#include <stdint.h>

struct ring_flaw {
	const char *what; /* a literal */
	uint32_t lane;
};

/* Look at the ring that lies in these bytes.  True: it is in order; else *ret_flaw is the first thing that is not. */
bool ring_check(const void *mem, uint64_t len, struct ring_flaw *ret_flaw);

#endif
