/* SPDX-License-Identifier: MIT */
/* SET_PROTOCOL_FEATURES: a subset of what is offered; what it takes away is gone. */
#include "base.h"
#include "wire.h"

#define REPLY_ACK BIT_ULL(VHOST_USER_PROTOCOL_F_REPLY_ACK)

static int set(struct wire *w, uint64_t features)
{
	return frontend_ask_u64(&w->fe, VHOST_USER_SET_PROTOCOL_FEATURES, features);
}

static void good(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, vu_offered_protocol_features(&wire_ops)), 0);
	assert_int_equal(vu_session_protocol_features(w->session),
			 vu_offered_protocol_features(&wire_ops));
}

static void every_unoffered_bit(void **state)
{
	struct wire *w = *state;

	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t features = REPLY_ACK | BIT_ULL(bit);
		bool offered = !(features & ~vu_offered_protocol_features(&wire_ops));

		assert_int_equal(set(w, features), !offered);
	}
}

/* The acknowledgement that this very message turns on answers this very message. */
static void turns_acks_on(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, REPLY_ACK), 0);
}

/* NEED_REPLY means nothing before REPLY_ACK is negotiated, nor after it is gone. */
static void no_acks_without_the_feature(void **state)
{
	struct wire *w = *state;
	const uint64_t none = 0;

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(frontend_send(&w->fe, VHOST_USER_SET_OWNER,
					       VU_FLAG_VERSION | VU_FLAG_NEED_REPLY, NULL, 0, NULL,
					       0),
				 0);
		assert_true(frontend_silent(&w->fe));
		assert_int_equal(set(w, REPLY_ACK), 0);
		assert_int_equal(frontend_send(&w->fe, VHOST_USER_SET_PROTOCOL_FEATURES,
					       VU_FLAG_VERSION, &none, sizeof(none), NULL, 0),
				 0);
	}
	wire_expect_alive(w);
}

static void shape(void **state)
{
	const uint64_t word = REPLY_ACK;

	wire_check_shape(*state, VHOST_USER_SET_PROTOCOL_FEATURES, &word, sizeof(word), 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, acks),
		WIRE_TEST(every_unoffered_bit, acks),
		WIRE_TEST(turns_acks_on, connected),
		WIRE_TEST(no_acks_without_the_feature, connected),
		WIRE_TEST(shape, connected),
	};

	return cmocka_run_group_tests_name("SET_PROTOCOL_FEATURES", tests, NULL, NULL);
}
