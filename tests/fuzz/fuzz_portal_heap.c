/* SPDX-License-Identifier: MIT */
/* A heap's segment of arbitrary content: what a client resolves, takes and frees there, and what the daemon recovers.
 *
 * The input lies over the head and the first words of an extent, the rest of which is zeros; a byte says how many
 * extents the arena has. Whatever comes out is a place inside the arena, of a size that fits; the extents around it
 * keep what they had.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "checked.h"
#include "heap.h"
#include "heap_layout.h"
#include "heap_recover.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

#define EXTENTS_MAX 5u
#define WORDS_OF_A \
	8192u /* bytes of the input that matter: the head, and the words of the first slots */

static uint8_t *base;

static int no_extents(void *ctx, unsigned kind, uint32_t n, uint32_t *ret_first)
{
	return -ENOSPC;
}

static int keep(void *ctx, uint32_t first, uint32_t n)
{
	return -EPERM;
}

static void check_block(const uint8_t *block, uint64_t len, uint64_t arena)
{
	CHECK(block >= base + 2 * PORTAL_EXTENT &&
	      range_within((uint64_t)(block - base), len, arena));
}

/* Every place where a block may begin, with the tag its word has now. */
static void visit(struct heap *heap, uint64_t arena)
{
	for (uint64_t at = 2 * PORTAL_EXTENT; at < 3 * (uint64_t)PORTAL_EXTENT;
	     at += at % 8192 < 2048 ? HEAP_UNIT : 2048) {
		uint64_t handle = heap_handle(heap, base + at);
		uint8_t *block;

		if (!handle)
			continue;
		block = heap_resolve(heap, handle, 1);
		CHECK(block == base + at);
		for (uint64_t len = 64; heap_resolve(heap, handle, len); len *= 2)
			check_block(block, len, arena);
		if (at % 128 == 0)
			continue;
		CHECK(heap_take(heap, handle, 1) == block);
		CHECK(heap_usable(heap, block) > 0);
		check_block(block, heap_usable(heap, block), arena);
		CHECK(heap_free(heap, block) == 0);
		CHECK(heap_free(heap, block) == -ENOENT);
		CHECK(!heap_resolve(heap, handle, 0));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct heap_leases some = { { 0xf0f0f0f0f0f0f0f0 } };
	struct heap_options options = { .owner = portal_owner(4, 1),
					.source = { no_extents, keep, NULL } };
	struct heap_recovered sum = { 0 };
	struct heap *heap;

	if (size < 1 || size > WORDS_OF_A)
		return 0;
	if (!base)
		base = aligned_alloc(PORTAL_PAGE, EXTENTS_MAX * (size_t)PORTAL_EXTENT);
	CHECK(base);
	memset(base + 2 * PORTAL_EXTENT, 0, HEAP_FINE_FIRST * HEAP_SLOT);
	memset(base + 3 * PORTAL_EXTENT, 0x31, PORTAL_PAGE);
	memcpy(base + 2 * PORTAL_EXTENT, data + 1, size - 1);
	options.base = base;
	options.size = (3 + data[0] % 3) * (uint64_t)PORTAL_EXTENT;
	CHECK(heap_open(&options, &heap) == 0);
	visit(heap, options.size);
	heap_recover_visit(base, options.size, 2, 1, data[0] / 3, &sum);
	visit(heap, options.size);
	(void)heap_recover_grant(base, options.size, 2, 1, 4, &some, &sum);
	visit(heap, options.size);
	heap_close(heap);
	for (unsigned i = 0; i < PORTAL_PAGE; i++)
		CHECK(base[3 * PORTAL_EXTENT + i] == 0x31);
	return 0;
}
