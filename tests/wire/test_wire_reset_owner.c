/* SPDX-License-Identifier: MIT */
/* RESET_OWNER: deprecated; what the specification recommends is to disable all
 * rings and keep the connection's state. */
#include "wire.h"

static void disables_all(void **state)
{
	struct wire *w = *state;

	assert_true(w->queue[0].enabled);
	assert_int_equal(frontend_ask(&w->fe, VHOST_USER_RESET_OWNER, NULL, 0, NULL, 0), 0);
	assert_false(w->queue[0].enabled);
	assert_int_equal(w->queue[0].n_stop, 0);
	assert_int_equal(vu_session_features(w->session), w->fe.features);
	assert_string_equal(vu_session_state(w->session), "running");

	/* Those that were disabled before are not told again. */
	assert_int_equal(w->queue[1].n_enable, 0);
}

static void acks(void **state)
{
	wire_check_ack(*state, VHOST_USER_RESET_OWNER, NULL, 0, NULL, 0, false);
}

static void shape(void **state)
{
	wire_check_shape(*state, VHOST_USER_RESET_OWNER, NULL, 0, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(disables_all, running),
		WIRE_TEST(acks, acks),
		WIRE_TEST(shape, connected),
	};

	return cmocka_run_group_tests_name("RESET_OWNER", tests, NULL, NULL);
}
