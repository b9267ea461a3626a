/* SPDX-License-Identifier: MIT */
/* Sockets of guests: VMs, connections and their ends, and what they cost when nothing happens. */
#include "vsock_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"
#include "transport.h"

/* ---- a VM --------------------------------------------------------------------------------------- */

static void test_vm(void **state)
{
	struct hv_vm_config c = config_of(0);
	struct hv_vm *vm;
	int fd;

	assert_int_equal(fx.guest[0].cid, 3); /* from the configuration space */
	assert_ptr_equal(hv_vm_find(fx.relay, "n1"), fx.vm[0]);
	assert_ptr_equal(hv_vm_of_cid(fx.relay, 4), fx.vm[1]);
	assert_null(hv_vm_of_cid(fx.relay, 3 + (1ull << 32)));
	assert_ptr_equal(hv_vm_next(fx.relay, NULL), fx.vm[0]);
	assert_ptr_equal(hv_vm_next(fx.relay, fx.vm[0]), fx.vm[1]);
	assert_null(hv_vm_next(fx.relay, fx.vm[2]));
	assert_string_equal(hv_vm_state(fx.vm[1]), "listening");
	assert_string_equal(hv_vm_transport(fx.vm[1]), "virtio-vsock");
	assert_int_equal(hv_vm_limits(fx.vm[0])->connections, HV_CONNECTIONS_DEFAULT);

	/* Names and CIDs are taken or wrong; each attempt closes its descriptor. */
	for (unsigned i = 0; i < 6; i++) {
		struct hv_vm_config bad = c;

		bad.name = i == 0 ? "n1" : i == 1 ? "a b" : i == 2 ? "" : "n9";
		bad.cid = i == 3 ? 3 : i == 4 ? 2 : i == 5 ? UINT32_MAX : 9;
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		assert_int_equal(port_vsock_open(fx.relay, &bad, NULL, fd, &vm),
				 i == 0 || i == 3 ? -EEXIST : -EINVAL);
		assert_int_equal(close(fd), -1);
	}
}

/* As many as a lab may have, beside those that are there. */
static void test_limit_of_vms(void **state)
{
	const unsigned n = HV_VMS_MAX - 3;
	struct hv_vm *vms = calloc(n + 1, sizeof(*vms));
	struct hv_vm_config c = config_of(0);
	char name[HV_VM_NAME_MAX];

	assert_non_null(vms);
	c.name = name;
	for (unsigned i = 0; i <= n; i++) {
		(void)snprintf(name, sizeof(name), "many%u", i);
		c.cid = 1000 + i;
		vms[i].ops = fx.vm[0]->ops;
		assert_int_equal(hv_vm_init(&vms[i], fx.relay, &c), i < n ? 0 : -ENOSPC);
	}
	assert_ptr_equal(hv_vm_of_cid(fx.relay, 1000 + n - 1), &vms[n - 1]);
	for (unsigned i = 0; i < n; i++)
		hv_vm_done(&vms[i]);
	free(vms);
}

static void test_states(void **state)
{
	unsigned before = fx.n_states;

	vsd_done(&fx.guest[0]);
	settle();
	assert_string_equal(hv_vm_state(fx.vm[0]), "listening");
	assert_true(fx.n_states > before);
	start_guest(0, &(struct vsd_options){ 0 });
	assert_int_equal(STAT(sessions), 2);
	hv_vm_close(fx.vm[0]);
	assert_null(hv_vm_find(fx.relay, "n1"));
	assert_int_equal(access(path_of(0), F_OK), -1);
	fx.vm[0] = NULL;
	settle_host();
	assert_true(frontend_hung_up(&fx.guest[0].fe));
}

/* ---- connections and their ends ----------------------------------------------------------------- */

static void test_guest_to_host(void **state)
{
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	assert_int_equal(hv_conn_port(fx.request), PORT);
	assert_int_equal(hv_conn_cid(fx.request), HV_CID_HOST);
	assert_int_equal(hv_conn_guest_port(fx.request), s.c->local_port);
	assert_false(hv_conn_to_guest(fx.request));
	assert_string_equal(hv_conn_state(fx.request), "connected");
	assert_int_equal(hv_vm_connections(fx.vm[0]), 1);

	guest_says(&s, "hello");
	expect_host("hello");
	host_says("welcome");
	expect_guest(&s, "welcome");
	assert_int_equal(hv_conn_bytes_from_guest(fx.request), 5);
	assert_int_equal(hv_conn_bytes_to_guest(fx.request), 7);

	guest_says(&s, "bye");
	vsd_close(s.c);
	settle();
	expect_host("bye");
	expect_host_end();
	assert_true(s.closed);
	expect_no_connections();
	assert_int_equal(STAT(connections_from_guest), 1);
	assert_int_equal(fx.n_gone, 0);
	forget(&s);
}

