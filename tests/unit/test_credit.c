/* SPDX-License-Identifier: MIT */
/* The arithmetic of credit, and that two of it, back to back, neither overrun nor stand still. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base.h"
#include "credit.h"

#define SIZE 1000u

static void test_receive_up_to_the_limit(void **state)
{
	struct credit c;

	credit_init(&c, SIZE);
	assert_true(credit_receive(&c, SIZE));
	assert_int_equal(credit_held(&c), SIZE);
	assert_false(credit_receive(&c, 1));
	assert_int_equal(credit_held(&c), SIZE); /* an overrun counts for nothing */
	credit_forward(&c, 10);
	assert_false(credit_receive(&c, 11));
	assert_true(credit_receive(&c, 10));
	assert_false(credit_receive(&c, UINT32_MAX));
}

static void test_due_at_half(void **state)
{
	struct credit c;

	credit_init(&c, SIZE);
	assert_true(credit_receive(&c, SIZE));
	credit_forward(&c, SIZE / 2 - 1);
	assert_false(credit_due(&c));
	credit_forward(&c, 1);
	assert_true(credit_due(&c));
	credit_told(&c);
	assert_false(credit_due(&c));
	credit_forward(&c, SIZE / 2);
	assert_true(credit_due(&c));
}

static void test_available(void **state)
{
	struct credit c;

	credit_init(&c, SIZE);
	assert_int_equal(credit_available(&c), 0); /* the peer has not said anything */
	assert_true(credit_learn(&c, 100, 0));
	assert_int_equal(credit_available(&c), 100);
	credit_send(&c, 100);
	assert_int_equal(credit_available(&c), 0);
	assert_false(credit_learn(&c, 100, 0));
	assert_true(credit_learn(&c, 100, 1));
	assert_int_equal(credit_available(&c), 1);
	assert_true(credit_learn(&c, 100,
				 50)); /* there was some before, but too little for a message */
	assert_int_equal(credit_available(&c), 50);
	assert_false(credit_learn(&c, 90, 50));
	assert_int_equal(credit_available(&c), 40);
}

/* A peer may make its buffer smaller than what is under way, or lie. */
static void test_peer_shrinks_and_lies(void **state)
{
	struct credit c;

	credit_init(&c, SIZE);
	credit_learn(&c, 100, 0);
	credit_send(&c, 80);
	credit_learn(&c, 50, 0);
	assert_int_equal(credit_available(&c), 0);
	credit_learn(&c, 50, 80);
	assert_int_equal(credit_available(&c), 50);
	credit_learn(&c, 50, 81); /* one more than was ever sent */
	assert_int_equal(credit_available(&c), 0);
	credit_learn(&c, UINT32_MAX, 80);
	assert_int_equal(credit_available(&c), UINT32_MAX);
}

static void test_counters_wrap(void **state)
{
	struct credit c;

	credit_init(&c, SIZE);
	c.rx_cnt = c.fwd_cnt = c.last_fwd_cnt = UINT32_MAX - 5;
	c.tx_cnt = c.peer_fwd_cnt = UINT32_MAX - 5;
	assert_true(credit_receive(&c, SIZE));
	assert_false(credit_receive(&c, 1));
	credit_forward(&c, SIZE);
	assert_int_equal(credit_held(&c), 0);
	assert_true(credit_due(&c));
	credit_learn(&c, SIZE, UINT32_MAX - 5);
	credit_send(&c, SIZE);
	assert_int_equal(credit_available(&c), 0);
	credit_learn(&c, SIZE, SIZE - 6);
	assert_int_equal(credit_available(&c), SIZE);
}

/* Two sides, one sends whenever it may, the other lets go as it pleases and tells when it is due: it always goes on, and
 * never is more under way than allowed. */
static void test_two_sides(void **state)
{
	struct credit tx, rx;
	uint64_t sent = 0;

	srand(1);
	credit_init(&tx, SIZE);
	credit_init(&rx, SIZE);
	credit_learn(&tx, rx.buf_alloc, rx.fwd_cnt);
	for (unsigned i = 0; i < 100000; i++) {
		uint32_t n = min(credit_available(&tx), (uint32_t)rand() % 300);

		credit_send(&tx, n);
		assert_true(credit_receive(&rx, n));
		sent += n;
		credit_forward(&rx, min(credit_held(&rx), (uint32_t)rand() % 300));
		if (credit_due(&rx)) {
			credit_told(&rx);
			credit_learn(&tx, rx.buf_alloc, rx.fwd_cnt);
		}
		assert_in_range(credit_held(&rx), 0, SIZE);
	}
	assert_true(sent > 100000ull * 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_receive_up_to_the_limit),
		cmocka_unit_test(test_due_at_half),
		cmocka_unit_test(test_available),
		cmocka_unit_test(test_peer_shrinks_and_lies),
		cmocka_unit_test(test_counters_wrap),
		cmocka_unit_test(test_two_sides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
