/* SPDX-License-Identifier: MIT */
/* Our rings in the race of ring_race.h. */
#include "ring.h"
#include "ring_race.h"

struct ends {
	struct portal_ring *producer, *consumer;
};

static inline unsigned send_some(void *q, unsigned words, const void *messages, unsigned n)
{
	struct portal_ring *r = ((struct ends *)q)->producer;
	int sent;

	if (n == 1)
		return portal_send(r, messages, words * 8, 0) == 0;
	sent = portal_send_array(r, messages, words * 8, n, 0);
	return sent > 0 ? (unsigned)sent : 0;
}

static inline unsigned receive_some(void *q, unsigned words, void *messages, unsigned n)
{
	struct portal_ring *r = ((struct ends *)q)->consumer;
	int got;

	if (n == 1)
		return portal_recv(r, messages, words * 8, NULL) > 0;
	got = portal_recv_array(r, messages, words * 8, n);
	return got > 0 ? (unsigned)got : 0;
}

RACE_LOOPS(send_some, receive_some)

int main(int argc, char **argv)
{
	struct race race = race_options(argc, argv);
	struct portal_ring_options options = { .size = (uint64_t)race.size * race.capacity };
	struct ring_env env = { .self = 0x10000 };
	struct ring_geometry geo;
	struct ends ends;
	size_t size;
	void *memory;

	if (ring_plan(&options, &geo) < 0)
		race_die("ring_plan");
	size = ring_total(geo.lanes, geo.size);
	memory = race_memory(size);
	ring_format(memory, &geo);
	if (ring_open(memory, size, PORTAL_PRODUCER, &env, &ends.producer) < 0 ||
	    ring_open(memory, size, PORTAL_CONSUMER, &env, &ends.consumer) < 0)
		race_die("ring_open");
	return race_run(&ends, &race, race_send, race_receive);
}
