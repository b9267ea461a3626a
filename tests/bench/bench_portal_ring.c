/* SPDX-License-Identifier: MIT */
/* Our rings in the race of ring_race.h. */
#include "ring_pair.h"

static inline unsigned send_some(void *q, unsigned words, const void *messages, unsigned n)
{
	struct portal_ring *r = ((struct ring_pair *)q)->producer;
	int sent;

	if (n == 1)
		return portal_send(r, messages, words * 8, 0) == 0;
	sent = portal_send_array(r, messages, words * 8, n, 0);
	return sent > 0 ? (unsigned)sent : 0;
}

static inline unsigned receive_some(void *q, unsigned words, void *messages, unsigned n)
{
	struct portal_ring *r = ((struct ring_pair *)q)->consumer;
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
	struct ring_pair ends = ring_pair_make((uint64_t)race.size * race.capacity);

	return race_run(&ends, &race, race_send, race_receive);
}
