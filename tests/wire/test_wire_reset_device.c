/* SPDX-License-Identifier: MIT */
/* RESET_DEVICE: the device as it was made; memory and the connection as they are. */
#include "wire.h"

static int reset(struct wire *w)
{
	return frontend_ask(&w->fe, VHOST_USER_RESET_DEVICE, NULL, 0, NULL, 0);
}

static void stops_and_forgets(void **state)
{
	struct wire *w = *state;
	const struct vu_queue *q = vu_session_queue(w->session, 0);

	assert_int_equal(reset(w), 0);
	assert_int_equal(w->n_reset, 1);
	assert_int_equal(w->queue[0].n_stop, 1);
	assert_false(q->enabled || q->has_addr || q->started);
	assert_int_equal(q->num, 0);
	assert_int_equal(vu_session_features(w->session), 0);
	assert_string_equal(vu_session_state(w->session), "connected");
	assert_int_equal(vu_session_mem(w->session)->n, 1);
	assert_true(vu_session_protocol_features(w->session) != 0);
}

/* A ring needs all that it needed at first, kick descriptor included; then it starts from the beginning. */
static void begins_anew(void **state)
{
	struct wire *w = *state;
	uint32_t base;

	assert_int_equal(reset(w), 0);
	assert_int_equal(frontend_ask_u64(&w->fe, VHOST_USER_SET_FEATURES, w->fe.features), 0);
	assert_int_equal(w->queue[0].n_start, 1);
	assert_int_equal(frontend_ring_start(&w->fe, 0, &w->ring[0], true), 0);
	assert_int_equal(w->queue[0].n_start, 2);
	assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
	assert_int_equal(base, 0);
}

static void again_and_idle(void **state)
{
	struct wire *w = *state;

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(reset(w), 0);
	assert_int_equal(w->n_reset, 3);
	wire_expect_alive(w);
}

static void acks(void **state)
{
	wire_check_ack(*state, VHOST_USER_RESET_DEVICE, NULL, 0, NULL, 0, false);
}

static void not_negotiated(void **state)
{
	struct wire *w = *state;

	wire_check_not_negotiated(w, VHOST_USER_RESET_DEVICE, NULL, 0, NULL, 0);
	assert_int_equal(w->n_reset, 0);
}

static void shape(void **state)
{
	wire_check_shape(*state, VHOST_USER_RESET_DEVICE, NULL, 0, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(stops_and_forgets, running),
		WIRE_TEST(begins_anew, running),
		WIRE_TEST(again_and_idle, acks),
		WIRE_TEST(again_and_idle, running),
		WIRE_TEST(acks, acks),
		WIRE_TEST(not_negotiated, running),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("RESET_DEVICE", tests, NULL, NULL);
}
