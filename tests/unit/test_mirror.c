/* SPDX-License-Identifier: MIT */
/* Ports that are shown what goes through others. */
#include "mirror.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "switch_fixture.h"

#define ALL 0xffffffffffffu

static struct rig rig;

static int add(const char *name, unsigned to, unsigned from1, unsigned from2, bool in, bool out)
{
	struct sw_port *from[] = { &rig.p[from1].port, &rig.p[from2].port };

	return sw_mirror_add(&rig.sw, name, &rig.p[to].port, from, from1 == from2 ? 1 : 2, in, out);
}

static void meet(void)
{
	rig_up(&rig);
	rig_say(&rig, 0, ALL, 0xa, RIG_UNTAGGED);
	rig_say(&rig, 1, 0xa, 0xb, RIG_UNTAGGED);
	rig_say(&rig, 2, 0xa, 0xc, RIG_UNTAGGED);
	rig_clear(&rig);
}

static void test_directions(void **state)
{
	meet();
	assert_int_equal(add("in", 5, 0, 0, true, false), 0);
	rig_say(&rig, 0, 0xb, 0xa, RIG_UNTAGGED);
	rig_expect(&rig, "0,1,0,0,0,1");
	rig_say(&rig, 1, 0xa, 0xb, RIG_UNTAGGED);
	rig_expect(&rig, "1,0,0,0,0,0");
	assert_int_equal(add("out", 4, 0, 0, false, true), 0);
	rig_say(&rig, 1, 0xa, 0xb, RIG_UNTAGGED);
	rig_expect(&rig, "1,0,0,0,1,0");
	assert_int_equal(sw_mirror_remove(&rig.sw, "in"), 0);
	assert_int_equal(sw_mirror_remove(&rig.sw, "in"), -ENOENT);
	rig_say(&rig, 0, 0xb, 0xa, RIG_UNTAGGED);
	rig_expect(&rig, "0,1,0,0,0,0");
	assert_int_equal(sw_mirror_remove(&rig.sw, "out"), 0);
	assert_int_equal(rig.p[0].port.n_mirror_in + rig.p[0].port.n_mirror_out, 0);
	assert_int_equal(rig.p[5].port.stats.egress_mirrored, 1);
	assert_int_equal(rig.p[4].port.stats.egress_mirrored, 1);
	rig_down(&rig);
}

/* Several sources; a frame between two of them is seen leaving the one and reaching the other. */
static void test_sources(void **state)
{
	meet();
	assert_int_equal(add("m", 5, 0, 1, true, true), 0);
	rig_say(&rig, 0, 0xb, 0xa, RIG_UNTAGGED);
	rig_expect(&rig, "0,1,0,0,0,2");
	rig_say(&rig, 2, 0xb, 0xc, RIG_UNTAGGED);
	rig_expect(&rig, "0,1,0,0,0,1");
	rig_say(&rig, 2, ALL, 0xc, RIG_UNTAGGED); /* its own copy, and those of p0 and p1 */
	rig_expect(&rig, "1,1,0,1,1,3");
	rig_say(&rig, 5, ALL, 0xd, RIG_UNTAGGED); /* what it says itself is shown to it as well */
	rig_expect(&rig, "1,1,1,1,1,2");
	rig_down(&rig);
}

/* What comes in is shown also if the switch will not have it. */
static void test_dropped_is_shown(void **state)
{
	meet();
	rig_access(&rig, 0, 10);
	assert_int_equal(add("m", 5, 0, 0, true, false), 0);
	rig_say(&rig, 0, 0xb, 0xa, 20);
	assert_int_equal(rig_tci(&rig.p[5].got[0]), 20);
	rig_expect(&rig, "0,0,0,0,0,1");
	rig_down(&rig);
}

/* Shown in the form it leaves in, be the one who is shown it in the VLAN or not. */
static void test_form(void **state)
{
	meet();
	rig_access(&rig, 0, 10);
	rig_access(&rig, 5, 20);
	rig_access(&rig, 1, 10);
	assert_int_equal(add("m", 5, 1, 1, false, true), 0);
	rig_say(&rig, 0, ALL, 0xa, RIG_UNTAGGED);
	assert_int_equal(rig_tci(&rig.p[5].got[0]), -1);
	assert_int_equal(rig.p[5].got[0].len, 60);
	rig_clear(&rig);
	sw_set_vlan(&rig.p[1].port, &(struct vlan_port){ 0 });
	rig_say(&rig, 0, ALL, 0xa, RIG_UNTAGGED);
	assert_int_equal(rig_tci(&rig.p[5].got[0]), 10);
	rig_down(&rig);
}

