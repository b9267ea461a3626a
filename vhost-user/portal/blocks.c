/* SPDX-License-Identifier: MIT */
#include "blocks.h"

#include "base.h"
#include "client/heap_recover.h"
#include "client/ring.h"

/* As the heap's list has them, with their generations. */
struct living {
	struct heap_leases leases;
	const uint64_t *owners;
};

static bool end_lives(void *ctx, uint64_t owner)
{
	const struct living *living = ctx;

	return portal_owner_valid(owner) && living->owners[portal_owner_id(owner)] == owner;
}

/* Who has an end of a ring that lies here. */
static unsigned heir(const struct heap_leases *leases, const void *block, uint64_t size)
{
	struct living living = *container_of_const(leases, struct living, leases);
	uint64_t owner = ring_heir(block, size, end_lives, &living);

	return owner ? portal_owner_id(owner) : HEAP_NOBODY;
}

static bool recover(const struct arena *a, uint32_t first, uint32_t n, uint32_t dead,
		    const uint64_t alive[PORTAL_LEASES])
{
	struct heap_recovered sum = { 0 };
	struct living living = { .leases.heir = heir, .owners = alive };

	for (uint32_t i = 0; i < PORTAL_LEASES; i++)
		if (alive[i])
			living.leases.bits[i / 64] |= BIT_ULL(i % 64);
	return heap_recover_grant(a->base, a->size, first, n, dead, &living.leases, &sum);
}

static void visit(const struct arena *a, uint32_t first, uint32_t n, uint32_t dead)
{
	struct heap_recovered sum = { 0 };

	heap_recover_visit(a->base, a->size, first, n, dead, &sum);
}

const struct leases_heap blocks_heap = { .recover = recover, .visit = visit };
