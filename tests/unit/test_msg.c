/* SPDX-License-Identifier: MIT */
/* Messages over a socket pair: resuming, ownership of descriptors, replies that get stuck. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "frontend.h"
#include "msg.h"

struct fixture {
	struct frontend fe;
	int sock;
	struct msg_rx rx;
	struct msg_tx tx;
	int event;
};

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	msg_rx_init(&f.rx);
	f.event = eventfd(0, EFD_CLOEXEC);
	*state = &f;
	return frontend_pair(&f.fe, &f.sock);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	msg_rx_done(&f->rx);
	frontend_done(&f->fe);
	close(f->sock);
	close(f->event);
	return 0;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void test_whole(void **state)
{
	struct fixture *f = *state;
	const uint64_t word = 3;
	const char *why;
	struct msg msg;
	int fd;

	assert_int_equal(msg_recv(&f->rx, f->sock, &msg, &why), 0);
	assert_int_equal(frontend_send(&f->fe, VHOST_USER_SET_VRING_KICK, VU_FLAG_VERSION, &word, 8,
				       &f->event, 1),
			 0);
	assert_int_equal(msg_recv(&f->rx, f->sock, &msg, &why), 1);
	assert_int_equal(msg.hdr.request, VHOST_USER_SET_VRING_KICK);
	assert_int_equal(msg.payload.u64, 3);
	assert_int_equal(msg.n_fds, 1);
	assert_int_equal(msg_recv(&f->rx, f->sock, &msg, &why), 0); /* *ret_msg is untouched */

	fd = msg_take_fd(&msg, 0);
	assert_true(is_open(fd));
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(msg_take_fd(&msg, 0), -1);
	assert_int_equal(msg_take_fd(&msg, 1), -1);
	msg_done(&msg);
	assert_true(is_open(fd));
	close(fd);
}

static void test_not_taken_is_closed(void **state)
{
	struct fixture *f = *state;
	const int fds[2] = { f->event, f->event };
	const char *why;
	struct msg msg;
	int kept, lost;

	assert_int_equal(frontend_send(&f->fe, 60, VU_FLAG_VERSION, NULL, 0, fds, 2), 0);
	assert_int_equal(msg_recv(&f->rx, f->sock, &msg, &why), 1);
	kept = msg_take_fd(&msg, 0);
	lost = msg.fds[1];
	msg_done(&msg);
	assert_true(is_open(kept));
	assert_false(is_open(lost));
	close(kept);
	msg_done(&msg);
}

/* A message that never ends is dropped with its descriptors. */
static void test_half(void **state)
{
	struct fixture *f = *state;
	const struct proto_header hdr = { VHOST_USER_SET_VRING_KICK, VU_FLAG_VERSION, 8 };
	const char *why;
	struct msg msg;
	int fd;

	assert_int_equal(frontend_send_bytes(&f->fe, &hdr, 5, &f->event, 1), 0);
	assert_int_equal(msg_recv(&f->rx, f->sock, &msg, &why), 0);
	fd = f->rx.msg.fds[0];
	assert_true(is_open(fd));
	frontend_done(&f->fe);
	assert_int_equal(msg_recv(&f->rx, f->sock, &msg, &why), -ECONNRESET);
	msg_rx_done(&f->rx);
	assert_false(is_open(fd));
}

static void test_end_between_messages(void **state)
{
	struct fixture *f = *state;
	const char *why;
	struct msg msg;

	assert_int_equal(
		frontend_send(&f->fe, VHOST_USER_SET_OWNER, VU_FLAG_VERSION, NULL, 0, NULL, 0), 0);
	frontend_done(&f->fe);
	assert_int_equal(msg_recv(&f->rx, f->sock, &msg, &why), 1);
	assert_int_equal(msg_recv(&f->rx, f->sock, &msg, &why), -ENODATA);
}

/* The payload of one message is not in the next. */
static void test_nothing_is_left_over(void **state)
{
	struct fixture *f = *state;
	const uint64_t word = UINT64_MAX;
	const char *why;
	struct msg msg;

	assert_int_equal(frontend_send(&f->fe, VHOST_USER_SET_FEATURES, VU_FLAG_VERSION, &word, 8,
				       NULL, 0),
			 0);
	assert_int_equal(frontend_send(&f->fe, VHOST_USER_GET_FEATURES, VU_FLAG_VERSION, NULL, 0,
				       NULL, 0),
			 0);
	assert_int_equal(msg_recv(&f->rx, f->sock, &msg, &why), 1);
	assert_int_equal(msg_recv(&f->rx, f->sock, &msg, &why), 1);
	assert_int_equal(msg.hdr.request, VHOST_USER_GET_FEATURES);
	assert_int_equal(msg.payload.u64, 0);
}

/* Fill the socket, then let the other end read: the reply goes on where it stopped. */
static void test_stuck_reply(void **state)
{
	struct fixture *f = *state;
	const struct proto_header to = { VHOST_USER_GET_CONFIG, VU_FLAG_VERSION, 0 };
	uint8_t payload[PROTO_CONFIG_HEAD + VU_CONFIG_MAX], got[sizeof(payload)];
	struct proto_header hdr;
	unsigned sent = 0;
	int small = 1;

	for (unsigned i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)i;
	setsockopt(f->sock, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	do {
		assert_true(msg_tx_idle(&f->tx));
		msg_reply(&f->tx, &to, payload, sizeof(payload));
		assert_false(msg_tx_idle(&f->tx));
		sent++;
	} while (msg_send(&f->tx, f->sock) == 1);
	assert_in_range(sent, 2, 10000);
	assert_int_equal(msg_send(&f->tx, f->sock), 0);
	for (unsigned i = 0; i < sent; i++) {
		assert_int_equal(frontend_recv(&f->fe, &hdr, got, sizeof(got)), sizeof(payload));
		assert_int_equal(hdr.flags, VU_FLAG_VERSION | VU_FLAG_REPLY);
		assert_memory_equal(got, payload, sizeof(payload));
		if (!msg_tx_idle(&f->tx))
			assert_true(msg_send(&f->tx, f->sock) >= 0);
	}
	assert_true(msg_tx_idle(&f->tx));
	assert_int_equal(msg_send(&f->tx, f->sock), 1);
}

static void test_reply_to_nobody(void **state)
{
	struct fixture *f = *state;
	const struct proto_header to = { VHOST_USER_GET_FEATURES, VU_FLAG_VERSION, 0 };
	const uint64_t word = 0;

	frontend_done(&f->fe);
	msg_reply(&f->tx, &to, &word, sizeof(word));
	assert_int_equal(msg_send(&f->tx, f->sock), -EPIPE); /* and no SIGPIPE */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_whole),
		TEST(test_not_taken_is_closed),
		TEST(test_half),
		TEST(test_end_between_messages),
		TEST(test_nothing_is_left_over),
		TEST(test_stuck_reply),
		TEST(test_reply_to_nobody),
	};

	return cmocka_run_group_tests_name("msg", tests, NULL, NULL);
}
