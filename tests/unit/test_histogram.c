/* SPDX-License-Identifier: MIT */
/* Each value is in the bucket whose limit is the first not below it. */
#include "histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void test_limits(void **state)
{
	assert_int_equal(histogram_bucket(0), 0);
	assert_int_equal(histogram_bucket(1), 0);
	for (unsigned i = 1; i < HISTOGRAM_BUCKETS - 1; i++) {
		assert_int_equal(histogram_bucket(histogram_limit(i) - 1), i == 1 ? 0 : i);
		assert_int_equal(histogram_bucket(histogram_limit(i)), i);
		assert_int_equal(histogram_bucket(histogram_limit(i) + 1), i + 1);
	}
	assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void test_adds(void **state)
{
	struct histogram h = { 0 };

	assert_int_equal(histogram_count(&h), 0);
	for (uint64_t v = 1; v <= 64; v++)
		histogram_add(&h, v);
	assert_int_equal(histogram_count(&h), 64);
	assert_int_equal(h.sum, 64 * 65 / 2);
	assert_int_equal(h.bucket[0], 1);
	for (unsigned i = 1; i <= 6; i++)
		assert_int_equal(h.bucket[i], 1u << (i - 1));
	histogram_add(&h, UINT64_MAX / 2);
	assert_int_equal(h.bucket[HISTOGRAM_BUCKETS - 1], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_adds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
