/* SPDX-License-Identifier: MIT */
/* SET_VRING_NUM: a power of two up to VQ_MAX_NUM, of a ring that is stopped. */
#include "wire.h"

static int set(struct wire *w, uint32_t index, uint32_t num)
{
	return frontend_ask_state(&w->fe, VHOST_USER_SET_VRING_NUM, index, num);
}

static void good(void **state)
{
	struct wire *w = *state;

	for (uint32_t num = 1; num <= VQ_MAX_NUM; num *= 2) {
		assert_int_equal(set(w, WIRE_QUEUES - 1, num), 0);
		assert_int_equal(vu_session_queue(w->session, WIRE_QUEUES - 1)->num, num);
	}
}

/* CVE-2019-14818 (second half): a size that stops the data path, or is none at all. */
static void sizes_that_cannot_be_cve_2019_14818(void **state)
{
	struct wire *w = *state;
	const uint32_t bad[] = { 0,
				 3,
				 63,
				 65,
				 VQ_MAX_NUM - 1,
				 VQ_MAX_NUM + 1,
				 VQ_MAX_NUM * 2,
				 0x10000,
				 0x10040,
				 0x80000000,
				 UINT32_MAX };

	assert_int_equal(set(w, 0, 64), 0);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(set(w, 0, bad[i]), 1);
	assert_int_equal(vu_session_queue(w->session, 0)->num, 64);
	wire_expect_alive(w);
}

/* CVE-2026-86565: the size must not change under a ring that runs. */
static void frozen_while_running_cve_2026_86565(void **state)
{
	struct wire *w = *state;
	uint32_t base;

	assert_int_equal(set(w, 0, 128), 1);
	assert_int_equal(set(w, 0, WIRE_RING_NUM), 1);
	assert_int_equal(vu_session_queue(w->session, 0)->num, WIRE_RING_NUM);
	assert_int_equal(set(w, 1, 128), 0);
	assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
	assert_int_equal(set(w, 0, 128), 0);
}

static void acks(void **state)
{
	const struct proto_vring_state good_state = { 0, 8 }, bad_state = { 0, 7 };

	wire_check_ack(*state, VHOST_USER_SET_VRING_NUM, &good_state, sizeof(good_state), NULL, 0,
		       false);
	wire_check_ack(*state, VHOST_USER_SET_VRING_NUM, &bad_state, sizeof(bad_state), NULL, 0,
		       true);
}

/* CVE-2020-10723: an index that is in range only after it was truncated. */
static void no_such_ring_cve_2020_10723(void **state)
{
	const uint32_t bad[] = { WIRE_QUEUES, 0xff, 0x100, 0x10000, 0x80000000, UINT32_MAX };

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const struct proto_vring_state vring = { bad[i], 64 };

		wire_drops(*state, VHOST_USER_SET_VRING_NUM, &vring, sizeof(vring), NULL, 0);
	}
}

static void shape(void **state)
{
	const struct proto_vring_state vring = { 0, 64 };

	wire_check_shape(*state, VHOST_USER_SET_VRING_NUM, &vring, sizeof(vring), 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, acks),
		WIRE_TEST(sizes_that_cannot_be_cve_2019_14818, acks),
		WIRE_TEST(frozen_while_running_cve_2026_86565, running),
		WIRE_TEST(acks, acks),
		WIRE_TEST(no_such_ring_cve_2020_10723, acks),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("SET_VRING_NUM", tests, NULL, NULL);
}
