/* SPDX-License-Identifier: MIT */
/* Sockets of guests: packets that break the rules, and limits. */
#include "vsock_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "cleanup.h"

/* ---- bad packets -------------------------------------------------------------------------------- */

static void expect_silence(void)
{
	struct vsd_packet p;

	settle_host();
	assert_int_equal(vsd_packet(&fx.guest[0], &p), -EAGAIN);
}

static void test_packets_of_no_connection(void **state)
{
	for (uint16_t op = 0; op < 12; op++) {
		struct virtio_vsock_hdr h = stranger(op);

		if (op == VIRTIO_VSOCK_OP_REQUEST)
			continue;
		send_packet(&h, NULL, 0);
		if (op == VIRTIO_VSOCK_OP_RST)
			expect_silence();
		else
			expect_reset(&h);
	}
	assert_int_equal(STAT(packets_unknown), 10);
	assert_int_equal(fx.n_requests, 0);
}

static void test_wrong_type(void **state)
{
	struct virtio_vsock_hdr h = stranger(VIRTIO_VSOCK_OP_REQUEST);
	struct socket_of_guest s;

	h.type = htole16(3);
	send_packet(&h, NULL, 0);
	expect_reset(&h);
	h.type = 0;
	send_packet(&h, NULL, 0);
	expect_reset(&h);
	assert_int_equal(fx.n_requests, 0);

	/* That of another connection: the connection lives. */
	fx.guest[0].held = -1;
	connect_to_host(SOCK_STREAM, &s);
	h = vsd_header(s.c, VIRTIO_VSOCK_OP_RW, 0);
	h.type = htole16(VIRTIO_VSOCK_TYPE_SEQPACKET);
	send_packet(&h, NULL, 0);
	expect_reset(&h);
	fx.guest[0].held = -1;
	guest_says(&s, "alive");
	expect_host("alive");
	forget(&s);
}

static void test_wrong_addresses(void **state)
{
	static const uint64_t cids[] = { 0, 1, 3, 77, 2 + (1ull << 32), UINT32_MAX, UINT64_MAX };
	struct virtio_vsock_hdr h = stranger(VIRTIO_VSOCK_OP_REQUEST);

	for (size_t i = 0; i < array_size(cids); i++) {
		h.dst_cid = htole64(cids[i]);
		if (cids[i] == 3)
			continue;
		send_packet(&h, NULL, 0);
		expect_reset(&h);
	}
	assert_int_equal(STAT(refused_sibling), array_size(cids) - 1);
	h.dst_cid = htole64(2);
	h.src_cid = htole64(4); /* another's */
	send_packet(&h, NULL, 0);
	expect_silence();
	h.src_cid = htole64(3 + (1ull << 32));
	send_packet(&h, NULL, 0);
	expect_silence();
	assert_int_equal(STAT(drop_source), 2);
	assert_int_equal(fx.n_requests, 0);
}

static void test_longer_than_its_bytes(void **state)
{
	struct socket_of_guest s, t;
	struct virtio_vsock_hdr h;
	int other;

	connect_to_host(SOCK_STREAM, &t);
	other = fd_take(&fx.host);
	connect_to_host(SOCK_STREAM, &s);
	h = vsd_header(s.c, VIRTIO_VSOCK_OP_RW, 0);
	h.len = htole32(6);
	send_packet(&h, "12345", 5);
	expect_reset(&h);
	expect_host_end();
	assert_int_equal(STAT(reset_malformed), 1);
	fx.guest[0].held = -1;
	settle();
	assert_int_equal(hv_vm_connections(fx.vm[0]), 1);
	/* Fewer than there are is no fault: that many count. */
	h = vsd_header(t.c, VIRTIO_VSOCK_OP_RW, 0);
	h.len = htole32(0);
	send_packet(&h, "12345", 5);
	expect_silence();
	close(other);
	forget(&s);
	forget(&t);
	settle();
}

static void test_credit_overrun(void **state)
{
	static uint8_t bytes[1 << 16];
	struct socket_of_guest s, t;
	struct virtio_vsock_hdr h;
	int other;

	connect_to_host(SOCK_STREAM, &t);
	other = fd_take(&fx.host);
	connect_to_host(SOCK_STREAM, &s);
	s.c->peer_buf_alloc = UINT32_MAX; /* it believes what it likes */
	h = vsd_header(s.c, VIRTIO_VSOCK_OP_RW, 0);
	h.len = htole32(sizeof(bytes));
	for (unsigned i = 0; i < 100 && STAT(reset_credit) == 0; i++)
		send_packet(&h, bytes, sizeof(bytes));
	assert_int_equal(STAT(reset_credit), 1);
	s.c->tx_cnt = UINT32_MAX / 2; /* it knows nothing of what it has sent */
	assert_true(hv_vm_buffered(fx.vm[0]) <= HV_BUFFER_SIZE + (32 << 10));
	fd_drop(&fx.host);
	fx.host = other;
	settle();
	guest_says(&t, "untouched");
	expect_host("untouched");
	forget(&s);
	forget(&t);
	settle();
}

static void test_short_chain(void **state)
{
	struct vsd *v = &fx.guest[0];
	struct driver_buf buf = { .addr = guest_alloc(&v->guest, 64, 64), .len = 43 };
	uint32_t len;

	assert_true(driver_add(&v->tx, &buf, 1, 0) >= 0);
	driver_kick(&v->tx);
	settle_host();
	assert_true(driver_used(&v->tx, &len) >= 0);
	assert_int_equal(STAT(drop_short), 1);
	assert_string_equal(hv_vm_state(fx.vm[0]), "running");
}

