/* SPDX-License-Identifier: MIT */
/* Grants of extents, against a list that knows better, and mirrors that lie. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "extents.h"

#define N 64u

static struct portal_extent mirror[N];
static struct extents x;

static const uint64_t alice = 1ull << 16 | 3, bob = 7ull << 16 | 9;

static int setup(void **state)
{
	memset(mirror, 0, sizeof(mirror));
	return extents_init(&x, mirror, N, false);
}

static int teardown(void **state)
{
	extents_done(&x);
	return 0;
}

static void reload(void)
{
	extents_done(&x);
	assert_int_equal(extents_init(&x, mirror, N, true), 0);
}

static uint32_t extents_of(uint64_t owner)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < N; i++)
		n += x.e[i].owner == owner;
	return n;
}

static uint64_t what_at(uint32_t i)
{
	return le64_load(&mirror[i].what);
}

static void test_grants(void **state)
{
	uint32_t a = 0, b = 0, c = 0;

	assert_int_equal(x.n_free, N - 2);
	assert_int_equal(extents_get(&x, alice, 1, PORTAL_EXTENT_SEGMENT, &a), 0);
	assert_int_equal(a, 2); /* the lowest; 0 and 1 are the system's */
	assert_int_equal(extents_get(&x, bob, 4, PORTAL_EXTENT_HUGE, &b), 0);
	assert_int_equal(b, N - 4);
	assert_int_equal(extents_get(&x, alice, 1, PORTAL_EXTENT_HUGE, &c), 0);
	assert_int_equal(c, 3);
	assert_int_equal(x.n_free, N - 8);
	assert_int_equal(extents_of(alice), 2);
	assert_int_equal(extents_of(bob), 4);

	assert_int_equal(extents_get(&x, alice, 2, PORTAL_EXTENT_SEGMENT, &c), -EINVAL);
	assert_int_equal(extents_get(&x, alice, 0, PORTAL_EXTENT_HUGE, &c), -EINVAL);
	assert_int_equal(extents_get(&x, alice, 1, PORTAL_EXTENT_SYSTEM, &c), -EINVAL);
	assert_int_equal(extents_get(&x, alice, N, PORTAL_EXTENT_HUGE, &c), -ENOSPC);
	assert_int_equal(c, 3);

	assert_int_equal(extents_put(&x, alice, b, 4), -EPERM);
	assert_int_equal(extents_put(&x, bob, b, 3), -EINVAL);
	assert_int_equal(extents_put(&x, bob, b + 1, 3), -EINVAL);
	assert_int_equal(extents_put(&x, alice, 0, 1), -EPERM);
	assert_int_equal(extents_put(&x, alice, N, 1), -EINVAL);
	assert_int_equal(extents_put(&x, alice, 2, UINT32_MAX), -EINVAL);
	assert_int_equal(extents_put(&x, bob, b, 4), 0);
	assert_int_equal(extents_put(&x, bob, b, 4), -EPERM);
	assert_int_equal(x.n_free, N - 4);
}

static void test_mirror(void **state)
{
	uint32_t first = 0;

	assert_int_equal(extents_get(&x, bob, 3, PORTAL_EXTENT_HUGE, &first), 0);
	for (uint32_t k = 0; k < 3; k++) {
		assert_int_equal(le64_load(&mirror[first + k].owner), bob);
		assert_int_equal(PORTAL_WHAT_KIND(what_at(first + k)), PORTAL_EXTENT_HUGE);
		assert_int_equal(PORTAL_WHAT_BACK(what_at(first + k)), k);
		assert_int_equal(PORTAL_WHAT_RUN(what_at(first + k)), 3);
		assert_int_equal(PORTAL_WHAT_SERIAL(what_at(first + k)), 1);
	}
	assert_int_equal(PORTAL_WHAT_KIND(what_at(0)), PORTAL_EXTENT_SYSTEM);
	assert_int_equal(extents_put(&x, bob, first, 3), 0);
	assert_int_equal(le64_load(&mirror[first].owner), 0);
	assert_int_equal(PORTAL_WHAT_KIND(what_at(first)), PORTAL_EXTENT_FREE);
	assert_int_equal(extents_get(&x, bob, 3, PORTAL_EXTENT_HUGE, &first), 0);
	assert_int_equal(PORTAL_WHAT_SERIAL(what_at(first)), 2);
}

