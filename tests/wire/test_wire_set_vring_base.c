/* SPDX-License-Identifier: MIT */
/* SET_VRING_BASE: where a split ring goes on; 16 bits.  Packed ones: test_wire_packed.c. */
#include "wire.h"

static int set(struct wire *w, uint32_t index, uint32_t num)
{
	return frontend_ask_state(&w->fe, VHOST_USER_SET_VRING_BASE, index, num);
}

static void good(void **state)
{
	struct wire *w = *state;
	const uint32_t bases[] = { 0, 1, 0x7fff, 0xffff };
	uint32_t base;

	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(set(w, 1, bases[i]), 0);
		assert_int_equal(frontend_ring_stop(&w->fe, 1, &base), 0);
		assert_int_equal(base, bases[i]);
	}
}

static void more_than_16_bits(void **state)
{
	struct wire *w = *state;
	uint32_t base;

	assert_int_equal(set(w, 1, 5), 0);
	assert_int_equal(set(w, 1, 0x10000), 1);
	assert_int_equal(set(w, 1, UINT32_MAX), 1);
	assert_int_equal(frontend_ring_stop(&w->fe, 1, &base), 0);
	assert_int_equal(base, 5);
}

static void frozen_while_running(void **state)
{
	struct wire *w = *state;
	uint32_t base;

	assert_int_equal(set(w, 0, 1), 1);
	assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
	assert_int_equal(base, 0);
}

static void acks(void **state)
{
	const struct proto_vring_state good_state = { 0, 8 }, bad_state = { 0, 0x10000 };

	wire_check_ack(*state, VHOST_USER_SET_VRING_BASE, &good_state, sizeof(good_state), NULL, 0,
		       false);
	wire_check_ack(*state, VHOST_USER_SET_VRING_BASE, &bad_state, sizeof(bad_state), NULL, 0,
		       true);
}

static void no_such_ring(void **state)
{
	const struct proto_vring_state vring = { WIRE_QUEUES, 0 };

	wire_drops(*state, VHOST_USER_SET_VRING_BASE, &vring, sizeof(vring), NULL, 0);
}

static void shape(void **state)
{
	const struct proto_vring_state vring = { 0, 0 };

	wire_check_shape(*state, VHOST_USER_SET_VRING_BASE, &vring, sizeof(vring), 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, acks),
		WIRE_TEST(more_than_16_bits, acks),
		WIRE_TEST(frozen_while_running, running),
		WIRE_TEST(acks, acks),
		WIRE_TEST(no_such_ring, acks),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("SET_VRING_BASE", tests, NULL, NULL);
}
