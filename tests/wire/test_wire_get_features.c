/* SPDX-License-Identifier: MIT */
/* GET_FEATURES: what the library and the device offer together. */
#include <linux/virtio_config.h>

#include "base.h"
#include "wire.h"

static void good(void **state)
{
	struct wire *w = *state;
	uint64_t features;

	assert_int_equal(frontend_get_u64(&w->fe, VHOST_USER_GET_FEATURES, &features), 0);
	assert_int_equal(features, WIRE_FEATURE | WIRE_SPECIAL | BIT_ULL(VIRTIO_F_VERSION_1) |
					   BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) |
					   BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
					   BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES));
}

static void one_reply(void **state)
{
	wire_check_one_reply(*state, VHOST_USER_GET_FEATURES, NULL, 0);
}

/* QEMU asks again for each queue pair, also while the first one runs. */
static void same_while_running(void **state)
{
	struct wire *w = *state;
	uint64_t features;

	assert_int_equal(frontend_get_u64(&w->fe, VHOST_USER_GET_FEATURES, &features), 0);
	assert_int_equal(features, vu_offered_features(&wire_ops));
}

static void shape(void **state)
{
	wire_check_shape(*state, VHOST_USER_GET_FEATURES, NULL, 0, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, connected),  WIRE_TEST(one_reply, connected),
		WIRE_TEST(one_reply, acks),  WIRE_TEST(same_while_running, running),
		WIRE_TEST(shape, connected),
	};

	return cmocka_run_group_tests_name("GET_FEATURES", tests, NULL, NULL);
}
