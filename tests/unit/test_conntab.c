/* SPDX-License-Identifier: MIT */
/* The table of connections: ten thousand are found as quickly as one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "conntab.h"

#define N 10000

static struct conntab_node node[N];

static void test_ten_thousand(void **state)
{
	struct conntab t;
	unsigned longest = 0;

	assert_int_equal(conntab_init(&t, 42), 0);
	for (uint32_t i = 0; i < N; i++) {
		/* As they come: one far port, ports in a row. */
		node[i] = (struct conntab_node){ .guest_port = 1024 + i, .port = 50000, .cid = 2 };
		assert_int_equal(conntab_add(&t, &node[i]), 0);
	}
	assert_int_equal(t.n, N);
	for (uint32_t i = 0; i <= t.mask; i++) {
		unsigned n = 0;

		for (struct conntab_node *k = t.bucket[i]; k; k = k->next)
			n++;
		longest = max(longest, n);
	}
	assert_in_range(longest, 1, 12);
	for (uint32_t i = 0; i < N; i++)
		assert_ptr_equal(conntab_find(&t, 1024 + i, 50000, 2), &node[i]);
	for (uint32_t i = 0; i < N; i += 2)
		conntab_remove(&t, &node[i]);
	for (uint32_t i = 0; i < N; i++)
		assert_ptr_equal(conntab_find(&t, 1024 + i, 50000, 2), i % 2 ? &node[i] : NULL);
	conntab_done(&t);
}

static void test_address_is_all_three(void **state)
{
	struct conntab t;
	struct conntab_node a = { .guest_port = 1, .port = 2, .cid = 3 }, b = a,
			    c = { .guest_port = 2, .port = 1, .cid = 3 },
			    d = { .guest_port = 1, .port = 2, .cid = 4 };

	assert_int_equal(conntab_init(&t, 1), 0);
	assert_int_equal(conntab_add(&t, &a), 0);
	assert_int_equal(conntab_add(&t, &b), -EEXIST);
	assert_int_equal(conntab_add(&t, &c), 0);
	assert_int_equal(conntab_add(&t, &d), 0);
	assert_ptr_equal(conntab_find(&t, 1, 2, 3), &a);
	assert_ptr_equal(conntab_find(&t, 2, 1, 3), &c);
	assert_ptr_equal(conntab_find(&t, 1, 2, 4), &d);
	assert_null(conntab_find(&t, 1, 1, 3));
	conntab_remove(&t, &b); /* was never in */
	conntab_remove(&t, &a);
	conntab_remove(&t, &a);
	assert_null(conntab_find(&t, 1, 2, 3));
	assert_int_equal(t.n, 2);
	conntab_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ten_thousand),
		cmocka_unit_test(test_address_is_all_three),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
