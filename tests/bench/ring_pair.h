/* SPDX-License-Identifier: MIT */
/* Both ends of a ring of our own, in memory that a fork shares. */
#ifndef BENCH_RING_PAIR_H
#define BENCH_RING_PAIR_H

#include "ring.h"
#include "ring_race.h"

struct ring_pair {
	struct portal_ring *producer, *consumer;
};

static inline struct ring_pair ring_pair_make(uint64_t size)
{
	const struct ring_env producer = { .self = 0x10001 }, consumer = { .self = 0x10002 };
	struct portal_ring_options options = { .size = size };
	struct ring_geometry geo;
	struct ring_pair pair;
	uint64_t total;
	void *memory;

	if (ring_plan(&options, &geo) < 0)
		race_die("ring_plan");
	total = ring_total(geo.lanes, geo.size);
	memory = race_memory(total);
	ring_format(memory, &geo);
	if (ring_open(memory, total, PORTAL_PRODUCER, &producer, &pair.producer) < 0 ||
	    ring_open(memory, total, PORTAL_CONSUMER, &consumer, &pair.consumer) < 0)
		race_die("ring_open");
	return pair;
}

#endif
