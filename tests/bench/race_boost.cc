/* SPDX-License-Identifier: MIT */
/* Boost's lockfree::spsc_queue.  Its capacity is part of its type, and it lies in shared memory as a whole.  See ring_race.h. */
#include <boost/lockfree/spsc_queue.hpp>

#include "ring_race.h"

struct small {
	uint64_t words[1];
};
struct large {
	uint64_t words[8];
};

#ifndef CAPACITY
#define CAPACITY 1024
#endif

typedef boost::lockfree::spsc_queue<small, boost::lockfree::capacity<CAPACITY>> small_queue;
typedef boost::lockfree::spsc_queue<large, boost::lockfree::capacity<CAPACITY>> large_queue;

static inline unsigned send_some(void *q, unsigned words, const void *messages, unsigned n)
{
	if (words == 1)
		return n == 1 ? static_cast<small_queue *>(q)->push(
					*static_cast<const small *>(messages)) :
				static_cast<small_queue *>(q)->push(
					static_cast<const small *>(messages), n);
	return n == 1 ?
		       static_cast<large_queue *>(q)->push(*static_cast<const large *>(messages)) :
		       static_cast<large_queue *>(q)->push(static_cast<const large *>(messages), n);
}

static inline unsigned receive_some(void *q, unsigned words, void *messages, unsigned n)
{
	if (words == 1)
		return n == 1 ?
			       static_cast<small_queue *>(q)->pop(*static_cast<small *>(messages)) :
			       static_cast<small_queue *>(q)->pop(static_cast<small *>(messages),
								  n);
	return n == 1 ? static_cast<large_queue *>(q)->pop(*static_cast<large *>(messages)) :
			static_cast<large_queue *>(q)->pop(static_cast<large *>(messages), n);
}

RACE_LOOPS(send_some, receive_some)

int main(int argc, char **argv)
{
	struct race race = race_options(argc, argv);
	void *queue =
		race.size == 8 ?
			static_cast<void *>(new (race_memory(sizeof(small_queue))) small_queue) :
			static_cast<void *>(new (race_memory(sizeof(large_queue))) large_queue);

	return race_run(queue, &race, race_send, race_receive);
}
