/* SPDX-License-Identifier: MIT */
/* GET_CONFIG: the reply is as long as the request, or empty to say that it failed. */
#include <string.h>

#include "wire.h"

/* Returns the size of the reply's payload. */
static int get(struct wire *w, uint32_t off, uint32_t len, struct proto_config *ret_reply)
{
	struct proto_config ask = { .offset = off, .size = len };
	struct proto_header hdr;
	int r = frontend_send(&w->fe, VHOST_USER_GET_CONFIG, VU_FLAG_VERSION, &ask,
			      PROTO_CONFIG_HEAD + len, NULL, 0);

	assert_int_equal(r, 0);
	r = frontend_recv(&w->fe, &hdr, ret_reply, sizeof(*ret_reply));
	if (r >= 0) {
		assert_int_equal(hdr.request, VHOST_USER_GET_CONFIG);
		assert_int_equal(hdr.flags, VU_FLAG_VERSION | VU_FLAG_REPLY);
		assert_true(frontend_silent(&w->fe));
	}
	return r;
}

static void good(void **state)
{
	struct wire *w = *state;
	struct proto_config reply;

	memcpy(w->config, "0123456789abcdef", WIRE_CONFIG_SIZE);
	assert_int_equal(get(w, 0, WIRE_CONFIG_SIZE, &reply), PROTO_CONFIG_HEAD + WIRE_CONFIG_SIZE);
	assert_int_equal(reply.offset, 0);
	assert_int_equal(reply.size, WIRE_CONFIG_SIZE);
	assert_memory_equal(reply.data, w->config, WIRE_CONFIG_SIZE);

	assert_int_equal(get(w, 10, 3, &reply), PROTO_CONFIG_HEAD + 3);
	assert_int_equal(reply.offset, 10);
	assert_memory_equal(reply.data, "abc", 3);
}

static void outside_the_device(void **state)
{
	struct wire *w = *state;
	struct proto_config reply;

	assert_int_equal(get(w, WIRE_CONFIG_SIZE, 1, &reply), 0);
	assert_int_equal(get(w, 1, WIRE_CONFIG_SIZE, &reply), 0);
	assert_int_equal(get(w, 0, VU_CONFIG_MAX, &reply), 0);
	assert_int_equal(get(w, UINT32_MAX, 1, &reply), 0);
	assert_int_equal(get(w, UINT32_MAX - 15, WIRE_CONFIG_SIZE, &reply), 0);
	wire_expect_alive(w);
}

static void nothing_asked(void **state)
{
	struct proto_config reply;

	assert_int_equal(get(*state, 0, 0, &reply), 0);
	wire_expect_alive(*state);
}

static void one_reply(void **state)
{
	const struct proto_config ask = { .size = 4 };

	wire_check_one_reply(*state, VHOST_USER_GET_CONFIG, &ask, PROTO_CONFIG_HEAD + 4);
}

/* Not negotiated: refused in the only way that this reply has. */
static void needs_its_feature(void **state)
{
	struct proto_config reply;

	assert_int_equal(get(*state, 0, 4, &reply), 0);
	wire_expect_alive(*state);
}

static void size_inside_is_not_the_size_outside(void **state)
{
	const struct proto_config larger = { .size = 5 }, smaller = { .size = 3 },
				  huge = { .size = UINT32_MAX };

	wire_drops(*state, VHOST_USER_GET_CONFIG, &larger, PROTO_CONFIG_HEAD + 4, NULL, 0);
	wire_drops(*state, VHOST_USER_GET_CONFIG, &smaller, PROTO_CONFIG_HEAD + 4, NULL, 0);
	wire_drops(*state, VHOST_USER_GET_CONFIG, &huge, PROTO_CONFIG_HEAD + 4, NULL, 0);
}

static void longer_than_any(void **state)
{
	uint8_t payload[PROTO_CONFIG_HEAD + VU_CONFIG_MAX + 1] = { 0 };
	const uint32_t size = VU_CONFIG_MAX + 1;

	memcpy(payload + 4, &size, sizeof(size));
	wire_drops(*state, VHOST_USER_GET_CONFIG, payload, sizeof(payload), NULL, 0);
}

static void shape(void **state)
{
	const struct proto_config ask = { .size = 4 };

	wire_check_shape(*state, VHOST_USER_GET_CONFIG, &ask, PROTO_CONFIG_HEAD + 4, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, acks),
		WIRE_TEST(good, running),
		WIRE_TEST(outside_the_device, acks),
		WIRE_TEST(nothing_asked, acks),
		WIRE_TEST(one_reply, acks),
		WIRE_TEST(needs_its_feature, connected),
		WIRE_TEST(size_inside_is_not_the_size_outside, acks),
		WIRE_TEST(longer_than_any, acks),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("GET_CONFIG", tests, NULL, NULL);
}
