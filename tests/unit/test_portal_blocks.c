/* SPDX-License-Identifier: MIT */
/* Blocks under real leases: two clients allocate from extents that the daemon grants, and one of them hangs up. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "blocks.h"
#include "client/heap.h"
#include "client/ring.h"
#include "portal_fixture.h"

struct holder {
	struct pf_client client;
	struct heap *heap;
};

static struct pf pf;
static struct holder a, b;
static uint32_t all_free;

static uint32_t free_extents(void)
{
	return le32_load(&arena_live(&pf.arena)->extents_free);
}

static int get(void *ctx, unsigned kind, uint32_t n, uint32_t *ret_first)
{
	return pf_get(ctx, n, kind, ret_first);
}

static int put(void *ctx, uint32_t first, uint32_t n)
{
	return pf_put(ctx, first, n);
}

static void enter(struct holder *h, const char *client)
{
	struct heap_options options = { .base = pf.arena.base,
					.size = pf.arena.size,
					.source = { get, put, &h->client } };

	pf_hello(&pf, &h->client, client, client);
	options.owner = h->client.owner;
	assert_int_equal(heap_open(&options, &h->heap), 0);
}

static int set_up(void **state)
{
	pf_init(&pf);
	pf.config.heap = &blocks_heap;
	pf_start(&pf);
	all_free = free_extents();
	enter(&a, "a");
	enter(&b, "b");
	return 0;
}

static int tear_down(void **state)
{
	pf_hang_up(&a.client);
	pf_hang_up(&b.client);
	pf_done(&pf);
	return 0;
}

static bool is_free(struct pf *p, void *arg)
{
	const uint64_t *owner = arg;
	uint64_t word = le64_load(&arena_leases(&pf.arena)[portal_owner_id(*owner)].word);

	return PORTAL_LEASE_STATE(word) == PORTAL_LEASE_FREE;
}

static bool has_free(struct pf *p, void *arg)
{
	return free_extents() == *(uint32_t *)arg;
}

/* As when the process ends: nothing is given back in order. */
static void die(struct holder *h)
{
	pf_hang_up(&h->client);
	assert_true(pf_run(&pf, is_free, &h->client.owner, PF_PATIENCE_MS));
}

static void test_quota_counts_segments(void **state)
{
	assert_null(heap_alloc(a.heap, 9 * PORTAL_EXTENT));
	assert_int_equal(errno, EDQUOT);
	assert_non_null(heap_alloc(a.heap, 100));
	assert_int_equal(free_extents(), all_free - 1);
	heap_close(a.heap);
	heap_close(b.heap);
}

static void test_close_gives_back(void **state)
{
	assert_int_equal(heap_free(a.heap, heap_alloc(a.heap, 100)), 0);
	assert_int_equal(heap_free(a.heap, heap_alloc(a.heap, 3 * PORTAL_EXTENT)), 0);
	heap_close(a.heap);
	heap_close(b.heap);
	assert_int_equal(free_extents(), all_free);
}

static void test_blocks_die_with_their_owner(void **state)
{
	void *block = heap_alloc(a.heap, 100);
	uint64_t handle = heap_handle(a.heap, block);

	assert_ptr_equal(heap_resolve(b.heap, handle, 100), block);
	die(&a);
	assert_null(heap_resolve(b.heap, handle, 100));
	assert_int_equal(errno, ESTALE);
	assert_int_equal(free_extents(), all_free);
	heap_close(a.heap);
	heap_close(b.heap);
}

/* What b took outlives a; its extents are nobody's, and come back when b has freed it. */
static void test_taken_blocks_outlive_their_owner(void **state)
{
	char *block = heap_alloc(a.heap, 100), *huge = heap_alloc(a.heap, 2 * PORTAL_EXTENT);

	strcpy(block, "a was here");
	assert_ptr_equal(heap_take(b.heap, heap_handle(a.heap, block), 100), block);
	assert_ptr_equal(heap_take(b.heap, heap_handle(a.heap, huge), 100), huge);
	die(&a);
	assert_int_equal(free_extents(), all_free - 4);
	assert_string_equal(block, "a was here");
	assert_int_equal(pf.leases.stats.orphans, 2);
	assert_int_equal(heap_free(b.heap, block), 0);
	assert_int_equal(heap_free(b.heap, huge), 0);
	assert_true(pf_run(&pf, has_free, &all_free, PF_PATIENCE_MS));
	heap_close(b.heap);
	heap_close(a.heap);
}

/* What b took and did not free goes back to a, who goes on. */
static void test_held_blocks_go_back(void **state)
{
	void *blocks[500];

	for (unsigned i = 0; i < array_size(blocks); i++) {
		blocks[i] = heap_alloc(a.heap, 1000);
		assert_non_null(heap_take(b.heap, heap_handle(a.heap, blocks[i]), 1000));
	}
	assert_int_equal(heap_free(a.heap, blocks[0]), -EPERM);
	die(&b);
	assert_int_equal(heap_free(a.heap, blocks[0]), -ENOENT);
	heap_collect(a.heap);
	assert_int_equal(free_extents(), all_free);
	heap_close(a.heap);
	heap_close(b.heap);
}

static bool is_alive(void *ctx, uint64_t owner)
{
	return le64_load(&arena_leases(&pf.arena)[portal_owner_id(owner)].word) ==
	       PORTAL_LEASE_WORD(owner, PORTAL_LEASE_LIVE);
}

