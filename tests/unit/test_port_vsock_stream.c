/* SPDX-License-Identifier: MIT */
/* Sockets of guests: streams, and those who are slow to take them. */
#include "vsock_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "cleanup.h"

/* ---- streams ------------------------------------------------------------------------------------ */

static void stream_from_guest(struct socket_of_guest *s, size_t piece, size_t read, size_t total)
{
	uint64_t in = 0, out = 0;

	for (unsigned idle = 0; out < total && idle < 1000; idle++) {
		size_t n;

		while (in < total && (n = guest_writes(s, in, min(piece, total - in))) > 0)
			in += n;
		vsd_poll(&fx.guest[0]);
		loop_once(&fx.loop, 0);
		n = host_reads(out, read);
		out += n;
		if (n > 0)
			idle = 0;
		assert_true(hv_vm_buffered(fx.vm[0]) <= HV_BUFFER_SIZE + (32 << 10));
	}
	assert_int_equal(out, total);
}

static void test_stream_from_guest(void **state)
{
	static const size_t sizes[] = { 64, 1000, 4096, 65536 };
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	for (size_t i = 0; i < array_size(sizes); i++) {
		stream_from_guest(&s, sizes[i], MIB, 400 * sizes[i]);
		stream_from_guest(&s, sizes[i], 10000, 400 * sizes[i]); /* a slow reader */
	}
	assert_true(STAT(credit_updates) < 4 * (2 * 400ull * 70696) / HV_BUFFER_SIZE);
	vsd_close(s.c);
	expect_no_connections();
	forget(&s);
}

static void stream_to_guest(struct socket_of_guest *s, size_t piece, size_t total)
{
	static uint8_t bytes[1 << 16];
	uint64_t in = 0;
	size_t before = s->len;

	for (unsigned idle = 0; s->len - before < total && idle < 10000; idle++) {
		size_t n = min(piece, total - in);
		ssize_t r = 0;

		fill(bytes, in, n);
		if (n > 0)
			r = send(fx.host, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r > 0) {
			in += (size_t)r;
			idle = 0;
		}
		loop_once(&fx.loop, 0);
		vsd_poll(&fx.guest[0]);
	}
	assert_int_equal(s->len - before, total);
	check(s->bytes + before, 0, total);
	s->len = before;
}

static void test_stream_to_guest(void **state)
{
	static const size_t sizes[] = { 64, 1000, 4096, 65536 };
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	for (size_t i = 0; i < array_size(sizes); i++)
		stream_to_guest(&s, sizes[i], 400 * sizes[i]);
	vsd_close(s.c);
	expect_no_connections();
	forget(&s);
}

/* Header and data in descriptors of their own, as Linux 6.1 lays them out; and buffers of an odd size. */
static void test_layouts(void **state)
{
	static const struct vsd_options layouts[] = {
		{ .rx_split = true, .tx_split = true },
		{ .rx_len = 1, .num = 256 },
		{ .rx_len = 3732, .num = 16 },
		{ .features = BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
			      BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) },
	};
	struct socket_of_guest s;

	for (size_t i = 0; i < array_size(layouts); i++) {
		vsd_done(&fx.guest[0]);
		settle_host();
		start_guest(0, &layouts[i]);
		connect_to_host(SOCK_STREAM, &s);
		stream_from_guest(&s, 3000, MIB, 300000);
		stream_to_guest(&s, 3000, layouts[i].rx_len == 1 ? 3000 : 300000);
		vsd_close(s.c);
		expect_no_connections();
		forget(&s);
		check_guest(0);
	}
}

/* What a guest sent in many packets of one burst, on two connections in turn. */
static void test_small_packets_are_joined(void **state)
{
	struct socket_of_guest s, t;
	int first;
	char buf[512];

	connect_to_host(SOCK_STREAM, &s);
	first = fd_take(&fx.host);
	connect_to_host(SOCK_STREAM, &t);
	for (unsigned i = 0; i < 20; i++) { /* taking turns */
		assert_int_equal(vsd_send(s.c, "abc", 3, 0), 3);
		assert_int_equal(vsd_send(t.c, "xyz", 3, 0), 3);
	}
	settle();
	assert_int_equal(recv(first, buf, sizeof(buf), 0), 60);
	assert_memory_equal(buf, "abcabc", 6);
	assert_int_equal(recv(fx.host, buf, sizeof(buf), 0), 60);
	assert_memory_equal(buf, "xyzxyz", 6);
	assert_int_equal(STAT(packets_from_guest), 2 + 40);
	close(first);
	forget(&s);
	forget(&t);
	settle();
}

/* ---- the slow ----------------------------------------------------------------------------------- */

/* A host that never reads holds up its own connection, and holds its credit's worth of memory. */
static void test_host_never_reads(void **state)
{
	struct socket_of_guest s, t;
	uint64_t in = 0;
	int deaf;

	connect_to_host(SOCK_STREAM, &s);
	deaf = fd_take(&fx.host);
	for (unsigned i = 0; i < 200; i++) {
		in += guest_writes(&s, in, 65536);
		settle();
	}
	assert_int_equal(vsd_credit(s.c), 0);
	/* Of what was let go up to a half has not been told. */
	assert_in_range(hv_conn_buffered(hv_conn_next(fx.vm[0], NULL)), HV_BUFFER_SIZE / 2,
			HV_BUFFER_SIZE);
	assert_true(hv_vm_buffered(fx.vm[0]) <= HV_BUFFER_SIZE + (32 << 10));

	connect_to_host(SOCK_STREAM, &t);
	stream_from_guest(&t, 4096, MIB, 0); /* nothing is counted twice */
	guest_says(&t, "through");
	expect_host("through");

	/* The guest closes: all that it sent still arrives, then the end. */
	vsd_close(s.c);
	settle();
	assert_false(s.closed); /* its RST waits for the host */
	fd_drop(&fx.host);
	fx.host = deaf;
	for (uint64_t out = 0; out < in;) {
		size_t n = host_reads(out, 100000);

		assert_true(n > 0);
		out += n;
		settle();
	}
	expect_host_end();
	settle();
	assert_true(s.closed);
	forget(&s);
	forget(&t);
	settle();
}

