/* SPDX-License-Identifier: MIT */
/* GET_MAX_MEM_SLOTS: how many regions mem.h holds. */
#include "mem.h"
#include "wire.h"

static void good(void **state)
{
	struct wire *w = *state;
	uint64_t n;

	assert_int_equal(frontend_get_u64(&w->fe, VHOST_USER_GET_MAX_MEM_SLOTS, &n), 0);
	assert_int_equal(n, MEM_MAX_REGIONS);
}

static void one_reply(void **state)
{
	wire_check_one_reply(*state, VHOST_USER_GET_MAX_MEM_SLOTS, NULL, 0);
}

static void shape(void **state)
{
	wire_check_shape(*state, VHOST_USER_GET_MAX_MEM_SLOTS, NULL, 0, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, acks),
		WIRE_TEST(one_reply, acks),
		WIRE_TEST(one_reply, running),
		WIRE_TEST(shape, connected),
	};

	return cmocka_run_group_tests_name("GET_MAX_MEM_SLOTS", tests, NULL, NULL);
}