static void test_hold(void **state)
{
	const uint64_t e = PORTAL_EXTENT;
	uint32_t first = 0;

	assert_int_equal(extents_get(&x, bob, 3, PORTAL_EXTENT_HUGE, &first), 0);
	assert_true(extents_hold(&x, bob, first * e, 3 * e));
	assert_true(extents_hold(&x, bob, first * e + 5 * e / 2, e / 2));
	assert_false(extents_hold(&x, bob, first * e + 5 * e / 2, e / 2 + 1));
	assert_false(extents_hold(&x, bob, first * e - 1, 2));
	assert_false(extents_hold(&x, alice, first * e, 1));
	assert_false(extents_hold(&x, bob, first * e, 0));
	assert_false(extents_hold(&x, bob, UINT64_MAX, 1));
	assert_false(extents_hold(&x, bob, first * e, UINT64_MAX));
	assert_false(extents_hold(&x, 0, 0, 1));
	assert_false(extents_hold(&x, bob, N * e, 1));
}

/* Two neighbours' grants are not one. */
static void test_hold_does_not_cross_grants(void **state)
{
	uint32_t a = 0, b = 0;

	assert_int_equal(extents_get(&x, bob, 1, PORTAL_EXTENT_SEGMENT, &a), 0);
	assert_int_equal(extents_get(&x, bob, 1, PORTAL_EXTENT_SEGMENT, &b), 0);
	assert_int_equal(b, a + 1);
	assert_false(extents_hold(&x, bob, (uint64_t)a * PORTAL_EXTENT, PORTAL_EXTENT + 1ull));
}

static void test_quarantine(void **state)
{
	uint32_t first = 0;

	assert_int_equal(extents_get(&x, bob, 3, PORTAL_EXTENT_HUGE, &first), 0);
	extents_quarantine(&x, first);
	assert_int_equal(x.n_quarantined, 3);
	assert_int_equal(extents_of(bob), 0);
	assert_int_equal(extents_put(&x, bob, first, 3), -EPERM);
	assert_int_equal(x.n_free, N - 2 - 3);
	reload();
	assert_int_equal(x.n_quarantined, 3);
	assert_int_equal(extents_pardon(&x), 3);
	assert_int_equal(x.n_free, N - 2);
}

/* A long random run: the books, the mirror and a fresh reading of it agree with a naive list. */
static void test_against_naive(void **state)
{
	uint64_t owner_of[N] = { 0 };
	uint32_t seed = 1;

	for (unsigned round = 0; round < 20000; round++) {
		uint32_t roll = (seed = seed * 1664525u + 1013904223u) >> 16, first = 0;
		uint64_t owner = roll & 1 ? alice : bob;
		uint32_t n = 1 + roll / 2 % 5;

		if (roll / 16 % 5 < 3 &&
		    extents_get(&x, owner, n, PORTAL_EXTENT_HUGE, &first) == 0) {
			for (uint32_t k = 0; k < n; k++) {
				assert_int_equal(owner_of[first + k], 0);
				owner_of[first + k] = owner;
			}
		} else {
			first = roll / 16 % N;
			if (!extents_find(&x, owner, &first))
				continue;
			n = x.e[first].run;
			assert_int_equal(extents_put(&x, owner, first, n), 0);
			for (uint32_t k = 0; k < n; k++) {
				assert_int_equal(owner_of[first + k], owner);
				owner_of[first + k] = 0;
			}
		}
		if (round % 1000 == 0)
			reload();
		for (uint32_t i = 2; i < N; i++)
			assert_int_equal(x.e[i].owner, owner_of[i]);
		assert_int_equal(x.n_quarantined, 0);
		assert_int_equal(x.n_free + extents_of(alice) + extents_of(bob), N - 2);
	}
}

