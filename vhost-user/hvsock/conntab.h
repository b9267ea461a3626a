/* SPDX-License-Identifier: MIT */
/* The connections of one guest, found by address: its port, and the far end's CID and port.
 *
 * A hash table whose nodes are embedded in what they name.  The hash is seeded, since a guest chooses the ports; the
 * table grows when it is full and never shrinks, so that finding and taking out cost the same with ten connections
 * and with ten thousand.
 *
 * Threads: any, one at a time.  Only conntab_add() may allocate.
 */
#ifndef HVSOCK_CONNTAB_H
#define HVSOCK_CONNTAB_H

#include <stdbool.h>
#include <stdint.h>

#include "base.h"

struct conntab_node {
	struct conntab_node *next;
	uint32_t guest_port, port, cid;
	bool added;
};

struct conntab {
	struct conntab_node **bucket;
	uint32_t mask; /* buckets - 1 */
	uint32_t n;
	uint64_t seed;
};

/* -ENOMEM. */
int conntab_init(struct conntab *t, uint64_t seed);
/* The nodes are left as they are. */
void conntab_done(struct conntab *t);

/* -EEXIST: there is one of that address; -ENOMEM. */
int conntab_add(struct conntab *t, struct conntab_node *node);
/* A node that is not in it is left alone. */
void conntab_remove(struct conntab *t, struct conntab_node *node);

static inline uint32_t conntab_hash(const struct conntab *t, uint32_t guest_port, uint32_t port,
				    uint32_t cid)
{
	uint64_t x = ((uint64_t)guest_port << 32 | port) ^ t->seed;

	/* Two rounds of multiply and fold: every bit of the address reaches the low ones. */
	x *= UINT64_C(0x9e3779b97f4a7c15);
	x ^= x >> 32;
	x = (x ^ cid) * UINT64_C(0xd6e8feb86659fd93);
	return (uint32_t)(x >> 32);
}

static inline struct conntab_node *conntab_find(const struct conntab *t, uint32_t guest_port,
						uint32_t port, uint32_t cid)
{
	struct conntab_node *n = t->bucket[conntab_hash(t, guest_port, port, cid) & t->mask];

	while (n && (n->guest_port != guest_port || n->port != port || n->cid != cid))
		n = n->next;
	return n;
}

#endif
