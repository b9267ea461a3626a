/* SPDX-License-Identifier: MIT */
/* One end of a VMBus ring, with a model of the other end: where bytes lie, who is kicked when, and words that lie. */
#include "vmbus_ring.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE 4096u

enum { WRITE_INDEX, READ_INDEX, INTERRUPT_MASK, PENDING_SEND_SZ, FEATURE_BITS = 16 };

/* Pages with gaps between them, in no order; what lies in the gaps must stay as it is. */
#define PAGES_MAX 9
static uint8_t memory[2 * PAGES_MAX + 1][PAGE] __attribute__((aligned(4096)));
static uint8_t *page[PAGES_MAX];
static unsigned n_pages;

static uint32_t *word(unsigned i)
{
	return (uint32_t *)(void *)page[0] + i;
}

static void lay(unsigned n)
{
	memset(memory, 0xee, sizeof(memory));
	n_pages = n;
	for (unsigned i = 0; i < n; i++) {
		page[i] = memory[1 + 2 * ((i * 5 + 3) % PAGES_MAX)];
		memset(page[i], 0, PAGE);
	}
}

static void check_gaps(void)
{
	for (unsigned i = 0; i < sizeof(memory) / PAGE; i += 2)
		for (unsigned k = 0; k < PAGE; k++)
			assert_int_equal(memory[i][k], 0xee);
}

static uint8_t *byte(uint32_t index)
{
	uint32_t size = (n_pages - 1) * PAGE;

	index %= size;
	return page[1 + index / PAGE] + index % PAGE;
}

static void open_ring(struct vmbus_ring *r, bool writer, uint32_t write_index, uint32_t read_index)
{
	*word(WRITE_INDEX) = write_index;
	*word(READ_INDEX) = read_index;
	assert_int_equal(vmbus_ring_open(r, writer, page, n_pages), 0);
}

static int setup(void **state)
{
	lay(4);
	return 0;
}

static int teardown(void **state)
{
	check_gaps();
	return 0;
}

/* ---- opening ------------------------------------------------------------------------------------ */

static void test_open(void **state)
{
	static const uint32_t wrong[] = { 3 * PAGE, 3 * PAGE + 8, 4, 1, UINT32_MAX, 0x80000000u };
	struct vmbus_ring r;

	assert_int_equal(vmbus_ring_open(&r, true, page, 0), -EINVAL);
	assert_int_equal(vmbus_ring_open(&r, true, page, 1), -EINVAL);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		for (unsigned which = 0; which < 2; which++) {
			*word(which) = wrong[i];
			*word(!which) = 0;
			assert_int_equal(vmbus_ring_open(&r, i % 2, page, 4), -EBADMSG);
		}
	*word(FEATURE_BITS) = 0x100;
	open_ring(&r, false, 3 * PAGE - 8, 8);
	assert_int_equal(*word(FEATURE_BITS), 0x100); /* not ours to say */
	assert_int_equal(vmbus_ring_readable(&r), 3 * PAGE - 16);
	open_ring(&r, true, 3 * PAGE - 8, 8);
	assert_int_equal(*word(FEATURE_BITS), 0x101);
	assert_int_equal(vmbus_ring_free(&r), 16);
}

/* ---- where bytes lie ---------------------------------------------------------------------------- */

/* From every index a multiple of 8, and of lengths around what a page, and the ring, have. */
static void test_places(void **state)
{
	static const uint32_t lens[] = { 1, 7, 8, 24, PAGE - 1, PAGE, PAGE + 8, 2 * PAGE + 9 };
	static uint8_t bytes[3 * PAGE], again[3 * PAGE];
	struct iovec iov[VMBUS_RING_PIECES(3 * PAGE)];
	struct vmbus_ring r;

	for (uint32_t index = 0; index < 3 * PAGE; index += 8) {
		uint32_t len = lens[index / 8 % 8], at = index / 8 % 5 * 8;
		unsigned n;
		size_t sum = 0;

		open_ring(&r, true, index, index);
		n = vmbus_ring_pieces(&r, at, len, iov);
		assert_in_range(n, 1, VMBUS_RING_PIECES(len));
		for (unsigned i = 0; i < n; i++) {
			assert_ptr_equal(iov[i].iov_base, byte((uint32_t)(index + at + sum)));
			sum += iov[i].iov_len;
		}
		assert_int_equal(sum, len);
		assert_int_equal(vmbus_ring_index(&r, at), (index + at) % (3 * PAGE));
		if (len > PAGE)
			continue;
		for (uint32_t i = 0; i < len; i++)
			bytes[i] = (uint8_t)(index / 8 + i);
		vmbus_ring_put(&r, at, bytes, len);
		for (uint32_t i = 0; i < len; i++)
			assert_int_equal(*byte(index + at + i), bytes[i]);
		vmbus_ring_get(&r, at, again, len);
		assert_memory_equal(again, bytes, len);
	}
}