/* A daemon that was killed between any two stores of a grant or a return: nothing is granted twice, and nothing that was
 * answered is lost. */
static void test_killed_within(void **state)
{
	struct portal_extent before[N], after[N];
	uint32_t kept = 0, first = 0;

	assert_int_equal(extents_get(&x, alice, 2, PORTAL_EXTENT_HUGE, &kept), 0);
	memcpy(before, mirror, sizeof(mirror));
	assert_int_equal(extents_get(&x, bob, 3, PORTAL_EXTENT_HUGE, &first), 0);
	memcpy(after, mirror, sizeof(mirror));
	for (unsigned step = 0; step <= 9; step++) {
		/* Entries last to first; in each: no owner, what, owner. */
		memcpy(mirror, before, sizeof(mirror));
		for (unsigned s = 0; s < step; s++) {
			uint32_t i = first + 2 - s / 3;

			if (s % 3 == 1)
				mirror[i].what = after[i].what;
			else if (s % 3 == 2)
				mirror[i].owner = after[i].owner;
		}
		reload();
		assert_int_equal(extents_of(alice), 2);
		assert_int_equal(x.e[kept].owner, alice);
		assert_int_equal(extents_of(bob), step == 9 ? 3 : 0);
		assert_int_equal(x.n_free + x.n_quarantined + extents_of(bob), N - 4);
		/* Nobody who is left: what could not be told is free again. */
		assert_int_equal(extents_pardon(&x) + x.n_quarantined, step == 9 ? 0 : step / 3);
		assert_int_equal(x.n_free + extents_of(bob), N - 4);
	}
}

/* What a client may write into the mirror while no daemon looks: any word.  The books stay consistent. */
static void test_lying_mirrors(void **state)
{
	uint32_t seed = 7;

	for (unsigned round = 0; round < 3000; round++) {
		uint32_t n_granted = 0, at = 0;

		for (unsigned i = 0; i < N; i++) {
			uint32_t r = seed = seed * 1664525u + 1013904223u;
			uint64_t owner = r >> 28 & 1 ? alice :
					 r >> 27 & 1 ? 0 :
						       (uint64_t)r << 20 | r;

			mirror[i].owner = le64_of(owner);
			mirror[i].what =
				le64_of(PORTAL_WHAT(r >> 4 & 7, r >> 8 & 3, r >> 10 & 3, r) |
					(r >> 20 & 63 ? 0 : UINT64_MAX << 20));
		}
		reload();
		for (; extents_find(&x, 0, &at); at += x.e[at].run) {
			assert_true(portal_owner_valid(x.e[at].owner));
			assert_true(x.e[at].run >= 1 && at + x.e[at].run <= N);
			for (uint32_t k = 0; k < x.e[at].run; k++) {
				assert_int_equal(x.e[at + k].owner, x.e[at].owner);
				assert_int_equal(x.e[at + k].back, k);
			}
			n_granted += x.e[at].run;
		}
		assert_int_equal(n_granted + x.n_free + x.n_quarantined, N - 2);
		assert_int_equal(x.e[0].kind, PORTAL_EXTENT_SYSTEM);
		assert_int_equal(x.e[1].kind, PORTAL_EXTENT_SYSTEM);
		/* Reading back what was made of it changes nothing. */
		at = x.n_quarantined;
		reload();
		assert_int_equal(x.n_quarantined, at);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_grants, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mirror, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hold, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hold_does_not_cross_grants, setup, teardown),
		cmocka_unit_test_setup_teardown(test_quarantine, setup, teardown),
		cmocka_unit_test_setup_teardown(test_against_naive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_within, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lying_mirrors, setup, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
