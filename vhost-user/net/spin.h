/* SPDX-License-Identifier: MIT */
/* How long to go on looking at a queue in which nothing was found, before asking for a kick.
 *
 * To be woken costs some ten microseconds: the driver's write, the kernel, a processor that slept.  To look costs
 * the processor.  So it pays to look for as long as the next frame is likely to come soon, and not at all when it is
 * not: a queue keeps the mean of its gaps, the time from the first look in vain to the next frame.  If what is
 * usual fits SPIN_MAX_NS, twice that is waited, so that a conversation that pauses for 100 us between question and
 * answer is never put to sleep.  If it does not, then SPIN_MIN_NS, which catches what follows at once, and a queue
 * with a frame now and then costs next to nothing: at one a millisecond 2 % of a processor, in silence none.
 *
 * Threads: pure functions. */
#ifndef NET_SPIN_H
#define NET_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base.h"

#define SPIN_MIN_NS 20000
#define SPIN_MAX_NS 200000

/* Zero-filled: nothing is known yet, and gaps are taken for short. */
struct spin {
	uint64_t gap_ns; /* the mean, of late */
};

/* Something was found, gap_ns after the first look in vain.  Long gaps count as SPIN_MAX_NS four times over, so that a
 * queue that wakes from a long sleep needs a dozen short ones to be known for busy, not a hundred. */
static inline void spin_found(struct spin *s, uint64_t gap_ns)
{
	gap_ns = min(gap_ns, (uint64_t)4 * SPIN_MAX_NS);
	s->gap_ns += (gap_ns >> 3) - (s->gap_ns >> 3);
}

/* For so long; fixed_ns is an operator's word on it, or 0. */
static inline uint64_t spin_ns(const struct spin *s, uint64_t fixed_ns)
{
	if (fixed_ns != 0)
		return fixed_ns;
	if (s->gap_ns > SPIN_MAX_NS)
		return SPIN_MIN_NS;
	return max(min(2 * s->gap_ns, (uint64_t)SPIN_MAX_NS), (uint64_t)SPIN_MIN_NS);
}

#endif
