/* SPDX-License-Identifier: MIT */
/* GET_QUEUE_NUM: in the device's own unit, which for a network device is a pair. */
#include "wire.h"

static void good(void **state)
{
	struct wire *w = *state;
	uint64_t n;

	assert_int_equal(frontend_get_u64(&w->fe, VHOST_USER_GET_QUEUE_NUM, &n), 0);
	assert_int_equal(n, WIRE_QUEUES / 2);
	assert_int_equal(frontend_get_u64(&w->sibling_fe, VHOST_USER_GET_QUEUE_NUM, &n), 0);
	assert_int_equal(n, 1);
}

static void one_reply(void **state)
{
	wire_check_one_reply(*state, VHOST_USER_GET_QUEUE_NUM, NULL, 0);
}

static void shape(void **state)
{
	wire_check_shape(*state, VHOST_USER_GET_QUEUE_NUM, NULL, 0, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, connected),
		WIRE_TEST(one_reply, acks),
		WIRE_TEST(one_reply, running),
		WIRE_TEST(shape, connected),
	};

	return cmocka_run_group_tests_name("GET_QUEUE_NUM", tests, NULL, NULL);
}
