/* SPDX-License-Identifier: MIT */
/* SET_LOG_FD: an eventfd that tells of new bits in the dirty log; what it tells is in test_wire_set_log_base.c. */
#include <sys/eventfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "wire.h"

static int set(struct wire *w, int fd)
{
	return frontend_ask(&w->fe, VHOST_USER_SET_LOG_FD, NULL, 0, &fd, fd < 0 ? 0 : 1);
}

/* Each closes the one before, and none closes the last. */
static void repeated_cve_2019_14818(void **state)
{
	struct wire *w = *state;
	auto_fd int fd = eventfd(0, EFD_CLOEXEC);
	unsigned before = count_fds();

	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(set(w, fd), 0);
	assert_int_equal(count_fds(), before + 1);
	assert_int_equal(set(w, -1), 0);
	assert_int_equal(count_fds(), before);
}

static void no_eventfd(void **state)
{
	struct wire *w = *state;
	auto_fd int fd = dup(w->fe.sock);
	unsigned before = count_fds();

	assert_int_equal(set(w, fd), 1);
	assert_int_equal(count_fds(), before);
	wire_expect_alive(w);
}

static void acks(void **state)
{
	wire_check_ack(*state, VHOST_USER_SET_LOG_FD, NULL, 0, NULL, 0, false);
}

static void not_negotiated(void **state)
{
	wire_check_not_negotiated(*state, VHOST_USER_SET_LOG_FD, NULL, 0, NULL, 0);
}

static void shape(void **state)
{
	wire_check_shape(*state, VHOST_USER_SET_LOG_FD, NULL, 0, 0, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(repeated_cve_2019_14818, acks),
		WIRE_TEST(no_eventfd, acks),
		WIRE_TEST(acks, acks),
		WIRE_TEST(not_negotiated, acks),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("SET_LOG_FD", tests, NULL, NULL);
}
