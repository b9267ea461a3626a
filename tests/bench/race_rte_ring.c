/* SPDX-License-Identifier: MIT */
/* DPDK's rte_ring with one producer and one consumer, elements by value.  See ring_race.h. */
#include <rte_ring.h>
#include <rte_ring_elem.h>

#include "ring_race.h"

static inline unsigned send_some(void *q, unsigned words, const void *messages, unsigned n)
{
	return rte_ring_sp_enqueue_burst_elem((struct rte_ring *)q, messages, words * 8, n, NULL);
}

static inline unsigned receive_some(void *q, unsigned words, void *messages, unsigned n)
{
	return rte_ring_sc_dequeue_burst_elem((struct rte_ring *)q, messages, words * 8, n, NULL);
}

RACE_LOOPS(send_some, receive_some)

int main(int argc, char **argv)
{
	struct race race = race_options(argc, argv);
	struct rte_ring *ring = (struct rte_ring *)race_memory(
		(size_t)rte_ring_get_memsize_elem(race.size, race.capacity));

	if (rte_ring_init(ring, "race", race.capacity, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0)
		race_die("rte_ring_init");
	return race_run(ring, &race, race_send, race_receive);
}