static void test_host_to_guest(void **state)
{
	struct socket_of_guest s = { 0 };
	struct outcome o;
	struct hv_conn *conn;

	vsd_listen(&fx.guest[0], PORT, SOCK_STREAM, accept_one, &s);
	conn = connect_to_guest(SOCK_STREAM, &o);
	assert_string_equal(hv_conn_state(conn), "connecting");
	assert_true(hv_conn_to_guest(conn));
	assert_in_range(hv_conn_port(conn), HV_HOST_PORT_MIN, HV_HOST_PORT_MAX);
	host_says("early"); /* before the answer */
	assert_int_equal(o.n, 1);
	assert_int_equal(o.result, 0);
	expect_host("OK");
	expect_guest(&s, "early");
	assert_int_equal(s.c->peer_cid, HV_CID_HOST);
	guest_says(&s, "late");
	expect_host("late");

	/* The host goes: SHUTDOWN of both, and the guest's RST in answer. */
	close(fd_take(&fx.host));
	settle();
	assert_true(s.closed);
	expect_no_connections();
	assert_int_equal(STAT(connections_to_guest), 1);
	forget(&s);
}

static void test_half_close_by_host(void **state)
{
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	host_says("last");
	shutdown(fx.host, SHUT_WR);
	settle();
	expect_guest(&s, "last");
	assert_int_equal(s.shutdown, VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_says(&s, "answer");
	expect_host("answer");
	vsd_close(s.c);
	settle();
	expect_host_end();
	assert_true(s.closed);
	expect_no_connections();
	forget(&s);
}

static void test_half_close_by_guest(void **state)
{
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	guest_says(&s, "last");
	vsd_shutdown(s.c, VIRTIO_VSOCK_SHUTDOWN_SEND);
	settle();
	expect_host("last");
	expect_host_end();
	host_says("answer");
	expect_guest(&s, "answer");
	close(fd_take(&fx.host));
	settle();
	assert_true(s.closed);
	expect_no_connections();
	forget(&s);
}

/* The guest listens no more: who writes to it is told. */
static void test_guest_gives_up_receiving(void **state)
{
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	vsd_shutdown(s.c, VIRTIO_VSOCK_SHUTDOWN_RCV);
	settle();
	assert_int_equal(send(fx.host, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	guest_says(&s, "still");
	expect_host("still");
	vsd_close(s.c);
	expect_no_connections();
	expect_host_end();
	forget(&s);
}

static void test_host_gives_up_receiving(void **state)
{
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	shutdown(fx.host, SHUT_RD);
	guest_says(&s, "to nobody");
	assert_int_equal(s.shutdown, VIRTIO_VSOCK_SHUTDOWN_RCV);
	host_says("still");
	expect_guest(&s, "still");
	vsd_close(s.c);
	expect_no_connections();
	forget(&s);
}

static void test_guest_resets(void **state)
{
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	guest_says(&s, "dying words");
	vsd_reset(s.c);
	settle();
	expect_host("dying words");
	expect_host_end();
	expect_no_connections();
	forget(&s);
}

static void test_refused(void **state)
{
	struct socket_of_guest s;
	struct outcome o;

	fx.answer = HOST_REFUSE;
	connect_from(0, VMADDR_CID_HOST, PORT, SOCK_STREAM, &s);
	assert_true(s.closed);
	assert_false(s.was_connected);
	assert_int_equal(STAT(refused_by_host), 1);
	forget(&s);

	connect_to_guest(SOCK_STREAM, &o); /* nobody listens */
	settle();
	assert_int_equal(o.n, 1);
	assert_int_equal(o.result, -ECONNREFUSED);
	assert_int_equal(STAT(refused_by_guest), 1);
	expect_host_end();
	expect_no_connections();
}

static void test_answered_later(void **state)
{
	struct socket_of_guest s, t;
	int fd[2];

	fx.answer = HOST_WAIT;
	connect_from(0, VMADDR_CID_HOST, PORT, SOCK_STREAM, &s);
	assert_int_equal(s.c->state, VSD_CONNECTING);
	assert_string_equal(hv_conn_state(fx.request), "requested");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	fx.host = fd[1];
	assert_int_equal(hv_accept(fx.request, fd[0]), 0);
	settle();
	assert_int_equal(s.c->state, VSD_CONNECTED);
	guest_says(&s, "x");
	expect_host("x");

	/* Another gives up meanwhile. */
	connect_from(0, VMADDR_CID_HOST, PORT, SOCK_STREAM, &t);
	vsd_reset(t.c);
	settle();
	assert_int_equal(fx.n_gone, 1);
	assert_int_equal(hv_vm_connections(fx.vm[0]), 1);
	vsd_close(s.c);
	expect_no_connections();
	forget(&s);
	forget(&t);
}

static void test_accept_what_cannot_be_watched(void **state)
{
	struct socket_of_guest s;
	char path[128];
	int fd;

	fx.answer = HOST_WAIT;
	connect_from(0, VMADDR_CID_HOST, PORT, SOCK_STREAM, &s);
	fd = open(tmp_file(&fx.dir, "file", "text", path, sizeof(path)), O_RDONLY);
	assert_int_equal(hv_accept(fx.request, fd), -EPERM);
	assert_int_equal(close(fd), -1);
	settle();
	assert_true(s.closed);
	expect_no_connections();
	forget(&s);
}

/* A client that goes, or is cancelled, while the guest thinks. */
static void test_given_up_by_host(void **state)
{
	struct hv_conn *conn;
	struct outcome o;

	vsd_listen(&fx.guest[0], PORT, SOCK_STREAM, accept_never, NULL);
	connect_to_guest(SOCK_STREAM, &o);
	settle();
	assert_int_equal(hv_vm_connections(fx.vm[0]), 1);
	close(fd_take(&fx.host));
	settle();
	assert_int_equal(o.n, 1);
	assert_int_equal(o.result, -ECONNABORTED);
	expect_no_connections();

	conn = connect_to_guest(SOCK_STREAM, &o);
	settle();
	hv_cancel(conn);
	close(o.fd);
	settle();
	assert_int_equal(o.n, 0);
	expect_no_connections();
}

/* Half of a client's hang-up is no hang-up. */
static void test_client_half_closes_early(void **state)
{
	struct socket_of_guest s = { 0 };
	struct outcome o;

	vsd_listen(&fx.guest[0], PORT, SOCK_STREAM, accept_one, &s);
	connect_to_guest(SOCK_STREAM, &o);
	assert_int_equal(send(fx.host, "all", 3, 0), 3);
	shutdown(fx.host, SHUT_WR);
	settle();
	assert_int_equal(o.result, 0);
	expect_guest(&s, "all");
	assert_int_equal(s.shutdown, VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_says(&s, "answer");
	expect_host("OKanswer");
	vsd_close(s.c);
	expect_no_connections();
	forget(&s);
}

static void test_no_driver(void **state)
{
	struct hv_conn *conn;
	struct outcome o;

	assert_int_equal(hv_connect(fx.vm[1], PORT, SOCK_STREAM, -1, on_done, &o, &conn),
			 -ENOTCONN);
	connect_to_guest(SOCK_STREAM, &o);
	vsd_done(&fx.guest[0]);
	settle_host();
	assert_int_equal(o.n, 1);
	assert_int_equal(o.result, -ECONNRESET);
	assert_int_equal(hv_connect(fx.vm[0], PORT, SOCK_STREAM, -1, on_done, &o, &conn),
			 -ENOTCONN);
}

static void test_vm_closes_amid_all(void **state)
{
	struct socket_of_guest s, t;
	struct outcome o;
	int host;

	connect_to_host(SOCK_STREAM, &s);
	host = dup(fx.host);
	fx.answer = HOST_WAIT;
	connect_from(0, VMADDR_CID_HOST, PORT, SOCK_STREAM, &t);
	vsd_listen(&fx.guest[0], PORT, SOCK_STREAM, accept_never, NULL);
	connect_to_guest(SOCK_STREAM, &o);
	settle();
	hv_vm_close(fx.vm[0]);
	fx.vm[0] = NULL;
	assert_int_equal(o.result, -ECONNRESET);
	assert_int_equal(fx.n_gone, 1);
	settle_host();
	fd_drop(&fx.host);
	fx.host = host;
	expect_host_end();
	forget(&s);
	forget(&t);
}

/* ---- idleness ----------------------------------------------------------------------------------- */

static void fall_asleep(void)
{
	uint64_t until = loop_now_ns() + 5000000;

	settle();
	while (loop_now_ns() < until)
		loop_once(&fx.loop, 0);
	assert_null(fx.loop.pollers);
}

static void test_sleeps(void **state)
{
	struct socket_of_guest s;
	uint64_t kicks;

	connect_to_host(SOCK_STREAM, &s);
	fall_asleep();
	kicks = STAT(queue_kicks);
	guest_says(&s, "wake up");
	expect_host("wake up");
	assert_true(STAT(queue_kicks) > kicks);
	fall_asleep();
	host_says("wake up");
	expect_guest(&s, "wake up");
	forget(&s);
	settle();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_vm),
		TEST(test_limit_of_vms),
		TEST(test_states),
		TEST(test_guest_to_host),
		TEST(test_host_to_guest),
		TEST(test_half_close_by_host),
		TEST(test_half_close_by_guest),
		TEST(test_guest_gives_up_receiving),
		TEST(test_host_gives_up_receiving),
		TEST(test_guest_resets),
		TEST(test_refused),
		TEST(test_answered_later),
		TEST(test_accept_what_cannot_be_watched),
		TEST(test_given_up_by_host),
		TEST(test_client_half_closes_early),
		TEST(test_no_driver),
		TEST(test_vm_closes_amid_all),
		TEST(test_sleeps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