/* The whole ring, from anywhere; neighbours are one piece. */
static void test_whole(void **state)
{
	static uint8_t flat[4 * PAGE] __attribute__((aligned(4096)));
	struct iovec iov[VMBUS_RING_PIECES(3 * PAGE)];
	struct vmbus_ring r;

	for (unsigned i = 0; i < 4; i++)
		page[i] = flat + i * PAGE;
	memset(flat, 0, sizeof(flat));
	open_ring(&r, true, 0, 0);
	assert_int_equal(vmbus_ring_pieces(&r, 0, 3 * PAGE, iov), 1);
	assert_int_equal(iov[0].iov_len, 3 * PAGE);
	open_ring(&r, true, 40, 40);
	assert_int_equal(vmbus_ring_pieces(&r, 0, 3 * PAGE, iov), 2);
	assert_ptr_equal(iov[0].iov_base, flat + PAGE + 40);
	assert_int_equal(iov[0].iov_len, 3 * PAGE - 40);
	assert_ptr_equal(iov[1].iov_base, flat + PAGE);
	assert_int_equal(iov[1].iov_len, 40);
	assert_int_equal(vmbus_ring_pieces(&r, 0, 0, iov), 0);
}

/* ---- reading ------------------------------------------------------------------------------------ */

static void test_reading(void **state)
{
	struct vmbus_ring r;

	open_ring(&r, false, 0, 0);
	assert_int_equal(vmbus_ring_readable(&r), 0);
	*word(WRITE_INDEX) = 64;
	assert_int_equal(vmbus_ring_readable(&r), 64);
	assert_false(vmbus_ring_consume(&r, 40));
	assert_int_equal(*word(READ_INDEX), 40);
	assert_int_equal(vmbus_ring_readable(&r), 24);
	assert_false(vmbus_ring_consume(&r, 24));
	assert_int_equal(vmbus_ring_readable(&r), 0);
	*word(WRITE_INDEX) = 56; /* all but 8 */
	assert_int_equal(vmbus_ring_readable(&r), 3 * PAGE - 8);
	assert_false(vmbus_ring_consume(&r, 3 * PAGE - 8));
	assert_int_equal(*word(READ_INDEX), 56); /* round */
}

/* What is skipped is read as any other, and the writer hears nothing of it. */
static void test_skip(void **state)
{
	struct vmbus_ring r;

	open_ring(&r, false, 64, 3 * PAGE - 16);
	*word(PENDING_SEND_SZ) = 3 * PAGE - 64;
	assert_int_equal(vmbus_ring_readable(&r), 80);
	vmbus_ring_skip(&r, 56);
	assert_int_equal(*word(READ_INDEX), 3 * PAGE - 16);
	assert_int_equal(vmbus_ring_readable(&r), 24);
	assert_int_equal(vmbus_ring_index(&r, 0), 40); /* round */
}

/* What the other end writes into our index is of no interest. */
static void test_our_index_is_ours(void **state)
{
	struct vmbus_ring r;

	open_ring(&r, false, 64, 0);
	*word(READ_INDEX) = 12345;
	assert_int_equal(vmbus_ring_readable(&r), 64);
	(void)vmbus_ring_consume(&r, 8);
	assert_int_equal(*word(READ_INDEX), 8);
	open_ring(&r, true, 64, 0);
	*word(WRITE_INDEX) = 99;
	assert_int_equal(vmbus_ring_free(&r), 3 * PAGE - 64);
	(void)vmbus_ring_publish(&r, 8);
	assert_int_equal(*word(WRITE_INDEX), 72);
}

static void test_wrong_indices(void **state)
{
	static const uint32_t wrong[] = { 3 * PAGE, 4, 65, UINT32_MAX - 7, 0xfffffff8u };
	struct vmbus_ring r;

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		open_ring(&r, false, 8, 0);
		*word(WRITE_INDEX) = wrong[i];
		assert_int_equal(vmbus_ring_readable(&r), -EBADMSG);
		*word(PENDING_SEND_SZ) = 8;
		assert_false(vmbus_ring_consume(&r, 8));
		*word(PENDING_SEND_SZ) = 0;
		open_ring(&r, true, 0, 0);
		*word(READ_INDEX) = wrong[i];
		assert_int_equal(vmbus_ring_free(&r), -EBADMSG);
		(void)vmbus_ring_publish(&r, 8);
	}
}

