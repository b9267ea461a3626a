/* SPDX-License-Identifier: MIT */
/* Which frames belong together, and which queue pair of a port is theirs.
 *
 * A guest with several queue pairs wants a connection to stay on one of them: its frames in order, and what is
 * received on the processor that sends.  The driver chooses where it sends (Linux: by processor or by socket), and
 * nothing but its frames tells us how.  So each port with more than one pair remembers on which its flows were sent
 * last, and answers come back on the same (as with Linux's own tun).  A flow that was never sent is spread by its
 * hash, which is the same both ways and for all its frames, large ones too.
 *
 * The table forgets by being overwritten: a flow that loses its entry to another is spread by hash until it sends
 * again.  A flow that the driver moves is moved with its next frame; frames of both queues may then overtake each other
 * once, as they do with any device.
 *
 * Trust:   the bytes are a guest's; whatever they are, some number comes out.
 * Threads: the hash is pure; entries of a table are read and written one at a time, by any thread. */
#ifndef NET_FLOW_H
#define NET_FLOW_H

#include <stdint.h>

#include "port.h"

#define FLOW_TABLE_SIZE 1024 /* a power of two; 4 KiB in a port */

struct flow_table {
	uint32_t entry[FLOW_TABLE_SIZE]; /* 0: none; else what else is in the hash, and the queue */
};

/* The same for all frames of a flow, both directions alike: IP addresses, and of TCP and UDP the ports, behind any VLAN
 * tags, options and extension headers.  Fragments have no ports and go by address alone; what is not IP goes by its
 * Ethernet addresses. */
uint32_t flow_hash(const struct sw_frame *f);

/* Flow `hash` was sent on queue pair `pair`, below 256. */
static inline void flow_note(struct flow_table *t, uint32_t hash, unsigned pair)
{
	uint32_t *entry = &t->entry[hash % FLOW_TABLE_SIZE];
	uint32_t value = (hash | (FLOW_TABLE_SIZE - 1)) ^ pair;

	/* Mostly it says so already: then its line stays shared. */
	if (__atomic_load_n(entry, __ATOMIC_RELAXED) != value)
		__atomic_store_n(entry, value, __ATOMIC_RELAXED);
}

/* The pair that it was sent on last, or -1. */
static inline int flow_pair(const struct flow_table *t, uint32_t hash)
{
	uint32_t value = __atomic_load_n(&t->entry[hash % FLOW_TABLE_SIZE], __ATOMIC_RELAXED) ^
			 (hash | (FLOW_TABLE_SIZE - 1));

	return value < 256 ? (int)value : -1;
}

#endif
