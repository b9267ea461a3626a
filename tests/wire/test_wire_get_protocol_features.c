/* SPDX-License-Identifier: MIT */
/* GET_PROTOCOL_FEATURES: what the library offers by itself, and what only with a device that can do it. */
#include "base.h"
#include "wire.h"

static void good(void **state)
{
	struct wire *w = *state;
	uint64_t features, expected = BIT_ULL(VHOST_USER_PROTOCOL_F_MQ) |
				      BIT_ULL(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
				      BIT_ULL(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);

	assert_int_equal(frontend_get_u64(&w->fe, VHOST_USER_GET_PROTOCOL_FEATURES, &features), 0);
	assert_int_equal(features, expected | wire_ops.protocol_features |
					   BIT_ULL(VHOST_USER_PROTOCOL_F_CONFIG) |
					   BIT_ULL(VHOST_USER_PROTOCOL_F_RARP) |
					   BIT_ULL(VHOST_USER_PROTOCOL_F_NET_MTU) |
					   BIT_ULL(VHOST_USER_PROTOCOL_F_SHMEM_MAP) |
					   BIT_ULL(VHOST_USER_PROTOCOL_F_DEVICE_STATE));
	assert_int_equal(
		frontend_get_u64(&w->sibling_fe, VHOST_USER_GET_PROTOCOL_FEATURES, &features), 0);
	assert_int_equal(features, expected);
}

static void one_reply(void **state)
{
	wire_check_one_reply(*state, VHOST_USER_GET_PROTOCOL_FEATURES, NULL, 0);
}

static void shape(void **state)
{
	wire_check_shape(*state, VHOST_USER_GET_PROTOCOL_FEATURES, NULL, 0, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, connected),
		WIRE_TEST(one_reply, acks),
		WIRE_TEST(one_reply, running),
		WIRE_TEST(shape, connected),
	};

	return cmocka_run_group_tests_name("GET_PROTOCOL_FEATURES", tests, NULL, NULL);
}
