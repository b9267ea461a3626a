/* SPDX-License-Identifier: MIT */
/* Storm limits: the buckets, and what the switch counts against them. */
#include "storm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base.h"
#include "switch_fixture.h"

#define SECOND UINT64_C(1000000000)

/* How many of n frames pass at this moment. */
static unsigned pass(struct storm *s, enum storm_kind kind, unsigned n, uint64_t now_ns)
{
	unsigned passed = 0;

	while (n-- > 0)
		passed += storm_pass(s, kind, now_ns);
	return passed;
}

static void test_bucket(void **state)
{
	struct storm s = { 0 };

	assert_int_equal(pass(&s, STORM_BROADCAST, 1000, 0), 1000);
	storm_set(&s, STORM_BROADCAST, 1000, SECOND);
	assert_true(s.on);
	assert_int_equal(pass(&s, STORM_BROADCAST, 1000, SECOND), 100); /* a tenth of a second's */
	assert_int_equal(pass(&s, STORM_MULTICAST, 1000, SECOND), 1000);
	assert_int_equal(pass(&s, STORM_BROADCAST, 9, SECOND + 999999), 0);
	assert_int_equal(pass(&s, STORM_BROADCAST, 9, SECOND + 1000000), 1);
	assert_int_equal(pass(&s, STORM_BROADCAST, 9, SECOND + 4500000), 3);
	assert_int_equal(pass(&s, STORM_BROADCAST, 9, SECOND + 5000000), 1);
	assert_int_equal(pass(&s, STORM_BROADCAST, 1000, 3600 * SECOND), 100);
	storm_set(&s, STORM_BROADCAST, 0, 0);
	assert_false(s.on);
	assert_int_equal(pass(&s, STORM_BROADCAST, 1000, 0), 1000);
}

static void test_extremes(void **state)
{
	struct storm s = { 0 };

	storm_set(&s, STORM_UNKNOWN, 1, SECOND); /* never less than a frame */
	assert_int_equal(pass(&s, STORM_UNKNOWN, 10, SECOND), 1);
	assert_int_equal(pass(&s, STORM_UNKNOWN, 10, 2 * SECOND - 1), 0);
	assert_int_equal(pass(&s, STORM_UNKNOWN, 10, 2 * SECOND), 1);
	storm_set(&s, STORM_UNKNOWN, STORM_PPS_MAX, 0);
	assert_int_equal(pass(&s, STORM_UNKNOWN, 100000, 1), 100000);
	assert_int_equal(pass(&s, STORM_UNKNOWN, 100000, UINT64_MAX), 100000);
}

/* Looked at however often, the rate is what was asked for. */
static void test_rate(void **state)
{
	struct storm s = { 0 };
	unsigned passed = 0;

	storm_set(&s, STORM_MULTICAST, 777, 0);
	for (uint64_t now = 0; now < 10 * SECOND; now += 12345)
		passed += storm_pass(&s, STORM_MULTICAST, now);
	assert_in_range(passed, 7770, 7770 + 78);
}

static void test_switch(void **state)
{
	static struct rig rig;
	struct sw_port *p = &rig.p[0].port;

	rig_up(&rig);
	sw_set_storm(p, STORM_BROADCAST, 20);
	sw_set_storm(p, STORM_MULTICAST, 30);
	sw_set_storm(p, STORM_UNKNOWN, 40);
	for (unsigned i = 0; i < 10; i++) {
		rig_say(&rig, 0, 0xffffffffffffu, 0xa, RIG_UNTAGGED);
		rig_say(&rig, 0, 0x01005e000001u, 0xa, RIG_UNTAGGED);
		rig_say(&rig, 0, 0xb, 0xa, RIG_UNTAGGED);
	}
	rig_expect(&rig, "0,9,9,9,9,9");
	assert_int_equal(p->stats.ingress_drop_broadcast, 8);
	assert_int_equal(p->stats.ingress_drop_multicast, 7);
	assert_int_equal(p->stats.ingress_drop_unknown, 6);
	assert_int_equal(p->stats.ingress_flooded, 9);

	/* What is known is no storm, and other ports have no limit. */
	rig_say(&rig, 1, 0xa, 0xb, RIG_UNTAGGED);
	rig_clear(&rig);
	for (unsigned i = 0; i < 10; i++)
		rig_say(&rig, 0, 0xb, 0xa, RIG_UNTAGGED);
	rig_expect(&rig, "0,10,0,0,0,0");
	rig.now_ns += SECOND / 20;
	rig_say(&rig, 0, 0xffffffffffffu, 0xa, RIG_UNTAGGED);
	rig_expect(&rig, "0,1,1,1,1,1");
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bucket),
		cmocka_unit_test(test_extremes),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_switch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
