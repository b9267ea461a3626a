/* SPDX-License-Identifier: MIT */
/* SET_STATUS: what the driver says of itself.  Only 0, a reset, does something. */
#include <linux/virtio_config.h>

#include "wire.h"

#define ALIVE (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)
#define READY (ALIVE | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)

static int set(struct wire *w, uint64_t status)
{
	return frontend_ask_u64(&w->fe, VHOST_USER_SET_STATUS, status);
}

static uint64_t get(struct wire *w)
{
	uint64_t status = UINT64_MAX;

	assert_int_equal(frontend_get_u64(&w->fe, VHOST_USER_GET_STATUS, &status), 0);
	return status;
}

static void is_kept(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, ALIVE), 0);
	assert_int_equal(get(w), ALIVE);
	assert_int_equal(set(w, READY), 0);
	assert_int_equal(get(w), READY);
	assert_int_equal(w->queue[0].n_stop, 0);
}

/* virtio 1.3, 3.1.1: the driver reads it again to see whether the features were accepted. */
static void features_are_not_ok(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, READY), 0);
	assert_int_equal(get(w), READY & ~VIRTIO_CONFIG_S_FEATURES_OK);
}

static void reset_stops_rings(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, 0), 0);
	assert_int_equal(w->queue[0].n_stop, 1);
	assert_int_equal(get(w), 0);
	assert_int_equal(frontend_memory(&w->fe, 0), -EBUSY); /* memory is there */
	assert_int_equal(frontend_ask_u64(&w->fe, VHOST_USER_SET_FEATURES, w->fe.features), 0);
	assert_int_equal(w->queue[0].n_start, 1);
	assert_int_equal(frontend_ring_start(&w->fe, 0, &w->ring[0], true), 0);
	assert_int_equal(w->queue[0].n_start, 2);
}

/* The field is a byte. */
static void out_of_range(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, ALIVE), 0);
	assert_int_equal(set(w, 0x100), 1);
	assert_int_equal(set(w, UINT64_MAX), 1);
	assert_int_equal(get(w), ALIVE);
	assert_int_equal(set(w, 0xff), 0);
	wire_expect_alive(w);
}

static void acks(void **state)
{
	const uint64_t word = ALIVE;

	wire_check_ack(*state, VHOST_USER_SET_STATUS, &word, sizeof(word), NULL, 0, false);
}

static void not_negotiated(void **state)
{
	const uint64_t word = 0;

	wire_check_not_negotiated(*state, VHOST_USER_SET_STATUS, &word, sizeof(word), NULL, 0);
	assert_int_equal(((struct wire *)*state)->queue[0].n_stop, 0);
}

static void shape(void **state)
{
	const uint64_t word = ALIVE;

	wire_check_shape(*state, VHOST_USER_SET_STATUS, &word, sizeof(word), 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(is_kept, running),
		WIRE_TEST(features_are_not_ok, acks),
		WIRE_TEST(reset_stops_rings, running),
		WIRE_TEST(out_of_range, running),
		WIRE_TEST(acks, acks),
		WIRE_TEST(not_negotiated, running),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("SET_STATUS", tests, NULL, NULL);
}
