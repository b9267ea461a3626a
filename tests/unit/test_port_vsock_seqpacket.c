/* SPDX-License-Identifier: MIT */
/* Sockets of guests: messages. */
#include "vsock_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"

static void test_messages(void **state)
{
	static uint8_t big[100000], got[200000];
	struct socket_of_guest s;
	ssize_t n;

	connect_to_host(SOCK_SEQPACKET, &s);
	assert_int_equal(hv_conn_type(fx.request), SOCK_SEQPACKET);
	assert_int_equal(vsd_send(s.c, "one", 3, VIRTIO_VSOCK_SEQ_EOM), 3);
	assert_int_equal(vsd_send(s.c, "three", 5, VIRTIO_VSOCK_SEQ_EOM | VIRTIO_VSOCK_SEQ_EOR), 5);
	settle();
	expect_host("one");
	expect_host("three");

	/* A message of several packets, in one burst and in several. */
	fill(big, 0, sizeof(big));
	for (unsigned round = 0; round < 2; round++) {
		for (size_t at = 0; at < sizeof(big); at += (size_t)n) {
			n = vsd_send(s.c, big + at, min(sizeof(big) - at, (size_t)30000),
				     at + 30000 >= sizeof(big) ? VIRTIO_VSOCK_SEQ_EOM : 0);
			assert_true(n > 0);
			if (round == 1)
				settle();
		}
		settle();
		n = recv(fx.host, got, sizeof(got), MSG_DONTWAIT);
		assert_int_equal(n, sizeof(big));
		check(got, 0, sizeof(big));
	}

	assert_int_equal(send(fx.host, "one", 3, 0), 3);
	assert_int_equal(send(fx.host, "", 0, 0), 0); /* nothing, and no end either */
	assert_int_equal(send(fx.host, big, sizeof(big), 0), sizeof(big));
	assert_int_equal(send(fx.host, "two", 3, 0), 3);
	settle();
	assert_int_equal(s.n_messages, 3);
	assert_int_equal(s.len, 6 + sizeof(big));
	assert_memory_equal(s.bytes, "one", 3);
	check(s.bytes + 3, 0, sizeof(big));
	assert_memory_equal(s.bytes + 3 + sizeof(big), "two", 3);

	shutdown(fx.host, SHUT_WR);
	settle();
	assert_int_equal(s.shutdown, VIRTIO_VSOCK_SHUTDOWN_SEND);
	vsd_close(s.c);
	expect_no_connections();
	expect_host_end();
	forget(&s);
}

/* Many small ones against a host that reads slowly: none is joined, none lost. */
static void test_messages_to_slow_host(void **state)
{
	struct socket_of_guest s;
	unsigned in = 0, out = 0;

	connect_to_host(SOCK_SEQPACKET, &s);
	for (unsigned i = 0; i < 20000 && out < 5000; i++) {
		char text[16], got[32] = "";

		while (in < 5000) {
			snprintf(text, sizeof(text), "%u", in);
			if (vsd_send(s.c, text, strlen(text), VIRTIO_VSOCK_SEQ_EOM) < 0)
				break;
			in++;
		}
		vsd_poll(&fx.guest[0]);
		loop_once(&fx.loop, 0);
		if (i % 3 && recv(fx.host, got, sizeof(got), MSG_DONTWAIT) > 0) {
			snprintf(text, sizeof(text), "%u", out++);
			assert_string_equal(got, text);
		}
	}
	assert_int_equal(out, 5000);
	assert_true(STAT(bytes_buffered) > 0);
	vsd_close(s.c);
	expect_no_connections();
	forget(&s);
}

/* What no Unix socket takes: the connection is reset, others are not. */
static void test_message_too_long_for_host(void **state)
{
	static uint8_t bytes[1 << 16];
	struct socket_of_guest s;

	connect_to_host(SOCK_SEQPACKET, &s);
	for (unsigned i = 0; i < 4; i++) {
		ssize_t n = vsd_send(s.c, bytes, i == 3 ? sizeof(bytes) - 4096 : sizeof(bytes),
				     i == 3 ? VIRTIO_VSOCK_SEQ_EOM : 0);

		assert_true(n > 0);
	}
	for (unsigned i = 0; i < 5; i++)
		settle();
	/* Either the kernel's limit is above 252 KiB, or it is told. */
	if (STAT(reset_message))
		assert_true(s.closed);
	else
		assert_true(recv(fx.host, bytes, sizeof(bytes), MSG_DONTWAIT) > 0);
	forget(&s);
	settle();
}

