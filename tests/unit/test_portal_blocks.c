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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_quota_counts_segments),       TEST(test_close_gives_back),
		TEST(test_blocks_die_with_their_owner), TEST(test_taken_blocks_outlive_their_owner),
		TEST(test_held_blocks_go_back),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("portal_blocks", tests, NULL, NULL);
}