/* A full burst to many mirrored ports is more than a burst for the one who watches. */
static void test_overflow(void **state)
{
	struct sw_port *from[RIG_PORTS - 1];
	static uint8_t bytes[SW_BURST][64];
	struct sw_frame frame[SW_BURST];
	struct iovec iov[SW_BURST];

	meet();
	for (unsigned i = 0; i < RIG_PORTS - 1; i++)
		from[i] = &rig.p[i].port;
	assert_int_equal(
		sw_mirror_add(&rig.sw, "m", &rig.p[5].port, from, RIG_PORTS - 1, true, true), 0);
	for (unsigned i = 0; i < SW_BURST; i++) {
		uint32_t len = rig_frame(bytes[i], ALL, 0x100 + i, NULL, 0, 46);

		iov[i] = (struct iovec){ bytes[i], len };
		frame[i] = (struct sw_frame){ .iov = &iov[i], .len = len, .n_iov = 1 };
	}
	sw_input(&rig.p[0].port, frame, SW_BURST);
	/* Once coming in, four times going out, once its own; each in order. */
	assert_int_equal(rig.p[5].n, 6 * SW_BURST);
	for (unsigned i = 0; i < rig.p[5].n; i++)
		assert_int_equal(rig.p[5].got[i].bytes[11], i % SW_BURST);
	assert_int_equal(rig.p[5].port.stats.egress_mirrored, 5 * SW_BURST);
	rig_down(&rig);
}

static void test_refused(void **state)
{
	struct sw_port *p0 = &rig.p[0].port;
	char name[8];

	meet();
	assert_int_equal(add("", 5, 0, 0, true, true), -EINVAL);
	assert_int_equal(add("m", 5, 0, 0, false, false), -EINVAL);
	assert_int_equal(add("m", 5, 0, 5, true, true), -EINVAL);
	assert_int_equal(sw_mirror_add(&rig.sw, "m", p0, NULL, 0, true, true), -EINVAL);
	assert_int_equal(sw_mirror_add(&rig.sw, "m", &rig.p[5].port, (struct sw_port *[]){ p0, p0 },
				       2, true, true),
			 -EINVAL);
	for (unsigned i = 0; i < SW_MIRRORS_MAX; i++) {
		(void)snprintf(name, sizeof(name), "m%u", i);
		assert_int_equal(add(name, 5, 0, 1, true, true), 0);
	}
	assert_int_equal(add("m0", 5, 0, 0, true, true), -EEXIST);
	assert_int_equal(add("more", 5, 0, 0, true, true), -ENOSPC);
	assert_int_equal(p0->n_mirror_in, SW_MIRRORS_MAX);
	rig_down(&rig);
}

/* A source that goes leaves the others; the last one, or the target, takes the mirror along. */
static void test_ports_that_go(void **state)
{
	meet();
	assert_int_equal(add("m", 5, 0, 1, true, true), 0);
	assert_int_equal(add("n", 4, 2, 2, true, true), 0);
	sw_detach(&rig.p[0].port);
	assert_int_equal(rig.sw.mirrors->n_from, 1);
	rig_say(&rig, 1, 0xc, 0xb, RIG_UNTAGGED);
	rig_expect(&rig, "0,0,1,0,1,1");
	sw_detach(&rig.p[1].port);
	assert_string_equal(rig.sw.mirrors->name, "n");
	sw_detach(&rig.p[4].port);
	assert_null(rig.sw.mirrors);
	assert_int_equal(rig.p[2].port.n_mirror_in + rig.p[2].port.n_mirror_out, 0);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_directions),       cmocka_unit_test(test_sources),
		cmocka_unit_test(test_dropped_is_shown), cmocka_unit_test(test_form),
		cmocka_unit_test(test_overflow),         cmocka_unit_test(test_refused),
		cmocka_unit_test(test_ports_that_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