/* What the guest's whole credit does not hold. */
static void test_message_too_long_for_guest(void **state)
{
	static uint8_t bytes[20000];
	struct socket_of_guest s;

	vsd_done(&fx.guest[0]);
	settle_host();
	start_guest(0, &(struct vsd_options){ .buf_alloc = 10000 });
	connect_to_host(SOCK_SEQPACKET, &s);
	assert_int_equal(send(fx.host, bytes, 10000, 0), 10000);
	settle();
	assert_int_equal(s.len, 10000);
	assert_int_equal(send(fx.host, bytes, 10001, 0), 10001);
	settle();
	assert_true(s.closed);
	assert_int_equal(STAT(reset_message), 1);
	expect_no_connections();
	forget(&s);
}

/* Of which only the kernel says so, after it was kept: who waits for it is told as well. */
static void test_kept_message_too_long_for_host(void **state)
{
	static uint8_t bytes[60000];
	struct socket_of_guest s;
	int small = 4096;

	connect_to_host(SOCK_SEQPACKET, &s);
	assert_int_equal(setsockopt(fx.far, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	assert_int_equal(vsd_send(s.c, bytes, 30000, 0), 30000);
	settle();
	assert_int_equal(vsd_send(s.c, bytes, 30000, VIRTIO_VSOCK_SEQ_EOM), 30000);
	settle();
	assert_int_equal(STAT(reset_message), 1);
	assert_true(s.closed);
	expect_host_end();
	expect_no_connections();
	forget(&s);
}

/* A message whose end does not come any more holds up nobody. */
static void test_message_without_end(void **state)
{
	struct socket_of_guest s;

	for (unsigned i = 0; i < 3; i++) {
		connect_to_host(SOCK_SEQPACKET, &s);
		assert_int_equal(vsd_send(s.c, "whole", 5, VIRTIO_VSOCK_SEQ_EOM), 5);
		assert_int_equal(vsd_send(s.c, "half", 4, 0), 4);
		settle();
		expect_host("whole");
		if (i == 0)
			vsd_close(s.c);
		else if (i == 1)
			vsd_shutdown(s.c, VIRTIO_VSOCK_SHUTDOWN_SEND);
		else
			vsd_done(&fx.guest[0]);
		settle();
		expect_host_end();
		if (i == 0)
			assert_true(s.closed);
		if (i == 1)
			vsd_close(s.c);
		expect_no_connections();
		if (i == 2)
			s.c = NULL; /* gone with its guest */
		forget(&s);
	}
}

/* Many messages of nothing do not hide the one behind them. */
static void test_behind_empty_messages(void **state)
{
	struct socket_of_guest s;

	connect_to_host(SOCK_SEQPACKET, &s);
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned j = 0; j < 50; j++)
			assert_int_equal(send(fx.host, "", 0, 0), 0);
		assert_int_equal(send(fx.host, "word", 4, 0), 4);
		if (i == 1) /* nor if an end is behind it already */
			shutdown(fx.host, SHUT_WR);
		settle();
		expect_guest(&s, "word");
	}
	assert_int_equal(s.shutdown, VIRTIO_VSOCK_SHUTDOWN_SEND);
	vsd_close(s.c);
	expect_no_connections();
	forget(&s);
}

/* Some credit is left, but not for a whole message: it goes when there is. */
static void test_message_waits_for_credit(void **state)
{
	static uint8_t bytes[9000];
	struct socket_of_guest s;

	vsd_done(&fx.guest[0]);
	settle_host();
	start_guest(0, &(struct vsd_options){ .buf_alloc = 10000 });
	connect_to_host(SOCK_SEQPACKET, &s);
	s.c->manual = true;
	assert_int_equal(send(fx.host, bytes, 9000, 0), 9000);
	assert_int_equal(send(fx.host, bytes, 5000, 0), 5000);
	settle();
	assert_int_equal(s.len, 9000);
	vsd_consumed(s.c, 9000);
	settle();
	assert_int_equal(s.len, 14000);
	assert_int_equal(s.n_messages, 2);
	forget(&s);
	settle();
}

static void test_no_seqpacket(void **state)
{
	struct virtio_vsock_hdr h = stranger(VIRTIO_VSOCK_OP_REQUEST);
	struct hv_conn *conn;
	struct outcome o;

	vsd_done(&fx.guest[0]);
	settle_host();
	start_guest(0, &(struct vsd_options){ .no_seqpacket = true });
	assert_int_equal(hv_connect(fx.vm[0], PORT, SOCK_SEQPACKET, -1, on_done, &o, &conn),
			 -EPROTONOSUPPORT);
	h.type = htole16(VIRTIO_VSOCK_TYPE_SEQPACKET);
	send_packet(&h, NULL, 0);
	expect_reset(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_messages),
		TEST(test_messages_to_slow_host),
		TEST(test_message_too_long_for_host),
		TEST(test_message_too_long_for_guest),
		TEST(test_kept_message_too_long_for_host),
		TEST(test_message_without_end),
		TEST(test_behind_empty_messages),
		TEST(test_message_waits_for_credit),
		TEST(test_no_seqpacket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
