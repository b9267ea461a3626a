/* SPDX-License-Identifier: MIT */
/* Far ends that are no plain streams: they write and do not read, they speak TCP, they send descriptors and urgent data.
 * The guest's half is Hyper-V's; what is tested is any transport's. */
#include "vmbus_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "cleanup.h"
#include "scm.h"

#define QUIET_NS    3000000 /* the port has stopped looking */
#define PATIENCE_NS 20000000000ull

/* ---- two ends that wait for each other ---------------------------------------------------------- */

/* What the host can send before nobody takes more. */
static size_t host_fills(void)
{
	static uint8_t bytes[MIB];
	size_t sent = 0;
	ssize_t n;

	while ((n = send(fx.host, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0) {
		sent += (size_t)n;
		settle();
	}
	assert_int_equal(errno, EAGAIN);
	return sent;
}

/* The host reads at last, and has all that the guest sent. */
static void host_reads_all(size_t sent)
{
	uint64_t until_ns = loop_now_ns() + PATIENCE_NS;
	size_t at = 0;

	while (at < sent && loop_now_ns() < until_ns) {
		at += host_reads(at, MIB);
		settle();
	}
	assert_int_equal(at, sent);
}

/* Before that it writes, and is told that its guest is gone; after it, that what it wrote was not read. */
static void host_hears_and_reads_all(size_t sent)
{
	char c;

	assert_int_equal(send(fx.host, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	host_reads_all(sent);
	assert_int_equal(recv(fx.host, &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, ECONNRESET);
	expect_no_connections();
}

/* The guest's process is killed: its end lies behind bytes that nobody takes. */
static void test_guest_ends_behind_a_full_ring(void **state)
{
	struct vb_channel *ch = vb_dial_host();
	size_t sent;

	assert_true(host_fills() > 0);
	sent = vb_fill(ch);
	vb_fin(ch);
	wait_ns(QUIET_NS);
	timer_fires(); /* perhaps it had not ended when the time began */
	assert_false(ch->rescinded);
	timer_fires();
	assert_true(ch->rescinded && ch->released);
	assert_int_equal(STAT(reset_timeout), 1);
	host_hears_and_reads_all(sent);
}

/* One that has not ended has all the time there is, and so has one that is read from again. */
static void test_guest_waits_behind_a_full_ring(void **state)
{
	struct vb_channel *ch = vb_dial_host();
	size_t sent, got, n;

	got = host_fills();
	sent = vb_fill(ch);
	for (unsigned i = 0; i < 3; i++)
		timer_fires();
	host_reads_all(sent);
	assert_null(fx.loop.timers);
	do {
		n = ch->len;
		vb_read(ch);
		settle();
	} while (ch->len > n);
	assert_int_equal(ch->len, got);
	assert_null(fx.loop.timers);
	host_says("z");
	vb_says(ch, "y");
	assert_int_equal(STAT(reset_timeout), 0);
}

/* The guest closes, and what it leaves waits in our memory.  Returns how much it had sent. */
static size_t guest_closes_before_a_full_host(struct vb_channel *ch)
{
	size_t sent;

	assert_true(host_fills() > 0);
	sent = vb_fill(ch);
	vb_close(ch);
	settle();
	assert_true(ch->released);
	assert_true(hv_vm_buffered(fx.vm[0]) > 0);
	return sent;
}

static void test_guest_closes_before_a_host_that_writes(void **state)
{
	struct vb_channel *ch;
	size_t sent;

	vb.ring_pages = 129;
	ch = vb_dial_host();
	sent = guest_closes_before_a_full_host(ch);
	host_hears_and_reads_all(sent);
}

/* ---- TCP ---------------------------------------------------------------------------------------- */

/* A connection of the host's to the guest, which comes by TCP. */
static struct vb_channel *accept_tcp(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	auto_fd int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static struct outcome o;
	socklen_t len = sizeof(a);
	struct hv_conn *conn;

	assert_int_equal(bind(listener, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
	fx.host = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fx.host, (struct sockaddr *)&a, len), 0);
	o = (struct outcome){ .fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) };
	assert_int_equal(hv_connect(fx.vm[0], PORT, SOCK_STREAM, o.fd, on_done, &o, &conn), 0);
	return vb_accept();
}

/* TCP tells nobody that who reads is gone: what comes is read, and thrown away. */
static void test_guest_closes_before_a_tcp_host_that_writes(void **state)
{
	static uint8_t bytes[MIB];
	struct vb_channel *ch;
	const size_t much = 32 * (size_t)MIB; /* more than two sockets' buffers */
	size_t sent, n = 0;
	uint64_t until_ns;

	vb.ring_pages = 129;
	ch = accept_tcp();
	expect_host("OK");
	sent = guest_closes_before_a_full_host(ch);
	until_ns = loop_now_ns() + PATIENCE_NS;
	while (n < much && loop_now_ns() < until_ns) {
		ssize_t r = send(fx.host, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (r < 0)
			assert_int_equal(errno, EAGAIN);
		n += r > 0 ? (size_t)r : 0;
		settle();
	}
	assert_true(n >= much);
	host_reads_all(sent);
	expect_no_connections();
}

/* ---- what else lies in a stream ------------------------------------------------------------------ */

/* A read ends behind a descriptor, and what follows is the guest's all the same. */
static void test_descriptor_in_a_stream(void **state)
{
	struct vb_channel *ch = vb_dial_host();
	struct iovec iov = { "one", 3 };

	wait_ns(QUIET_NS);
	assert_int_equal(scm_send(fx.host, &iov, 1, fx.host), 3);
	host_says("two");
	vb_expect(ch, "onetwo");
}

static void send_urgently(void)
{
	assert_int_equal(send(fx.host, "one", 3, 0), 3);
	assert_int_equal(send(fx.host, "!", 1, MSG_OOB), 1);
	host_says("two");
}

/* The urgent byte itself is no part of the stream. */
static void test_urgent_byte(void **state)
{
	struct vb_channel *ch = vb_dial_host();

	wait_ns(QUIET_NS);
	send_urgently();
	vb_expect(ch, "onetwo");
}

static void test_urgent_byte_by_tcp(void **state)
{
	struct vb_channel *ch = accept_tcp();

	wait_ns(QUIET_NS);
	send_urgently();
	vb_expect(ch, "onetwo");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		VB_TEST(test_guest_ends_behind_a_full_ring),
		VB_TEST(test_guest_waits_behind_a_full_ring),
		VB_TEST(test_guest_closes_before_a_host_that_writes),
		VB_TEST(test_guest_closes_before_a_tcp_host_that_writes),
		VB_TEST(test_descriptor_in_a_stream),
		VB_TEST(test_urgent_byte),
		VB_TEST(test_urgent_byte_by_tcp),
	};

	return cmocka_run_group_tests_name("far", tests, NULL, NULL);
}
