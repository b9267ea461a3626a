/* SPDX-License-Identifier: MIT */
/* How long a queue is looked at in vain. */
#include "spin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define US 1000u

static struct spin after(unsigned n, uint64_t gap_ns, struct spin s)
{
	while (n-- > 0)
		spin_found(&s, gap_ns);
	return s;
}

/* What pauses for less than can be waited is not put to sleep. */
static void a_conversation_stays_awake(void **state)
{
	for (uint64_t gap = 1 * US; gap <= 150 * US; gap += US) {
		struct spin s = after(60, gap, (struct spin){ 0 });

		assert_true(spin_ns(&s, 0) > gap);
		assert_in_range(spin_ns(&s, 0), SPIN_MIN_NS, SPIN_MAX_NS);
	}
}

/* Waiting for what does not come in time is a waste. */
static void a_trickle_costs_little(void **state)
{
	struct spin s = after(60, 1000 * US, (struct spin){ 0 });

	assert_int_equal(spin_ns(&s, 0), SPIN_MIN_NS);
	assert_true(spin_ns(&s, 0) * 1000 <=
		    1000000000 / 50); /* 2 % at a thousand frames a second */
}

/* A night's sleep is forgotten after a dozen frames, and one pause does not change a habit. */
static void habits_change(void **state)
{
	struct spin s = after(100, 3600000000ull * US, (struct spin){ 0 });
	unsigned n = 0;

	while (spin_ns(&s, 0) == SPIN_MIN_NS && n++ < 100)
		spin_found(&s, 30 * US);
	assert_in_range(n, 2, 16);
	s = after(100, 30 * US, s);
	spin_found(&s, 1000000 * US);
	assert_true(spin_ns(&s, 0) > 60 * US);
}

static void an_operator_has_the_last_word(void **state)
{
	struct spin s = after(10, 30 * US, (struct spin){ 0 });

	assert_int_equal(spin_ns(&s, 1), 1);
	assert_int_equal(spin_ns(&s, 1000000 * US), 1000000 * US);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_conversation_stays_awake),
		cmocka_unit_test(a_trickle_costs_little),
		cmocka_unit_test(habits_change),
		cmocka_unit_test(an_operator_has_the_last_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
