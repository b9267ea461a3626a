/* SPDX-License-Identifier: MIT */
/* SET_FEATURES: a subset of what is offered, with VERSION_1, frozen while a ring runs. */
#include <linux/virtio_config.h>

#include "base.h"
#include "wire.h"

#define MODERN           (BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES))
#define WITHOUT_PROTOCOL BIT_ULL(VIRTIO_F_VERSION_1)

static int set(struct wire *w, uint64_t features)
{
	return frontend_ask_u64(&w->fe, VHOST_USER_SET_FEATURES, features);
}

static void good(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, MODERN | WIRE_FEATURE), 0);
	assert_int_equal(w->n_negotiated, 1);
	assert_int_equal(w->features, MODERN | WIRE_FEATURE);
	assert_int_equal(vu_session_features(w->session), MODERN | WIRE_FEATURE);
}

/* QEMU repeats the word for each queue pair: the device hears of changes only. */
static void repeated(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, MODERN), 0);
	assert_int_equal(set(w, MODERN), 0);
	assert_int_equal(w->n_negotiated, 1);
	assert_int_equal(set(w, MODERN | WIRE_FEATURE), 0);
	assert_int_equal(w->n_negotiated, 2);
}

static void acks(void **state)
{
	const uint64_t good_word = MODERN, bad_word = MODERN | WIRE_NO_FEATURE;

	wire_check_ack(*state, VHOST_USER_SET_FEATURES, &good_word, 8, NULL, 0, false);
	wire_check_ack(*state, VHOST_USER_SET_FEATURES, &bad_word, 8, NULL, 0, true);
}

/* No ring may run on features that the frontend believes in and we do not. */
static void unoffered_leaves_none(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, MODERN), 0);
	assert_int_equal(set(w, MODERN | WIRE_NO_FEATURE), 1);
	assert_int_equal(vu_session_features(w->session), 0);
	assert_int_equal(frontend_memory(&w->fe, WIRE_MEMORY), 0);
	assert_string_equal(vu_session_state(w->session), "connected");
	assert_int_equal(frontend_ring_start(&w->fe, 0, &w->ring[0], true), 0);
	assert_int_equal(w->queue[0].n_start, 0);

	/* The ring has waited for them. */
	assert_int_equal(set(w, MODERN), 0);
	assert_int_equal(w->queue[0].n_start, 1);
	assert_string_equal(vu_session_state(w->session), "running");
}

static void every_unoffered_bit(void **state)
{
	struct wire *w = *state;

	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t features = MODERN | BIT_ULL(bit);
		bool offered = !(features & ~vu_offered_features(&wire_ops));

		assert_int_equal(set(w, features), !offered);
	}
}

static void legacy_driver(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES)), 1);
	assert_int_equal(w->n_negotiated, 0);
	wire_expect_alive(w);
}

static void frozen_while_running(void **state)
{
	struct wire *w = *state;
	uint64_t features = w->fe.features;

	assert_int_equal(set(w, features), 0);
	assert_int_equal(set(w, features & ~WIRE_FEATURE), 1);
	assert_int_equal(vu_session_features(w->session), features);
	assert_int_equal(w->n_negotiated, 1);
	assert_int_equal(w->queue[0].n_stop, 0);
}

/* Without bit 30 there is no SET_VRING_ENABLE: all rings are enabled. */
static void enables_without_protocol_features(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, MODERN), 0);
	assert_false(w->queue[0].enabled);
	assert_int_equal(set(w, WITHOUT_PROTOCOL), 0);
	for (unsigned i = 0; i < WIRE_QUEUES; i++)
		assert_true(w->queue[i].enabled && w->queue[i].n_enable == 1);

	/* And the other word does not disable them again. */
	assert_int_equal(set(w, MODERN), 0);
	assert_true(w->queue[0].enabled);
}

static void shape(void **state)
{
	const uint64_t word = MODERN;

	wire_check_shape(*state, VHOST_USER_SET_FEATURES, &word, sizeof(word), 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, acks),
		WIRE_TEST(repeated, acks),
		WIRE_TEST(acks, acks),
		WIRE_TEST(unoffered_leaves_none, acks),
		WIRE_TEST(every_unoffered_bit, acks),
		WIRE_TEST(legacy_driver, acks),
		WIRE_TEST(frozen_while_running, running),
		WIRE_TEST(enables_without_protocol_features, acks),
		WIRE_TEST(shape, connected),
	};

	return cmocka_run_group_tests_name("SET_FEATURES", tests, NULL, NULL);
}