static struct portal_ring *end_of(const struct holder *h, void *mem, uint64_t len,
				  enum portal_role role)
{
	static const struct ring_ops ops = { .alive = is_alive };
	const struct ring_env env = { .self = h->client.owner, .ops = &ops };
	struct portal_ring *ring = NULL;

	assert_int_equal(ring_open(mem, len, role, &env, &ring), 0);
	return ring;
}

/* A ring of a's making, by which a has sent one record to b. */
static void *ring_of_a(uint64_t size, struct portal_ring **ret_a, struct portal_ring **ret_b)
{
	const struct portal_ring_options options = { .size = size };
	struct ring_geometry geo;
	uint64_t total;
	void *mem;

	assert_int_equal(ring_plan(&options, &geo), 0);
	total = ring_total(geo.lanes, geo.size);
	mem = heap_alloc(a.heap, total);
	assert_non_null(mem);
	ring_format(mem, &geo);
	*ret_a = end_of(&a, mem, total, PORTAL_PRODUCER);
	*ret_b = end_of(&b, mem, total, PORTAL_CONSUMER);
	assert_int_equal(portal_send(*ret_a, "a was here", 11, 7), 0);
	return mem;
}

/* b never took the ring's block, but has an end of it: it inherits the block with what a committed, and gives it back. */
static void inherit(uint64_t size, uint32_t extents)
{
	struct portal_ring *to, *from;
	char record[16] = "";
	void *mem = ring_of_a(size, &to, &from);

	die(&a);
	assert_int_equal(free_extents(), all_free - extents);
	assert_non_null(heap_alloc(b.heap, 64));
	assert_int_equal(portal_recv(from, record, sizeof(record), NULL), 11);
	assert_string_equal(record, "a was here");
	assert_int_equal(portal_recv(from, record, sizeof(record), NULL), -EPIPE);
	ring_close(from);
	ring_close(to);
	assert_int_equal(heap_free(b.heap, mem), 0);
	all_free--; /* b's own segment */
	assert_true(pf_run(&pf, has_free, &all_free, PF_PATIENCE_MS));
	heap_close(b.heap);
	heap_close(a.heap);
}

static void test_rings_outlive_their_maker(void **state)
{
	inherit(16384, 1);
}

static void test_huge_rings_outlive_their_maker(void **state)
{
	inherit(2 * PORTAL_EXTENT, 3);
}

/* The last one with an end dies, too, without a word. */
static void test_rings_die_with_their_last_end(void **state)
{
	struct portal_ring *to, *from;

	(void)ring_of_a(16384, &to, &from);
	die(&a);
	assert_int_equal(free_extents(), all_free - 1);
	die(&b);
	assert_true(pf_run(&pf, has_free, &all_free, PF_PATIENCE_MS));
	ring_close(from);
	ring_close(to);
	heap_close(b.heap);
	heap_close(a.heap);
}

/* An end that names a lease of long ago, under whose id another client lives, keeps nothing. */
static void test_ends_of_former_leases_inherit_nothing(void **state)
{
	struct portal_ring *to, *from;
	uint8_t *mem = ring_of_a(16384, &to, &from);
	struct ring_end *end = (struct ring_end *)(void *)(mem + RING_PAGE);

	le64_store(&end->owner, portal_owner(portal_owner_id(b.client.owner),
					     portal_owner_generation(b.client.owner) + 1));
	die(&a);
	assert_int_equal(free_extents(), all_free);
	ring_close(from);
	ring_close(to);
	heap_close(b.heap);
	heap_close(a.heap);
}

/* What the table in the arena says of who lives is what a peer may have written there. */
static void write_lease(const struct holder *h, uint64_t owner, enum portal_lease_state state)
{
	le64_store(&arena_leases(&pf.arena)[portal_owner_id(h->client.owner)].word,
		   PORTAL_LEASE_WORD(owner, state));
}

static void test_a_forged_table_keeps_nothing(void **state)
{
	struct portal_ring *to, *from;
	uint8_t *mem = ring_of_a(16384, &to, &from);
	struct ring_end *end = (struct ring_end *)(void *)(mem + RING_PAGE);
	uint64_t forged = portal_owner(portal_owner_id(b.client.owner), 4711);

	le64_store(&end->owner, forged);
	write_lease(&b, forged, PORTAL_LEASE_LIVE);
	die(&a);
	assert_int_equal(free_extents(), all_free);
	ring_close(from);
	ring_close(to);
	heap_close(b.heap);
	heap_close(a.heap);
}

static void test_a_forged_table_takes_nothing(void **state)
{
	struct portal_ring *to, *from;

	(void)ring_of_a(16384, &to, &from);
	write_lease(&b, 0, PORTAL_LEASE_FREE);
	die(&a);
	assert_int_equal(free_extents(), all_free - 1);
	ring_close(from);
	ring_close(to);
	heap_close(b.heap);
	heap_close(a.heap);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_quota_counts_segments),
		TEST(test_close_gives_back),
		TEST(test_blocks_die_with_their_owner),
		TEST(test_taken_blocks_outlive_their_owner),
		TEST(test_held_blocks_go_back),
		TEST(test_rings_outlive_their_maker),
		TEST(test_huge_rings_outlive_their_maker),
		TEST(test_rings_die_with_their_last_end),
		TEST(test_ends_of_former_leases_inherit_nothing),
		TEST(test_a_forged_table_keeps_nothing),
		TEST(test_a_forged_table_takes_nothing),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("portal_blocks", tests, NULL, NULL);
}