/* free before <= wanted < free after, and at no other time: for all of them. */
static void test_kick_for_space(void **state)
{
	const uint32_t size = 3 * PAGE;
	struct vmbus_ring r;

	for (uint32_t used = 8; used <= size - 8; used += 56)
		for (uint32_t len = 8; len <= used; len += 328)
			for (uint32_t pending = 0; pending <= size; pending += 504) {
				uint32_t before = size - used, after = before + len;
				bool expected = pending > 0 && before <= pending && pending < after;

				open_ring(&r, false, (size - 16 + used) % size, size - 16);
				*word(PENDING_SEND_SZ) = pending;
				assert_int_equal(vmbus_ring_consume(&r, len), expected);
			}
}

/* The very edges of that. */
static void test_kick_for_space_exactly(void **state)
{
	struct vmbus_ring r;

	for (uint32_t pending = 992; pending <= 1024; pending++) {
		open_ring(&r, false, 0, 1000); /* 1000 free */
		*word(PENDING_SEND_SZ) = pending;
		*word(INTERRUPT_MASK) = 1; /* of no interest here */
		assert_int_equal(vmbus_ring_consume(&r, 16), pending >= 1000 && pending < 1016);
	}
	*word(INTERRUPT_MASK) = 0;
	/* A writer that filled the ring meanwhile does not wait; one that looks again sees the space itself. */
	open_ring(&r, false, 0, 1000);
	*word(PENDING_SEND_SZ) = 1008;
	*word(WRITE_INDEX) = 8;                   /* 8 more */
	assert_false(vmbus_ring_consume(&r, 16)); /* 1008 free: not more than that */
	assert_true(vmbus_ring_consume(&r, 8));
	/* All of it free: not none. */
	open_ring(&r, false, 2000, 1992);
	*word(PENDING_SEND_SZ) = 3 * PAGE - 1;
	assert_true(vmbus_ring_consume(&r, 8));
}

static void test_mask(void **state)
{
	struct vmbus_ring r;

	open_ring(&r, false, 0, 0);
	vmbus_ring_mask(&r, true);
	assert_int_equal(*word(INTERRUPT_MASK), 1);
	vmbus_ring_mask(&r, false);
	assert_int_equal(*word(INTERRUPT_MASK), 0);
}

/* ---- writing ------------------------------------------------------------------------------------ */

static void test_writing(void **state)
{
	struct vmbus_ring r;

	open_ring(&r, true, 3 * PAGE - 16, 3 * PAGE - 16);
	assert_int_equal(vmbus_ring_free(&r), 3 * PAGE);
	assert_true(vmbus_ring_publish(&r, 64)); /* it was empty */
	assert_int_equal(*word(WRITE_INDEX), 48);
	assert_int_equal(vmbus_ring_free(&r), 3 * PAGE - 64);
	assert_false(vmbus_ring_publish(&r, 8)); /* it was not */
	*word(READ_INDEX) = 56;
	*word(INTERRUPT_MASK) = 1;
	assert_false(vmbus_ring_publish(&r, 8)); /* it was, and the reader looks by itself */
	*word(READ_INDEX) = 64;
	*word(INTERRUPT_MASK) = 0;
	assert_true(vmbus_ring_publish(&r, 8));
	vmbus_ring_want(&r, 777);
	assert_int_equal(*word(PENDING_SEND_SZ), 777);
	vmbus_ring_want(&r, 0);
	assert_int_equal(*word(PENDING_SEND_SZ), 0);
}

/* Both ends, over the same pages, with pieces of all sizes: what goes in comes out. */
static void test_round_and_round(void **state)
{
	struct vmbus_ring w, r;
	uint32_t random = 1;
	uint8_t in = 0, out = 0, bytes[PAGE];

	lay(3);
	open_ring(&w, true, 8, 8);
	assert_int_equal(vmbus_ring_open(&r, false, page, n_pages), 0);
	for (unsigned turn = 0; turn < 20000; turn++) {
		uint32_t len;
		int n;

		random = random * 1664525 + 1013904223;
		len = (random >> 16) % (PAGE + 1) & ~7u;
		if (random & 0x8000) {
			n = vmbus_ring_free(&w);
			if (n <= (int)len)
				continue;
			for (uint32_t i = 0; i < len; i++)
				bytes[i] = in++;
			vmbus_ring_put(&w, 0, bytes, len);
			(void)vmbus_ring_publish(&w, len);
		} else {
			n = vmbus_ring_readable(&r);
			len = len < (uint32_t)n ? len : (uint32_t)n;
			vmbus_ring_get(&r, 0, bytes, len);
			for (uint32_t i = 0; i < len; i++)
				assert_int_equal(bytes[i], out++);
			(void)vmbus_ring_consume(&r, len);
		}
	}
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_open),
		TEST(test_places),
		TEST(test_whole),
		TEST(test_reading),
		TEST(test_skip),
		TEST(test_our_index_is_ours),
		TEST(test_wrong_indices),
		TEST(test_kick_for_space),
		TEST(test_kick_for_space_exactly),
		TEST(test_mask),
		TEST(test_writing),
		TEST(test_round_and_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
