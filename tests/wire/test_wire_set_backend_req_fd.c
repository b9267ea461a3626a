/* SPDX-License-Identifier: MIT */
/* SET_BACKEND_REQ_FD: a socket on which we speak first, and what we say there. */
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "wire.h"

static int set(struct wire *w, int fd)
{
	return frontend_ask(&w->fe, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &fd, 1);
}

/* A channel; [0] is the frontend's end. */
static void channel(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
}

static void config_change(void **state)
{
	struct wire *w = *state;
	struct proto_header hdr;
	char more;
	int pair[2];

	assert_false(vu_session_config_changed(w->session));
	channel(pair);
	assert_int_equal(set(w, pair[1]), 0);
	close(pair[1]);
	assert_true(vu_session_config_changed(w->session));
	assert_int_equal(recv(pair[0], &hdr, sizeof(hdr), MSG_DONTWAIT), sizeof(hdr));
	assert_int_equal(hdr.request, VU_BACKEND_CONFIG_CHANGE_MSG);
	assert_int_equal(hdr.flags, VU_FLAG_VERSION);
	assert_int_equal(hdr.size, 0);
	assert_int_equal(recv(pair[0], &more, 1, MSG_DONTWAIT), -1);
	close(pair[0]);
}

/* It reads nothing: what is told often enough is told. */
static void deaf(void **state)
{
	struct wire *w = *state;
	struct proto_header hdr;
	int pair[2];

	channel(pair);
	assert_int_equal(set(w, pair[1]), 0);
	close(pair[1]);
	for (unsigned i = 0; i < 100000; i++)
		assert_true(vu_session_config_changed(w->session));
	while (recv(pair[0], &hdr, sizeof(hdr), MSG_DONTWAIT) > 0)
		assert_int_equal(hdr.request, VU_BACKEND_CONFIG_CHANGE_MSG);
	assert_true(vu_session_config_changed(w->session));
	close(pair[0]);
}

/* It hangs up: no signal, no more attempts, and another channel may come. */
static void gone(void **state)
{
	struct wire *w = *state;
	unsigned before = count_fds();
	int pair[2];

	channel(pair);
	assert_int_equal(set(w, pair[1]), 0);
	close(pair[1]);
	close(pair[0]);
	assert_false(vu_session_config_changed(w->session));
	assert_int_equal(count_fds(), before);
	assert_false(vu_session_config_changed(w->session));
	wire_expect_alive(w);
	config_change(state);
}

/* Each closes the one before (CVE-2019-14818). */
static void repeated_cve_2019_14818(void **state)
{
	struct wire *w = *state;
	unsigned before;
	int pair[2];

	channel(pair);
	assert_int_equal(set(w, pair[1]), 0);
	before = count_fds();
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(set(w, pair[1]), 0);
	assert_int_equal(count_fds(), before);
	close(pair[0]);
	close(pair[1]);
}

/* Only a Unix stream socket is one that we can write to without waiting for anybody. */
static void other_files(void **state)
{
	struct wire *w = *state;
	int fds[5], pair[2];
	unsigned before;

	fds[0] = memfd_create("channel", MFD_CLOEXEC);
	fds[1] = eventfd(0, EFD_CLOEXEC);
	fds[2] = open("/dev/null", O_RDWR | O_CLOEXEC);
	fds[3] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	fds[4] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	channel(pair);
	assert_int_equal(set(w, pair[1]), 0);
	before = count_fds();
	for (unsigned i = 0; i < array_size(fds); i++) {
		assert_true(fds[i] >= 0);
		assert_int_equal(set(w, fds[i]), 1);
		close(fds[i]);
	}
	assert_int_equal(count_fds(), before - array_size(fds));
	assert_true(vu_session_config_changed(w->session)); /* the good one stayed */
	close(pair[0]);
	close(pair[1]);
}

static void acks(void **state)
{
	int pair[2];

	channel(pair);
	wire_check_ack(*state, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1, false);
	close(pair[0]);
	close(pair[1]);
}

static void not_negotiated(void **state)
{
	int pair[2];

	channel(pair);
	wire_check_not_negotiated(*state, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1);
	close(pair[0]);
	close(pair[1]);
}

static void shape(void **state)
{
	wire_check_shape(*state, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, 1, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(config_change, acks),
		WIRE_TEST(config_change, running),
		WIRE_TEST(deaf, acks),
		WIRE_TEST(gone, acks),
		WIRE_TEST(repeated_cve_2019_14818, acks),
		WIRE_TEST(other_files, acks),
		WIRE_TEST(acks, acks),
		WIRE_TEST(not_negotiated, acks),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("SET_BACKEND_REQ_FD", tests, NULL, NULL);
}