/* A guest that closed with bytes under way may use its port again at once. */
static void test_port_is_reused_while_draining(void **state)
{
	struct socket_of_guest s, t = { 0 };
	uint64_t in = 0;
	int deaf, n = 0;
	uint32_t port;

	connect_to_host(SOCK_STREAM, &s);
	deaf = fd_take(&fx.host);
	for (unsigned i = 0; i < 100; i++) {
		in += guest_writes(&s, in, 65536);
		settle();
	}
	port = s.c->local_port;
	vsd_close(s.c);
	settle();
	forget(&s);

	fx.guest[0].next_port = port;
	connect_to_host(SOCK_STREAM, &t);
	assert_int_equal(t.c->local_port, port);
	while (n >= 0) { /* the first is drained: its RST must not hit the second */
		static char buf[MIB];

		n = recv(deaf, buf, sizeof(buf), MSG_DONTWAIT) > 0 ? 0 : -1;
		settle();
	}
	close(deaf);
	guest_says(&t, "alive");
	expect_host("alive");
	forget(&t);
	settle();
}

/* A guest that never reads: the host's writer stands still, others do not. */
static void test_guest_never_reads(void **state)
{
	static uint8_t bytes[1 << 16];
	struct socket_of_guest s, t;
	size_t in = 0;
	ssize_t n;
	int deaf;

	connect_to_host(SOCK_STREAM, &s);
	s.c->manual = true;
	deaf = fd_take(&fx.host);
	for (unsigned i = 0; i < 100; i++) {
		fill(bytes, in, sizeof(bytes));
		n = send(deaf, bytes, sizeof(bytes), MSG_DONTWAIT);
		in += n > 0 ? (size_t)n : 0;
		settle();
	}
	assert_int_equal(s.len, 256 << 10); /* all its credit */
	assert_true(in > s.len && in < 2 * MIB);
	assert_true(STAT(credit_requests) > 0 && STAT(credit_requests) < 10);

	connect_to_host(SOCK_STREAM, &t);
	host_says("through");
	expect_guest(&t, "through");

	vsd_consumed(s.c, 256 << 10);
	settle();
	assert_true(s.len > 256 << 10);
	s.c->manual = false;
	vsd_consumed(s.c, (uint32_t)s.len - (256 << 10));
	for (unsigned i = 0; i < 20; i++)
		settle();
	assert_int_equal(s.len, in);
	check(s.bytes, 0, 256 << 10);
	close(deaf);
	forget(&s);
	forget(&t);
	settle();
}

/* A guest with few buffers, and a writer that takes them all: the other has its turn nevertheless. */
static void test_buffers_are_shared(void **state)
{
	static uint8_t bytes[1 << 16];
	struct socket_of_guest s, t;
	int greedy;

	vsd_done(&fx.guest[0]);
	settle_host();
	start_guest(0, &(struct vsd_options){ .rx_bufs = 8 });
	connect_to_host(SOCK_STREAM, &s);
	greedy = fd_take(&fx.host);
	connect_to_host(SOCK_STREAM, &t);
	for (unsigned i = 0; i < 200; i++) {
		while (send(greedy, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
			;
		if (i == 10)
			assert_int_equal(send(fx.host, "turn", 4, 0), 4);
		loop_once(&fx.loop, 0);
		vsd_poll(&fx.guest[0]);
	}
	expect_guest(&t, "turn");
	assert_true(s.len > MIB);
	close(greedy);
	forget(&s);
	forget(&t);
	settle();
}

/* A guest that gives no buffers back: nothing grows, and when it does all is as it should be. */
static void test_guest_gives_no_buffers(void **state)
{
	struct socket_of_guest s;
	struct virtio_vsock_hdr h;
	uint64_t before;
	unsigned n = 0;

	vsd_done(&fx.guest[0]);
	settle_host();
	start_guest(0, &(struct vsd_options){ .num = 1024, .rx_bufs = 16 });
	connect_to_host(SOCK_STREAM, &s);
	h = vsd_header(s.c, VIRTIO_VSOCK_OP_RW, 0);
	h.src_port = htole32(7); /* no such connection: each is answered with an RST */
	before = STAT(packets_from_guest);
	while (vsd_send_packet(&fx.guest[0], &h, NULL, 0) == 0)
		n++;
	vsd_flush(&fx.guest[0]);
	settle_host();
	/* All buffers were filled, and all room for resets behind them; then the ring was left alone. */
	assert_in_range(STAT(packets_from_guest) - before, 16 + 3 * 64, 16 + 4 * 64 + 64);
	assert_true(n > STAT(packets_from_guest) - before);
	settle();
	wait_ns(1000000);
	assert_int_equal(STAT(packets_unknown), n);
	assert_int_equal(fx.guest[0].n_stray, n);
	guest_says(&s, "alive");
	expect_host("alive");
	host_says("alive");
	expect_guest(&s, "alive");
	forget(&s);
	settle();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_stream_from_guest),
		TEST(test_stream_to_guest),
		TEST(test_layouts),
		TEST(test_small_packets_are_joined),
		TEST(test_host_never_reads),
		TEST(test_port_is_reused_while_draining),
		TEST(test_guest_never_reads),
		TEST(test_buffers_are_shared),
		TEST(test_guest_gives_no_buffers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
