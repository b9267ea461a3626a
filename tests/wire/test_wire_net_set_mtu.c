/* SPDX-License-Identifier: MIT */
/* NET_SET_MTU: passed on to the device, if it is a number that it can have. */
#include "wire.h"

static int set(struct wire *w, uint64_t mtu)
{
	return frontend_ask_u64(&w->fe, VHOST_USER_NET_SET_MTU, mtu);
}

static void reaches_the_device(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, 1500), 0);
	assert_int_equal(w->mtu, 1500);
	assert_int_equal(set(w, WIRE_MTU_MAX), 0);
	assert_int_equal(w->mtu, WIRE_MTU_MAX);
}

/* 65536 + 1500 is not 1500. */
static void out_of_range(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, WIRE_MTU_MAX + 1), 1);
	assert_int_equal(set(w, 65536 + 1500), 1);
	assert_int_equal(set(w, UINT64_MAX), 1);
	assert_int_equal(w->mtu, 0);
	wire_expect_alive(w);
}

static void acks(void **state)
{
	const uint64_t good = 1500, bad = UINT64_MAX;

	wire_check_ack(*state, VHOST_USER_NET_SET_MTU, &good, sizeof(good), NULL, 0, false);
	wire_check_ack(*state, VHOST_USER_NET_SET_MTU, &bad, sizeof(bad), NULL, 0, true);
}

static void not_negotiated(void **state)
{
	const uint64_t mtu = 1500;

	wire_check_not_negotiated(*state, VHOST_USER_NET_SET_MTU, &mtu, sizeof(mtu), NULL, 0);
}

static void shape(void **state)
{
	const uint64_t mtu = 1500;

	wire_check_shape(*state, VHOST_USER_NET_SET_MTU, &mtu, sizeof(mtu), 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(reaches_the_device, acks), WIRE_TEST(reaches_the_device, running),
		WIRE_TEST(out_of_range, acks),       WIRE_TEST(acks, acks),
		WIRE_TEST(not_negotiated, acks),     WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("NET_SET_MTU", tests, NULL, NULL);
}
