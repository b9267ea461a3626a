/* SPDX-License-Identifier: MIT */
/* CHECK_DEVICE_STATE: how the last transfer went (test_wire_set_device_state_fd.c), once for each. */
#include <fcntl.h>
#include <unistd.h>

#include "wire.h"

static uint64_t check(struct wire *w)
{
	uint64_t result;

	assert_int_equal(frontend_get_u64(&w->fe, VHOST_USER_CHECK_DEVICE_STATE, &result), 0);
	return result;
}

/* Where nothing was transferred nothing went well. */
static void without_a_transfer(void **state)
{
	struct wire *w = *state;

	assert_int_equal(check(w), 1);
	assert_int_equal(check(w), 1);
	wire_expect_alive(w);
}

static void once(void **state)
{
	const struct proto_device_state save = { VU_STATE_SAVE, VU_STATE_STOPPED };
	struct wire *w = *state;
	struct proto_header hdr;
	uint64_t answer;
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(frontend_send(&w->fe, VHOST_USER_SET_DEVICE_STATE_FD, VU_FLAG_VERSION,
				       &save, sizeof(save), &p[1], 1),
			 0);
	assert_int_equal(frontend_recv(&w->fe, &hdr, &answer, sizeof(answer)), sizeof(answer));
	assert_int_equal(answer, VU_STATE_NOFD);
	assert_int_equal(check(w), 0);
	assert_int_equal(check(w), 1);
	close(p[0]);
	close(p[1]);
}

static void one_reply(void **state)
{
	wire_check_one_reply(*state, VHOST_USER_CHECK_DEVICE_STATE, NULL, 0);
}

static void shape(void **state)
{
	wire_check_shape(*state, VHOST_USER_CHECK_DEVICE_STATE, NULL, 0, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(without_a_transfer, acks),
		WIRE_TEST(without_a_transfer, running),
		WIRE_TEST(once, acks),
		WIRE_TEST(one_reply, acks),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("CHECK_DEVICE_STATE", tests, NULL, NULL);
}
