/* SPDX-License-Identifier: MIT */
/* A bound on what a port may make the switch flood: frames per second of broadcast, of multicast and
 * of unicast to stations nobody knows.  One token bucket each, as deep as a tenth of a second's worth
 * (at least one frame), so that an ARP burst of a healthy guest passes.
 *
 * Time is what the caller says it is: nanoseconds that do not run backwards.
 * Threads: the owner's of the port. */
#ifndef NET_STORM_H
#define NET_STORM_H

#include <stdbool.h>
#include <stdint.h>

/* More is no bound for a switch of this kind, and keeps the arithmetic inside 64 bits. */
#define STORM_PPS_MAX 1000000000u

enum storm_kind {
	STORM_BROADCAST,
	STORM_MULTICAST,
	STORM_UNKNOWN,
	STORM_N_KINDS,
};

struct storm_bucket {
	uint32_t pps;   /* 0: no bound */
	uint64_t level; /* what is saved up, in billionths of a frame */
	uint64_t at_ns; /* until when it was */
};

/* Zero-filled is valid and bounds nothing. */
struct storm {
	bool on; /* any of them has a bound */
	struct storm_bucket bucket[STORM_N_KINDS];
};

/* Bound `kind` to `pps` (0: not at all), with a full bucket. */
void storm_set(struct storm *s, enum storm_kind kind, uint32_t pps, uint64_t now_ns);

/* May one more frame of this kind pass? */
bool storm_pass(struct storm *s, enum storm_kind kind, uint64_t now_ns);

#endif
