/* SPDX-License-Identifier: MIT */
/* SET_VRING_ENABLE: apart from started and stopped. */
#include "wire.h"

static int set(struct wire *w, uint32_t index, uint32_t on)
{
	return frontend_ask_state(&w->fe, VHOST_USER_SET_VRING_ENABLE, index, on);
}

static void good(void **state)
{
	struct wire *w = *state;

	assert_true(w->queue[0].enabled);
	assert_int_equal(set(w, 0, 0), 0);
	assert_false(w->queue[0].enabled);
	assert_int_equal(set(w, 0, 1), 0);
	assert_true(w->queue[0].enabled);
	assert_int_equal(w->queue[0].n_stop, 0);
}

/* The device hears of changes only. */
static void repeated(void **state)
{
	struct wire *w = *state;

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(set(w, 1, 1), 0);
	assert_int_equal(w->queue[1].n_enable, 1);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(set(w, 1, 0), 0);
	assert_int_equal(w->queue[1].n_enable, 2);
}

/* QEMU enables the rings of a pair before it sends SET_FEATURES. */
static void before_features(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, 0, 1), 0);
	assert_int_equal(frontend_negotiate(&w->fe, ~0ull, ~0ull), 0);
	assert_int_equal(frontend_memory(&w->fe, WIRE_MEMORY), 0);
	assert_int_equal(frontend_ring_start(&w->fe, 0, &w->ring[0], false), 0);
	assert_int_equal(w->queue[0].n_start, 1);
	assert_true(vu_session_queue(w->session, 0)->enabled);
}

static void survives_a_stop(void **state)
{
	struct wire *w = *state;
	uint32_t base;

	assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
	assert_int_equal(frontend_ring_start(&w->fe, 0, &w->ring[0], false), 0);
	assert_true(vu_session_queue(w->session, 0)->enabled);
	assert_int_equal(w->queue[0].n_enable, 1);
}

static void neither_0_nor_1(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, 0, 2), 1);
	assert_int_equal(set(w, 0, UINT32_MAX), 1);
	assert_true(w->queue[0].enabled);
}

static void acks(void **state)
{
	const struct proto_vring_state good_state = { 0, 1 }, bad_state = { 0, 2 };

	wire_check_ack(*state, VHOST_USER_SET_VRING_ENABLE, &good_state, sizeof(good_state), NULL,
		       0, false);
	wire_check_ack(*state, VHOST_USER_SET_VRING_ENABLE, &bad_state, sizeof(bad_state), NULL, 0,
		       true);
}

static void no_such_ring(void **state)
{
	const struct proto_vring_state vring = { WIRE_QUEUES, 1 }, truncated = { 0x100, 1 };

	wire_drops(*state, VHOST_USER_SET_VRING_ENABLE, &vring, sizeof(vring), NULL, 0);
	wire_drops(*state, VHOST_USER_SET_VRING_ENABLE, &truncated, sizeof(truncated), NULL, 0);
}

static void shape(void **state)
{
	const struct proto_vring_state vring = { 0, 1 };

	wire_check_shape(*state, VHOST_USER_SET_VRING_ENABLE, &vring, sizeof(vring), 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, running),
		WIRE_TEST(repeated, acks),
		WIRE_TEST(before_features, acks),
		WIRE_TEST(survives_a_stop, running),
		WIRE_TEST(neither_0_nor_1, running),
		WIRE_TEST(acks, acks),
		WIRE_TEST(no_such_ring, acks),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("SET_VRING_ENABLE", tests, NULL, NULL);
}
