/* SPDX-License-Identifier: MIT */
/* Sockets of guests: between two guests. */
#include "vsock_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"

static void test_siblings(void **state)
{
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET };

	start_guest(1, &(struct vsd_options){ 0 });
	for (size_t i = 0; i < array_size(types); i++) {
		uint32_t eom = types[i] == SOCK_SEQPACKET ? VIRTIO_VSOCK_SEQ_EOM : 0;
		struct socket_of_guest a, b = { 0 };

		vsd_listen(&fx.guest[1], 80 + (uint32_t)i, types[i], accept_one, &b);
		connect_from(0, 4, 80 + (uint32_t)i, types[i], &a);
		assert_non_null(a.c);
		assert_int_equal(a.c->state, VSD_CONNECTED);
		assert_int_equal(b.c->peer_cid, 3);
		assert_int_equal(b.c->peer_port, a.c->local_port);
		assert_int_equal(vsd_send(a.c, "ping", 4, eom), 4);
		settle();
		expect_guest(&b, "ping");
		assert_int_equal(b.n_messages, eom ? 1 : 0);
		assert_int_equal(vsd_send(b.c, "pong", 4, eom), 4);
		settle();
		expect_guest(&a, "pong");

		vsd_shutdown(a.c, VIRTIO_VSOCK_SHUTDOWN_SEND);
		settle();
		assert_int_equal(b.shutdown, VIRTIO_VSOCK_SHUTDOWN_SEND);
		assert_int_equal(vsd_send(b.c, "last", 4, eom), 4);
		vsd_close(b.c);
		settle();
		expect_guest(&a, "last");
		assert_true(a.closed);
		assert_true(b.closed);
		assert_int_equal(hv_vm_connections(fx.vm[1]), 0);
		expect_no_connections();
		forget(&a);
		forget(&b);
	}
	assert_int_equal(fx.n_requests, 0); /* the host hears nothing of it */
}

static void test_sibling_stream(void **state)
{
	static uint8_t bytes[1 << 16];
	struct socket_of_guest a, b = { 0 };
	uint64_t in = 0;

	start_guest(1, &(struct vsd_options){ 0 });
	vsd_listen(&fx.guest[1], 80, SOCK_STREAM, accept_one, &b);
	connect_from(0, 4, 80, SOCK_STREAM, &a);
	b.c->manual = true;
	while (in < 4 * MIB) {
		size_t n = guest_writes(&a, in, min(sizeof(bytes), 4 * MIB - in));

		in += n;
		settle();
		if (n == 0) { /* it waits for the other */
			assert_true(hv_vm_buffered(fx.vm[0]) <= HV_BUFFER_SIZE + (32 << 10));
			vsd_consumed(b.c, b.c->rx_cnt - b.c->fwd_cnt);
		}
	}
	for (unsigned i = 0; i < 20; i++) {
		vsd_consumed(b.c, b.c->rx_cnt - b.c->fwd_cnt);
		settle();
	}
	assert_int_equal(b.len, in);
	check(b.bytes, 0, b.len);
	forget(&a);
	forget(&b);
	settle();
	check_guest(1);
}

static void test_sibling_refused(void **state)
{
	struct socket_of_guest a;

	connect_from(0, 4, 80, SOCK_STREAM, &a); /* it has no driver */
	assert_true(a.closed);
	assert_false(a.was_connected);
	forget(&a);
	start_guest(1, &(struct vsd_options){ 0 });
	connect_from(0, 4, 80, SOCK_STREAM, &a); /* nobody listens */
	assert_true(a.closed);
	forget(&a);
	assert_int_equal(hv_vm_connections(fx.vm[1]), 0);
	assert_int_equal(hv_vm_stats(fx.vm[1])->refused_by_guest, 1);
	expect_no_connections();
}

static void test_sibling_gives_up_asking(void **state)
{
	struct socket_of_guest a;

	start_guest(1, &(struct vsd_options){ 0 });
	vsd_listen(&fx.guest[1], 80, SOCK_STREAM, accept_never, NULL);
	connect_from(0, 4, 80, SOCK_STREAM, &a);
	assert_int_equal(a.c->state, VSD_CONNECTING);
	assert_int_equal(hv_vm_connections(fx.vm[1]), 1);
	vsd_reset(a.c);
	settle();
	assert_int_equal(hv_vm_connections(fx.vm[1]), 0);
	expect_no_connections();
	forget(&a);
}

static void test_sibling_dies(void **state)
{
	struct socket_of_guest a, b = { 0 };

	start_guest(1, &(struct vsd_options){ 0 });
	vsd_listen(&fx.guest[1], 80, SOCK_STREAM, accept_one, &b);
	connect_from(0, 4, 80, SOCK_STREAM, &a);
	assert_int_equal(vsd_send(b.c, "dying", 5, 0), 5);
	vsd_flush(&fx.guest[1]);
	settle_host();
	vsd_done(&fx.guest[1]);
	settle();
	expect_guest(&a, "dying");
	assert_true(a.closed);
	expect_no_connections();
	b.c = NULL;
	forget(&a);
	forget(&b);
}

/* Both lists must agree. */
static void test_allow_lists(void **state)
{
	static const uint32_t four[] = { 4 }, three[] = { 3 };
	struct socket_of_guest a, b = { 0 };
	static const struct {
		const uint32_t *mine, *theirs;
		bool connects;
	} rows[] = {
		{ NULL, NULL, true },   { four, NULL, true },  { four, three, true },
		{ three, NULL, false }, { NULL, four, false }, { four, four, false },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		for (unsigned j = 0; j < 2; j++) {
			const uint32_t *list = j ? rows[i].theirs : rows[i].mine;
			struct hv_vm_config c = config_of(j);

			vsd_done(&fx.guest[j]);
			hv_vm_close(fx.vm[j]);
			settle_host();
			c.allow_listed = list;
			c.allow = list;
			c.n_allow = list ? 1 : 0;
			add_vm(j, &c);
			start_guest(j, &(struct vsd_options){ 0 });
		}
		vsd_listen(&fx.guest[1], 80, SOCK_STREAM, accept_one, &b);
		connect_from(0, 4, 80, SOCK_STREAM, &a);
		assert_int_equal(a.c && a.c->state == VSD_CONNECTED, rows[i].connects);
		assert_int_equal(STAT(refused_sibling), !rows[i].connects);
		forget(&a);
		forget(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_siblings),        TEST(test_sibling_stream),
		TEST(test_sibling_refused), TEST(test_sibling_gives_up_asking),
		TEST(test_sibling_dies),    TEST(test_allow_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
