/* SPDX-License-Identifier: MIT */
/* The states of a quiesce: who is waited for, and that it always ends. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base.h"
#include "quiesce.h"

static struct loop loop;
static struct portal_live live;
static struct quiesce q;
static unsigned n_changed;

static void on_changed(struct quiesce *quiesce)
{
	n_changed++;
	/* What is told has been shown. */
	assert_int_equal(le64_load(&live.quiesce), PORTAL_QUIESCE(q.epoch, q.state));
}

static int setup(void **state)
{
	n_changed = 0;
	memset(&live, 0, sizeof(live));
	live.quiesce = le64_of(PORTAL_QUIESCE(41, PORTAL_FROZEN)); /* of a daemon that was killed */
	assert_int_equal(loop_init(&loop), 0);
	quiesce_init(&q, &loop, &live, 50, on_changed);
	return 0;
}

static int teardown(void **state)
{
	quiesce_done(&q);
	assert_int_equal(PORTAL_QUIESCE_STATE(le64_load(&live.quiesce)), PORTAL_RUNNING);
	loop_done(&loop);
	return 0;
}

static const uint64_t two[PORTAL_LEASES / 64] = { BIT_ULL(3), 0, 0, BIT_ULL(63) };

static void begin(uint64_t deadline_ms, uint64_t hold_ms)
{
	assert_int_equal(quiesce_begin(&q, 9, two, deadline_ms, hold_ms), 0);
}

static void wait_for(enum portal_quiesce_state state)
{
	for (int i = 0; i < 5000 && q.state != state; i++)
		assert_int_equal(loop_once(&loop, loop_now_ns() + 1000000), 0);
	assert_int_equal(q.state, state);
}

/* Whatever a client has written there while no daemon looked: acknowledgements are of what the page says. */
static void test_last_epoch(void **state)
{
	live.quiesce = le64_of(UINT64_MAX);
	quiesce_init(&q, &loop, &live, 50, on_changed);
	begin(50, 0);
	assert_int_equal(PORTAL_QUIESCE_EPOCH(le64_load(&live.quiesce)), q.epoch);
	assert_int_equal(quiesce_thaw(&q), 0);
}

static void test_all_acknowledge(void **state)
{
	assert_true(quiesce_running(&q));
	assert_int_equal(PORTAL_QUIESCE_STATE(le64_load(&live.quiesce)), PORTAL_RUNNING);
	begin(50, 0);
	assert_int_equal(q.epoch, 42);
	assert_int_equal(q.n_waiting, 2);
	assert_int_equal(quiesce_begin(&q, 8, two, 1, 1), -EALREADY);
	assert_int_equal(quiesce_ack(&q, 3, 41), -ESTALE);
	assert_int_equal(quiesce_ack(&q, 4, 42), -ESTALE);
	assert_int_equal(quiesce_ack(&q, PORTAL_LEASES, 42), -ESTALE);
	assert_int_equal(quiesce_ack(&q, 3, 42), 0);
	assert_int_equal(quiesce_ack(&q, 3, 42), -ESTALE);
	assert_int_equal(q.state, PORTAL_DRAINING);
	assert_int_equal(quiesce_ack(&q, 255, 42), 0);
	assert_int_equal(q.state, PORTAL_FROZEN);
	assert_int_equal(q.n_laggards, 0);
	assert_int_equal(quiesce_thaw(&q), 0);
	assert_int_equal(quiesce_thaw(&q), -EINVAL);
	assert_int_equal(n_changed, 3);
}

static void test_deadline(void **state)
{
	begin(5, 0);
	assert_int_equal(quiesce_ack(&q, 3, 42), 0);
	wait_for(PORTAL_FROZEN);
	assert_int_equal(q.n_laggards, 1);
	assert_int_equal(quiesce_ack(&q, 255, 42), 0); /* late, and yet at rest */
	assert_int_equal(q.n_laggards, 0);
}

/* Nobody can hold it for longer than the limit, whatever is asked. */
static void test_always_thaws(void **state)
{
	uint64_t before = loop_now_ns();

	begin(UINT64_MAX, UINT64_MAX);
	assert_in_range(quiesce_left_ms(&q), 1, 50);
	wait_for(PORTAL_FROZEN);
	assert_in_range(quiesce_left_ms(&q), 1, 50);
	wait_for(PORTAL_RUNNING);
	assert_true(loop_now_ns() - before >= 99000000ull);
	assert_int_equal(quiesce_left_ms(&q), 0);
}

static void test_nobody_to_wait_for(void **state)
{
	const uint64_t none[PORTAL_LEASES / 64] = { 0 };

	assert_int_equal(quiesce_begin(&q, QUIESCE_NOBODY, none, 50, 5), 0);
	assert_int_equal(q.state, PORTAL_FROZEN);
	assert_int_equal(n_changed, 2); /* both are told */
	wait_for(PORTAL_RUNNING);
}

static void test_leaving(void **state)
{
	begin(50, 0);
	quiesce_left(&q, 3); /* its end is as good as its word */
	assert_int_equal(q.state, PORTAL_DRAINING);
	quiesce_left(&q, 77);
	quiesce_left(&q, 255);
	assert_int_equal(q.state, PORTAL_FROZEN);
	quiesce_left(&q, 9); /* the starter */
	assert_int_equal(q.state, PORTAL_RUNNING);
	begin(50, 0);
	quiesce_left(&q, 9);
	assert_int_equal(q.state, PORTAL_RUNNING);
	quiesce_left(&q, 3);
	assert_int_equal(q.epoch, 43);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_acknowledge, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last_epoch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(test_always_thaws, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody_to_wait_for, setup, teardown),
		cmocka_unit_test_setup_teardown(test_leaving, setup, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
