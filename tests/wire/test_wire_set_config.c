/* SPDX-License-Identifier: MIT */
/* SET_CONFIG: the device decides; a session without CONFIG does not ask it. */
#include <string.h>

#include "wire.h"

static int set(struct wire *w, uint32_t off, const char *text, uint32_t flags)
{
	struct proto_config config = {
		.offset = off,
		.size = (uint32_t)strlen(text),
		.flags = flags,
	};

	memcpy(config.data, text, strlen(text));
	return frontend_ask(&w->fe, VHOST_USER_SET_CONFIG, &config, PROTO_CONFIG_HEAD + config.size,
			    NULL, 0);
}

static void good(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, 2, "hello", 0), 0);
	assert_memory_equal(w->config, "\0\0hello\0", 8);
	assert_int_equal(w->config_flags, 0);
	assert_int_equal(set(w, 11, "world", 1), 0);
	assert_memory_equal(w->config + 11, "world", 5);
	assert_int_equal(w->config_flags, 1);
}

static void acks(void **state)
{
	const struct proto_config config = { .size = 4 }, outside = { .size = 4, .offset = 14 };

	wire_check_ack(*state, VHOST_USER_SET_CONFIG, &config, PROTO_CONFIG_HEAD + 4, NULL, 0,
		       false);
	wire_check_ack(*state, VHOST_USER_SET_CONFIG, &outside, PROTO_CONFIG_HEAD + 4, NULL, 0,
		       true);
}

static void outside_the_device(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, WIRE_CONFIG_SIZE, "x", 0), 1);
	assert_int_equal(set(w, WIRE_CONFIG_SIZE - 1, "xy", 0), 1);
	assert_int_equal(set(w, UINT32_MAX, "x", 0), 1);
	assert_int_equal(set(w, 0, "", 0), 1);
	for (unsigned i = 0; i < WIRE_CONFIG_SIZE; i++)
		assert_int_equal(w->config[i], 0);
}

static void needs_its_feature(void **state)
{
	struct wire *w = *state;

	assert_int_equal(frontend_ask_u64(&w->fe, VHOST_USER_SET_PROTOCOL_FEATURES,
					  1 << VHOST_USER_PROTOCOL_F_REPLY_ACK),
			 0);
	assert_int_equal(set(w, 0, "x", 0), 1);
	assert_int_equal(w->config[0], 0);
	wire_expect_alive(w);
}

static void size_inside_is_not_the_size_outside(void **state)
{
	const struct proto_config larger = { .size = 5 }, huge = { .size = UINT32_MAX - 11 };

	wire_drops(*state, VHOST_USER_SET_CONFIG, &larger, PROTO_CONFIG_HEAD + 4, NULL, 0);
	wire_drops(*state, VHOST_USER_SET_CONFIG, &huge, PROTO_CONFIG_HEAD, NULL, 0);
}

static void shape(void **state)
{
	const struct proto_config config = { .size = 4 };

	wire_check_shape(*state, VHOST_USER_SET_CONFIG, &config, PROTO_CONFIG_HEAD + 4, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, acks),
		WIRE_TEST(acks, acks),
		WIRE_TEST(outside_the_device, acks),
		WIRE_TEST(needs_its_feature, connected),
		WIRE_TEST(size_inside_is_not_the_size_outside, acks),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("SET_CONFIG", tests, NULL, NULL);
}
