/* SPDX-License-Identifier: MIT */
/* The heap loads each word that a stranger may write once for one decision.
 *
 * The sources that read foreign words are included, and their loads go through a hook: whoever loads the same word a second
 * time in one call gets another value, and is counted.  The collecting of what others freed is in here, too, as far as it
 * decides by loads; what it decides by exchanges has one word only.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "le.h"

static uint64_t hooked(const void *p, uint64_t value);

#define le32_load(p)         ((uint32_t)hooked(p, le32_load(p)))
#define le32_load_acquire(p) ((uint32_t)hooked(p, le32_load_acquire(p)))
#define le64_load(p)         hooked(p, le64_load(p))
#define le64_load_acquire(p) hooked(p, le64_load_acquire(p))

#include "heap.c"
#include "heap_foreign.c"
#include "heap_huge.c"
/* They have functions of the same names. */
#define swap recovery_swap
#include "heap_recover.c"
#undef swap
#define head_of span_head_of
#include "heap_span.c"
#undef head_of

#include "ground.h"

#define EXTENTS  12u
#define A        3u
#define B        200u
#define SEEN_MAX 8192u

/* ---- the hook ------------------------------------------------------------------- */

static struct {
	bool on;
	const void *at[SEEN_MAX]; /* words loaded by this call */
	unsigned n, loads, again;
} hook;

static uint64_t hooked(const void *p, uint64_t value)
{
	if (!hook.on)
		return value;
	hook.loads++;
	for (unsigned i = 0; i < hook.n; i++)
		if (hook.at[i] == p) {
			hook.again++;
			return ~value;
		}
	assert_true(hook.n < SEEN_MAX);
	hook.at[hook.n++] = p;
	return value;
}

static void begin(void)
{
	hook.on = true;
	hook.n = hook.loads = hook.again = 0;
}

/* It looked, and at nothing twice. */
static void end(void)
{
	hook.on = false;
	assert_true(hook.loads > 0);
	assert_int_equal(hook.again, 0);
}

#define ONCE(call)       \
	do {             \
		begin(); \
		call;    \
		end();   \
	} while (0)

/* ---- the calls -------------------------------------------------------------------- */

struct fixture {
	struct ground ground;
	struct ground_client a, b;
};

static int set_up(void **state)
{
	static struct fixture f;

	ground_up(&f.ground, EXTENTS);
	ground_enter(&f.ground, &f.a, A, 1);
	ground_enter(&f.ground, &f.b, B, 1);
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	hook.on = false;
	heap_close(f->a.heap);
	heap_close(f->b.heap);
	ground_down(&f->ground);
	return 0;
}

static const size_t sizes[] = { 1, 1024, 1025, 20000, 983040, 3u << 20 };

static void test_foreign_blocks(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < array_size(sizes); i++) {
		void *p = heap_alloc(f->a.heap, sizes[i]), *got;
		uint64_t handle;
		size_t usable;
		int r;

		assert_non_null(p);
		ONCE(handle = heap_handle(f->a.heap, p));
		ONCE(got = heap_resolve(f->b.heap, handle, sizes[i]));
		assert_ptr_equal(got, p);
		ONCE(r = heap_free(f->b.heap, p));
		assert_int_equal(r, -EPERM);
		ONCE(got = heap_take(f->b.heap, handle, sizes[i]));
		assert_ptr_equal(got, p);
		ONCE(usable = heap_usable(f->b.heap, p));
		assert_true(usable >= sizes[i]);
		ONCE(usable = heap_usable(f->a.heap, p));
		assert_int_equal(usable, 0);
		ONCE(handle = heap_handle(f->b.heap, p));
		assert_true(handle);
		ONCE(r = heap_free(f->a.heap, p));
		assert_int_equal(r, -EPERM);
		ONCE(r = heap_free(f->b.heap, p));
		assert_int_equal(r, 0);
		ONCE(r = heap_free(f->b.heap, p));
		assert_int_equal(r, -ENOENT);
	}
	ONCE(heap_collect(f->a.heap));
	assert_int_equal(ground_has(&f->ground, A), 0);
}

/* What was offered and comes back. */
static void test_own_blocks(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < array_size(sizes); i++) {
		void *p = heap_alloc(f->a.heap, sizes[i]), *got;
		uint64_t handle;
		int r;

		assert_non_null(p);
		handle = heap_handle(f->a.heap, p);
		ONCE(got = heap_take(f->a.heap, handle, 1));
		assert_ptr_equal(got, p);
		ONCE(r = heap_free(f->a.heap, p));
		assert_int_equal(r, 0);
	}
}

/* A word is looked at, and exchanged if it has not changed since. */
static void test_recovery(void **state)
{
	static const struct heap_leases a_lives = { { 1u << A } }, nobody;
	struct fixture *f = *state;
	struct heap_recovered sum = { 0 };
	void *small = heap_alloc(f->a.heap, 983040), *huge = heap_alloc(f->a.heap, 3u << 20);
	uint64_t extent;
	bool wiped;

	assert_non_null(heap_take(f->b.heap, heap_handle(f->a.heap, small), 1));
	assert_non_null(heap_take(f->b.heap, heap_handle(f->a.heap, huge), 1));
	extent = (uint64_t)((uint8_t *)small - f->ground.base) / PORTAL_EXTENT;
	ONCE(heap_recover_visit(f->ground.base, f->ground.size, (uint32_t)extent, 1, B, &sum));
	assert_int_equal(sum.blocks, 1);
	extent = (uint64_t)((uint8_t *)huge - f->ground.base) / PORTAL_EXTENT;
	ONCE(wiped = heap_recover_grant(f->ground.base, f->ground.size, (uint32_t)extent, 2, A,
					&a_lives, &sum));
	assert_true(wiped);
	extent = (uint64_t)((uint8_t *)small - f->ground.base) / PORTAL_EXTENT;
	ONCE(wiped = heap_recover_grant(f->ground.base, f->ground.size, (uint32_t)extent, 1, A,
					&nobody, &sum));
	assert_true(wiped);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_foreign_blocks, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_own_blocks, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_recovery, set_up, tear_down),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("portal_heap_fetch", tests, NULL, NULL);
}
