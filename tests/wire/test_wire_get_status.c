/* SPDX-License-Identifier: MIT */
/* GET_STATUS: what SET_STATUS said (test_wire_set_status.c), 0 before. */
#include "wire.h"

static void begins_at_zero(void **state)
{
	struct wire *w = *state;
	uint64_t status = 1;

	assert_int_equal(frontend_get_u64(&w->fe, VHOST_USER_GET_STATUS, &status), 0);
	assert_int_equal(status, 0);
	assert_int_equal(frontend_ask_u64(&w->fe, VHOST_USER_SET_STATUS, 3), 0);
	assert_int_equal(frontend_get_u64(&w->fe, VHOST_USER_GET_STATUS, &status), 0);
	assert_int_equal(status, 3);
}

/* A new connection is a new device. */
static void not_inherited(void **state)
{
	struct wire *w = *state;
	uint64_t status = 1;

	assert_int_equal(frontend_ask_u64(&w->fe, VHOST_USER_SET_STATUS, 3), 0);
	wire_restart(w);
	assert_int_equal(frontend_get_u64(&w->fe, VHOST_USER_GET_STATUS, &status), 0);
	assert_int_equal(status, 0);
}

static void one_reply(void **state)
{
	wire_check_one_reply(*state, VHOST_USER_GET_STATUS, NULL, 0);
}

/* There is no way to refuse it. */
static void not_negotiated(void **state)
{
	struct wire *w = *state;

	assert_int_equal(frontend_ask_u64(&w->fe, VHOST_USER_SET_PROTOCOL_FEATURES, 0), -ETIMEDOUT);
	wire_drops(w, VHOST_USER_GET_STATUS, NULL, 0, NULL, 0);
}

static void shape(void **state)
{
	wire_check_shape(*state, VHOST_USER_GET_STATUS, NULL, 0, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(begins_at_zero, acks), WIRE_TEST(begins_at_zero, running),
		WIRE_TEST(not_inherited, acks),  WIRE_TEST(one_reply, acks),
		WIRE_TEST(not_negotiated, acks), WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("GET_STATUS", tests, NULL, NULL);
}