static void test_broken_ring(void **state)
{
	struct vsd *v = &fx.guest[0];

	driver_raw_avail(&v->tx, 5000);
	settle_host();
	frontend_pump(&v->fe);
	vsd_flush(v);
	driver_kick(&v->tx);
	wait_ns(2000000);
	assert_int_equal(STAT(queue_broken), 1);
	assert_string_equal(hv_vm_state(fx.vm[0]), "negotiated");
}

/* ---- limits ------------------------------------------------------------------------------------- */

static void restart_with(const struct hv_limits *limits)
{
	struct hv_vm_config c = config_of(0);

	vsd_done(&fx.guest[0]);
	hv_vm_close(fx.vm[0]);
	settle_host();
	c.limits = *limits;
	add_vm(0, &c);
	start_guest(0, &(struct vsd_options){ 0 });
}

static void test_limit_of_connections(void **state)
{
	struct socket_of_guest s[4];
	struct hv_conn *conn;
	struct outcome o;
	int fd[4];

	restart_with(&(struct hv_limits){ .connections = 3 });
	for (unsigned i = 0; i < 3; i++) {
		connect_to_host(SOCK_STREAM, &s[i]);
		fd[i] = fd_take(&fx.host);
	}
	connect_from(0, VMADDR_CID_HOST, PORT, SOCK_STREAM, &s[3]);
	assert_true(s[3].closed);
	assert_false(s[3].was_connected);
	assert_int_equal(hv_connect(fx.vm[0], PORT, SOCK_STREAM, -1, on_done, &o, &conn), -EMFILE);
	assert_int_equal(STAT(refused_limit_connections), 2);
	vsd_close(s[1].c);
	settle();
	forget(&s[1]);
	connect_to_host(SOCK_STREAM, &s[1]);
	for (unsigned i = 0; i < 4; i++)
		forget(&s[i]);
	for (unsigned i = 0; i < 3; i++)
		close(fd[i]);
	settle();
}

static void test_limit_of_rate(void **state)
{
	struct socket_of_guest s;
	unsigned n = 0;

	restart_with(&(struct hv_limits){ .connects_per_second = 10 });
	fx.answer = HOST_REFUSE;
	for (unsigned i = 0; i < 40; i++) {
		connect_from(0, VMADDR_CID_HOST, PORT, SOCK_STREAM, &s);
		assert_true(s.closed);
		forget(&s);
	}
	n = fx.n_requests;
	assert_true(n >= 10 &&
		    n < 40); /* a second's worth at once, and what the time of the loop gave */
	assert_int_equal(STAT(refused_limit_rate), 40 - n);
}

static void test_limit_of_bytes(void **state)
{
	struct socket_of_guest s[3];
	int fd[3];

	restart_with(&(struct hv_limits){ .buffer_bytes = 64 << 10 });
	for (unsigned i = 0; i < 3; i++) {
		connect_to_host(SOCK_STREAM, &s[i]);
		fd[i] = fd_take(&fx.host);
	}
	for (unsigned i = 0; i < 2; i++)
		for (unsigned k = 0; k < 60 && s[i].c; k++) {
			guest_writes(&s[i], 0, 65536);
			settle();
		}
	assert_int_equal(STAT(reset_limit_bytes), 2);
	assert_true(s[0].closed && s[1].closed);
	assert_int_equal(hv_vm_buffered(fx.vm[0]), 0);
	fx.host = fd[2];
	guest_says(&s[2], "untouched");
	expect_host("untouched");
	fx.host = -1;
	for (unsigned i = 0; i < 3; i++) {
		close(fd[i]);
		forget(&s[i]);
	}
	settle();
}

/* Connects that are never answered by the host: as many as the limit, and the others are told. */
static void test_half_open_flood(void **state)
{
	fx.answer = HOST_WAIT;
	for (unsigned i = 0; i < 5000; i++) {
		struct virtio_vsock_hdr h = stranger(VIRTIO_VSOCK_OP_REQUEST);

		h.src_port = htole32(10000 + i);
		while (vsd_send_packet(&fx.guest[0], &h, NULL, 0) == -EAGAIN) {
			vsd_poll(&fx.guest[0]);
			loop_once(&fx.loop, 0);
		}
	}
	settle();
	assert_int_equal(hv_vm_connections(fx.vm[0]), HV_CONNECTIONS_DEFAULT);
	assert_int_equal(fx.n_requests, HV_CONNECTIONS_DEFAULT);
	assert_int_equal(STAT(refused_limit_connections), 5000 - HV_CONNECTIONS_DEFAULT);
	vsd_done(&fx.guest[0]);
	settle_host();
	assert_int_equal(fx.n_gone, 0 + HV_CONNECTIONS_DEFAULT);
}

static void test_ten_thousand_connects(void **state)
{
	struct socket_of_guest s;

	for (unsigned i = 0; i < 10000; i++) {
		s = (struct socket_of_guest){ 0 };
		s.c = vsd_connect(&fx.guest[0], VMADDR_CID_HOST, PORT, SOCK_STREAM, &guest_ops, &s);
		while (s.c->state == VSD_CONNECTING) {
			vsd_poll(&fx.guest[0]);
			loop_once(&fx.loop, 0);
		}
		vsd_close(s.c);
		while (!s.closed) {
			vsd_poll(&fx.guest[0]);
			loop_once(&fx.loop, 0);
		}
	}
	expect_no_connections();
	assert_int_equal(STAT(connections_from_guest), 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_packets_of_no_connection),
		TEST(test_wrong_type),
		TEST(test_wrong_addresses),
		TEST(test_longer_than_its_bytes),
		TEST(test_credit_overrun),
		TEST(test_short_chain),
		TEST(test_broken_ring),
		TEST(test_limit_of_connections),
		TEST(test_limit_of_rate),
		TEST(test_limit_of_bytes),
		TEST(test_half_open_flood),
		TEST(test_ten_thousand_connects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
