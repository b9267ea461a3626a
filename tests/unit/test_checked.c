/* SPDX-License-Identifier: MIT */
/* Arithmetic on foreign numbers, at its edges. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base.h"
#include "checked.h"
#include "le.h"

static void test_range_within(void **state)
{
	assert_true(range_within(0, 0, 0));
	assert_true(range_within(0, 10, 10));
	assert_true(range_within(10, 0, 10));
	assert_true(range_within(9, 1, 10));
	assert_false(range_within(9, 2, 10));
	assert_false(range_within(11, 0, 10));
	assert_false(range_within(UINT64_MAX, 2, 10)); /* off + len wraps to 1 */
	assert_false(range_within(2, UINT64_MAX, 10));
	assert_true(range_within(0, UINT64_MAX, UINT64_MAX));
}

static void test_range_fits(void **state)
{
	assert_true(range_fits(UINT64_MAX, 0));
	assert_true(range_fits(UINT64_MAX, 1));
	assert_false(range_fits(UINT64_MAX, 2));
	assert_true(range_fits(0, UINT64_MAX));
	assert_false(range_fits(2, UINT64_MAX));
}

static void test_range_overlaps(void **state)
{
	assert_true(range_overlaps(0, 10, 9, 1));
	assert_true(range_overlaps(9, 1, 0, 10));
	assert_false(range_overlaps(0, 10, 10, 1));
	assert_false(range_overlaps(10, 1, 0, 10));
	assert_false(range_overlaps(5, 0, 0, 10));
	assert_true(range_overlaps(UINT64_MAX, 1, UINT64_MAX - 1, 2));
}

static void test_sums(void **state)
{
	uint64_t value = 7;

	assert_false(add_u64(UINT64_MAX, 1, &value));
	assert_false(mul_u64(1ULL << 32, 1ULL << 32, &value));
	assert_false(align_up_u64(UINT64_MAX, 4096, &value));
	assert_int_equal(value, 7); /* untouched on failure */
	assert_true(add_u64(UINT64_MAX - 1, 1, &value));
	assert_true(value == UINT64_MAX);
	assert_true(align_up_u64(4097, 4096, &value));
	assert_int_equal(value, 8192);
	assert_true(align_up_u64(8192, 4096, &value));
	assert_int_equal(value, 8192);
	assert_true(is_power_of_two(1) && is_power_of_two(1ULL << 63));
	assert_false(is_power_of_two(0) || is_power_of_two(3));
}

static void test_little_endian(void **state)
{
	const union {
		uint8_t byte[8];
		le16_t le16;
		le32_t le32;
		le64_t le64;
	} image = { { 1, 2, 3, 4, 5, 6, 7, 8 } };
	le32_t word;

	assert_int_equal(le16_get(image.le16), 0x0201);
	assert_int_equal(le32_load(&image.le32), 0x04030201);
	assert_true(le64_load_acquire(&image.le64) == 0x0807060504030201);
	le32_store_release(&word, 0x04030201);
	assert_memory_equal(&word, image.byte, 4);
	assert_int_equal(le16_get(le16_of(0xbeef)), 0xbeef);
}

static void test_base(void **state)
{
	struct outer {
		int before;
		struct inner {
			int value;
		} inner;
	} outer;
	int calls = 0;

	assert_ptr_equal(container_of(&outer.inner, struct outer, inner), &outer);
	assert_int_equal(min(++calls, 5), 1);
	assert_int_equal(max(calls++, 0), 1);
	assert_int_equal(calls, 2);
	assert_int_equal(array_size("abc"), 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_range_within),   cmocka_unit_test(test_range_fits),
		cmocka_unit_test(test_range_overlaps), cmocka_unit_test(test_sums),
		cmocka_unit_test(test_little_endian),  cmocka_unit_test(test_base),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
