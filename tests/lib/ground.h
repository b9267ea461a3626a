/* SPDX-License-Identifier: MIT */
/* A plain piece of memory with books of who has which extent: what an allocator stands on when there is no daemon.
 *
 * Memory and books are shared with children that are forked afterwards, and survive them: a child is a client, its
 * death that of a client, and ground_recover() what the daemon would do.  A grant is booked by one store: who is
 * killed on the way has it, or has not.
 */
#ifndef TEST_GROUND_H
#define TEST_GROUND_H

#include <stdbool.h>
#include <stdint.h>

#include "heap.h"
#include "heap_recover.h"

struct ground_books {
	uint32_t lock;  /* held by a pid */
	uint32_t quota; /* extents that each lease may have; 0: all */
	uint32_t gets, puts;
	/* By extent, the first of a grant: 0 free, else its run and lease; atomic. */
	struct {
		uint32_t owner; /* 1 + lease; 0: no grant begins here */
		uint32_t run;
	} grants[PORTAL_EXTENTS_MAX];
};

struct ground {
	uint8_t *base;
	uint64_t size;
	uint32_t n_extents;
	struct ground_books *books;
};

/* One client. */
struct ground_client {
	struct ground *ground;
	uint32_t lease;
	struct heap *heap;
};

#define GROUND_ORPHAN 0xffffu /* the lease of grants that outlived theirs */

/* Memory of that many extents, the first two of which nobody gets, and a wall behind it.  Aborts without memory. */
void ground_up(struct ground *g, uint32_t n_extents);
void ground_down(struct ground *g);

/* A heap of a lease, whose generation says which one after the other it is. */
void ground_enter(struct ground *g, struct ground_client *client, uint32_t lease,
		  uint32_t generation);

/* The source of a lease's extents, for who opens its heap himself. */
void ground_source(struct ground *g, struct ground_client *client, uint32_t lease,
		   struct heap_source *ret_source);

/* Recover what a dead lease had, and look again at the orphans.  `alive`: leases whose holdings count. */
void ground_recover(struct ground *g, uint32_t lease, const struct heap_leases *alive,
		    struct heap_recovered *ret_sum);

/* Extents that a lease has (GROUND_ORPHAN: the orphans). */
uint32_t ground_has(const struct ground *g, uint32_t lease);

#endif
