/* SPDX-License-Identifier: MIT */
/* Concurrency Kit's ck_ring with one producer and one consumer, elements by value.  It has no batches: they go one by one.
 * See ring_race.h. */
#include <ck_ring.h>

#include "ring_race.h"

struct small {
	uint64_t words[1];
};
struct large {
	uint64_t words[8];
};

CK_RING_PROTOTYPE(small, small)
CK_RING_PROTOTYPE(large, large)

struct ck_queue {
	ck_ring_t ring;
	char elements[] __attribute__((aligned(64)));
};

static inline unsigned send_some(void *q, unsigned words, const void *messages, unsigned n)
{
	struct ck_queue *queue = q;
	unsigned i = 0;

	if (words == 1)
		while (i < n && CK_RING_ENQUEUE_SPSC(small, &queue->ring,
						     (struct small *)(void *)queue->elements,
						     (struct small *)messages + i))
			i++;
	else
		while (i < n && CK_RING_ENQUEUE_SPSC(large, &queue->ring,
						     (struct large *)(void *)queue->elements,
						     (struct large *)messages + i))
			i++;
	return i;
}

static inline unsigned receive_some(void *q, unsigned words, void *messages, unsigned n)
{
	struct ck_queue *queue = q;
	unsigned i = 0;

	if (words == 1)
		while (i < n && CK_RING_DEQUEUE_SPSC(small, &queue->ring,
						     (struct small *)(void *)queue->elements,
						     (struct small *)messages + i))
			i++;
	else
		while (i < n && CK_RING_DEQUEUE_SPSC(large, &queue->ring,
						     (struct large *)(void *)queue->elements,
						     (struct large *)messages + i))
			i++;
	return i;
}

RACE_LOOPS(send_some, receive_some)

int main(int argc, char **argv)
{
	struct race race = race_options(argc, argv);
	struct ck_queue *queue = race_memory(sizeof(*queue) + (size_t)race.size * race.capacity);

	ck_ring_init(&queue->ring, race.capacity);
	return race_run(queue, &race, race_send, race_receive);
}
