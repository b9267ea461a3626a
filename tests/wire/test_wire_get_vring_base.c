/* SPDX-License-Identifier: MIT */
/* GET_VRING_BASE: stops the ring, then tells where it stopped. */
#include <unistd.h>

#include "wire.h"

static void stops_the_ring(void **state)
{
	struct wire *w = *state;
	uint32_t base;

	assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
	assert_int_equal(base, 0);
	assert_int_equal(w->queue[0].n_stop, 1);
	assert_string_equal(vu_session_state(w->session), "negotiated");

	/* Kicks reach nobody now. */
	assert_int_equal(write(w->ring[0].kick_fd, &(uint64_t){ 1 }, 8), 8);
	frontend_pump(&w->fe);
	assert_int_equal(w->queue[0].n_kick, 0);
}

/* "Enabled" outlives it, the kick descriptor does not, call and error do. */
static void keeps_and_drops(void **state)
{
	struct wire *w = *state;
	struct vu_queue *q = vu_session_queue(w->session, 0);
	unsigned before = count_fds();
	uint32_t base;

	assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
	assert_int_equal(count_fds(), before - 1);
	assert_true(q->enabled && q->call_fd >= 0 && q->err_fd >= 0 && q->kick_fd < 0);
}

static void not_started(void **state)
{
	struct wire *w = *state;
	uint32_t base;

	for (unsigned i = 0; i < WIRE_QUEUES; i++) {
		assert_int_equal(frontend_ring_stop(&w->fe, i, &base), 0);
		assert_int_equal(base, 0);
		assert_int_equal(w->queue[i].n_stop, 0);
	}
}

static void starts_again(void **state)
{
	struct wire *w = *state;
	uint32_t base;

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
		assert_int_equal(frontend_ring_start(&w->fe, 0, &w->ring[0], true), 0);
	}
	assert_int_equal(w->queue[0].n_start, 4);
	assert_int_equal(w->queue[0].n_stop, 3);
}

static void one_reply(void **state)
{
	const struct proto_vring_state ask = { 0, 0 };

	wire_check_one_reply(*state, VHOST_USER_GET_VRING_BASE, &ask, sizeof(ask));
}

/* There is no way to refuse it: a frontend that asks for no ring is told nothing. */
static void no_such_ring(void **state)
{
	const struct proto_vring_state ask = { WIRE_QUEUES, 0 }, truncated = { 0x100, 0 };

	wire_drops(*state, VHOST_USER_GET_VRING_BASE, &ask, sizeof(ask), NULL, 0);
	wire_drops(*state, VHOST_USER_GET_VRING_BASE, &truncated, sizeof(truncated), NULL, 0);
}

static void shape(void **state)
{
	const struct proto_vring_state ask = { 0, 0 };

	wire_check_shape(*state, VHOST_USER_GET_VRING_BASE, &ask, sizeof(ask), 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(stops_the_ring, running), WIRE_TEST(keeps_and_drops, running),
		WIRE_TEST(not_started, connected),  WIRE_TEST(starts_again, running),
		WIRE_TEST(one_reply, running),      WIRE_TEST(one_reply, connected),
		WIRE_TEST(no_such_ring, acks),      WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("GET_VRING_BASE", tests, NULL, NULL);
}
