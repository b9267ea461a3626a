/* SPDX-License-Identifier: MIT */
#include "blocks.h"

#include <string.h>

#include "client/heap_recover.h"
#include "client/ring.h"

/* As the heap's list has them, with the generations that the arena's table says: who lies there keeps what is dead, for as
 * long as the lease lives that it names. */
struct living {
	struct heap_leases leases;
	const struct portal_lease *table;
};

static bool end_lives(void *ctx, uint64_t owner)
{
	const struct living *living = ctx;
	uint32_t id = portal_owner_id(owner);

	return portal_owner_valid(owner) && living->leases.bits[id / 64] >> id % 64 & 1 &&
	       PORTAL_LEASE_OWNER(le64_load(&living->table[id].word)) == owner;
}

/* Who has an end of a ring that lies here. */
static unsigned heir(const struct heap_leases *leases, const void *block, uint64_t size)
{
	struct living living = *container_of_const(leases, struct living, leases);
	uint64_t owner = ring_heir(block, size, end_lives, &living);

	return owner ? portal_owner_id(owner) : HEAP_NOBODY;
}

static bool recover(const struct arena *a, uint32_t first, uint32_t n, uint32_t dead,
		    const uint64_t alive[PORTAL_LEASES / 64])
{
	struct heap_recovered sum = { 0 };
	struct living living = { .leases.heir = heir, .table = arena_leases(a) };

	memcpy(living.leases.bits, alive, sizeof(living.leases.bits));
	return heap_recover_grant(a->base, a->size, first, n, dead, &living.leases, &sum);
}

static void visit(const struct arena *a, uint32_t first, uint32_t n, uint32_t dead)
{
	struct heap_recovered sum = { 0 };

	heap_recover_visit(a->base, a->size, first, n, dead, &sum);
}

const struct leases_heap blocks_heap = { .recover = recover, .visit = visit };
