/* SPDX-License-Identifier: MIT */
#include "ground.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static void *shared(uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

void ground_up(struct ground *g, uint32_t n_extents)
{
	CHECK(n_extents > 2 && n_extents <= PORTAL_EXTENTS_MAX);
	g->n_extents = n_extents;
	g->size = (uint64_t)n_extents * PORTAL_EXTENT;
	g->base = shared(g->size + PORTAL_PAGE);
	CHECK(mprotect(g->base + g->size, PORTAL_PAGE, PROT_NONE) == 0);
	g->books = shared(sizeof(*g->books));
}

void ground_down(struct ground *g)
{
	munmap(g->base, g->size + PORTAL_PAGE);
	munmap(g->books, sizeof(*g->books));
}

/* ---- the books ------------------------------------------------------------- */

static void lock(struct ground_books *books)
{
	uint32_t nobody = 0;

	while (!__atomic_compare_exchange_n(&books->lock, &nobody, (uint32_t)getpid(), false,
					    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
		nobody = 0;
		sched_yield();
	}
}

static void unlock(struct ground_books *books)
{
	__atomic_store_n(&books->lock, 0, __ATOMIC_RELEASE);
}

static uint32_t owner_of(const struct ground *g, uint32_t extent)
{
	return __atomic_load_n(&g->books->grants[extent].owner, __ATOMIC_ACQUIRE);
}

/* The length of the free run at `extent`, as far as it matters. */
static uint32_t free_run(const struct ground *g, uint32_t extent, uint32_t want)
{
	uint32_t n = 0;

	while (n < want && extent + n < g->n_extents && !owner_of(g, extent + n))
		n++;
	return n;
}

static int find(const struct ground *g, uint32_t n, uint32_t *ret_first)
{
	for (uint32_t e = 2; e < g->n_extents;) {
		uint32_t run = free_run(g, e, n);

		if (run == n) {
			*ret_first = e;
			return 0;
		}
		e += run;
		if (e < g->n_extents)
			e += g->books->grants[e].run;
	}
	return -ENOSPC;
}

uint32_t ground_has(const struct ground *g, uint32_t lease)
{
	uint32_t n = 0;

	for (uint32_t e = 2; e < g->n_extents; e++)
		if (owner_of(g, e) == lease + 1)
			n += g->books->grants[e].run;
	return n;
}

static int get(void *ctx, unsigned kind, uint32_t n, uint32_t *ret_first)
{
	struct ground_client *client = ctx;
	struct ground *g = client->ground;
	int error;

	lock(g->books);
	error = find(g, n, ret_first);
	if (g->books->quota && ground_has(g, client->lease) + n > g->books->quota)
		error = -EDQUOT;
	if (!error) {
		g->books->gets++;
		g->books->grants[*ret_first].run = n;
		__atomic_store_n(&g->books->grants[*ret_first].owner, client->lease + 1,
				 __ATOMIC_RELEASE);
	}
	unlock(g->books);
	return error;
}

static int put(void *ctx, uint32_t first, uint32_t n)
{
	struct ground_client *client = ctx;
	struct ground *g = client->ground;
	int error = -EPERM;

	lock(g->books);
	if (owner_of(g, first) == client->lease + 1 && g->books->grants[first].run == n) {
		g->books->puts++;
		__atomic_store_n(&g->books->grants[first].owner, 0, __ATOMIC_RELEASE);
		error = 0;
	}
	unlock(g->books);
	return error;
}

/* ---- clients ------------------------------------------------------------------ */

void ground_source(struct ground *g, struct ground_client *client, uint32_t lease,
		   struct heap_source *ret_source)
{
	client->ground = g;
	client->lease = lease;
	*ret_source = (struct heap_source){ .get = get, .put = put, .ctx = client };
}

void ground_enter(struct ground *g, struct ground_client *client, uint32_t lease,
		  uint32_t generation)
{
	struct heap_options options = {
		.base = g->base,
		.size = g->size,
		.owner = portal_owner(lease, generation),
	};

	ground_source(g, client, lease, &options.source);
	CHECK(heap_open(&options, &client->heap) == 0);
}

static void recover_one(struct ground *g, uint32_t extent, uint32_t lease,
			const struct heap_leases *alive, struct heap_recovered *sum)
{
	uint32_t owner = owner_of(g, extent) - 1, run = g->books->grants[extent].run;

	if (owner != lease)
		heap_recover_visit(g->base, g->size, extent, run, lease, sum);
	if (owner != lease && owner != GROUND_ORPHAN)
		return;
	owner = heap_recover_grant(g->base, g->size, extent, run, owner, alive, sum) ?
			0 :
			GROUND_ORPHAN + 1;
	__atomic_store_n(&g->books->grants[extent].owner, owner, __ATOMIC_RELEASE);
}

void ground_recover(struct ground *g, uint32_t lease, const struct heap_leases *alive,
		    struct heap_recovered *ret_sum)
{
	struct heap_recovered sum = { 0 };

	__atomic_store_n(&g->books->lock, 0, __ATOMIC_RELEASE); /* it may have died with it */
	for (uint32_t e = 2; e < g->n_extents; e++)
		if (owner_of(g, e))
			recover_one(g, e, lease, alive, &sum);
	*ret_sum = sum;
}
