/* SPDX-License-Identifier: MIT */
/* SET_OWNER: a formality, since the connection is the ownership. */
#include "wire.h"

static void good(void **state)
{
	wire_check_ack(*state, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0, false);
}

static void changes_nothing_while_running(void **state)
{
	struct wire *w = *state;

	assert_int_equal(frontend_ask(&w->fe, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0), 0);
	assert_int_equal(w->queue[0].n_stop, 0);
	assert_string_equal(vu_session_state(w->session), "running");
}

static void shape(void **state)
{
	wire_check_shape(*state, VHOST_USER_SET_OWNER, NULL, 0, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, acks),
		WIRE_TEST(changes_nothing_while_running, running),
		WIRE_TEST(shape, connected),
	};

	return cmocka_run_group_tests_name("SET_OWNER", tests, NULL, NULL);
}
