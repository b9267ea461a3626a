/* SPDX-License-Identifier: MIT */
/* SEND_RARP: passed on to the device. */
#include <string.h>

#include "wire.h"

/* The six bytes are the first of the payload's eight, whatever the byte order. */
static uint64_t word_of(const uint8_t mac[6])
{
	uint64_t word = 0;

	memcpy(&word, mac, 6);
	return word;
}

static const uint8_t station[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };

static void reaches_the_device(void **state)
{
	struct wire *w = *state;

	assert_int_equal(frontend_ask_u64(&w->fe, VHOST_USER_SEND_RARP, word_of(station)), 0);
	assert_int_equal(w->n_rarp, 1);
	assert_memory_equal(w->mac, station, 6);
}

static void refused_by_the_device(void **state)
{
	struct wire *w = *state;
	const uint8_t group[6] = { 1 };

	assert_int_equal(frontend_ask_u64(&w->fe, VHOST_USER_SEND_RARP, word_of(group)), 1);
	assert_int_equal(w->n_rarp, 0);
	wire_expect_alive(w);
}

static void acks(void **state)
{
	const uint64_t word = word_of(station);

	wire_check_ack(*state, VHOST_USER_SEND_RARP, &word, sizeof(word), NULL, 0, false);
}

static void not_negotiated(void **state)
{
	const uint64_t word = word_of(station);

	wire_check_not_negotiated(*state, VHOST_USER_SEND_RARP, &word, sizeof(word), NULL, 0);
}

static void shape(void **state)
{
	const uint64_t word = 0;

	wire_check_shape(*state, VHOST_USER_SEND_RARP, &word, sizeof(word), 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(reaches_the_device, negotiated), WIRE_TEST(reaches_the_device, running),
		WIRE_TEST(refused_by_the_device, running), WIRE_TEST(acks, acks),
		WIRE_TEST(not_negotiated, acks),           WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("SEND_RARP", tests, NULL, NULL);
}
