/* SPDX-License-Identifier: MIT */
#include "blocks.h"

#include <string.h>

#include "client/heap_recover.h"

static bool recover(const struct arena *a, uint32_t first, uint32_t n, uint32_t dead,
		    const uint64_t alive[PORTAL_LEASES / 64])
{
	struct heap_recovered sum = { 0 };
	struct heap_leases leases;

	memcpy(leases.bits, alive, sizeof(leases.bits));
	return heap_recover_grant(a->base, a->size, first, n, dead, &leases, &sum);
}

static void visit(const struct arena *a, uint32_t first, uint32_t n, uint32_t dead)
{
	struct heap_recovered sum = { 0 };

	heap_recover_visit(a->base, a->size, first, n, dead, &sum);
}

const struct leases_heap blocks_heap = { .recover = recover, .visit = visit };
