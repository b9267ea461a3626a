/* SPDX-License-Identifier: MIT */
/* Hyper-V sockets: connections both ways, refusals, and ports that are used again. */
#include "vmbus_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "cleanup.h"
#include "host.h"
#include "listen.h"
#include "port_vmbus_impl.h"
#include "ports.h"

/* ---- the VM ------------------------------------------------------------------------------------- */

static void test_states(void **state)
{
	assert_string_equal(hv_vm_transport(fx.vm[0]), "hvsock");
	assert_int_equal(hv_vm_cid(fx.vm[0]), 0);
	assert_null(hv_vm_of_cid(fx.relay, 0));
	assert_string_equal(hv_vm_state(fx.vm[0]), "listening");
	vb_connect();
	assert_string_equal(hv_vm_state(fx.vm[0]), "connected");
	vb_hello();
	assert_string_equal(hv_vm_state(fx.vm[0]), "negotiated");
	vb_memory();
	assert_string_equal(hv_vm_state(fx.vm[0]), "negotiated");
	vb_ready();
	assert_string_equal(hv_vm_state(fx.vm[0]), "running");
	vb_hang_up();
	assert_string_equal(hv_vm_state(fx.vm[0]), "listening");
	vb_connect();
	assert_string_equal(hv_vm_state(fx.vm[0]), "connected");
	assert_int_equal(STAT(sessions), 2);
	hv_vm_close(fx.vm[0]);
	fx.vm[0] = NULL;
	settle();
	assert_true(vb.hung_up);
	assert_int_equal(access(path_of(0), F_OK), -1);
}

/* Neither a CID nor a taken name. */
static void test_configs(void **state)
{
	struct hv_vm *vm;

	for (unsigned i = 0; i < 3; i++) {
		struct hv_vm_config c = { .name = i == 0 ? "h1" : "h2", .cid = i == 1 ? 7 : 0 };
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		assert_int_equal(port_vmbus_open(fx.relay, &c, NULL, fd, &vm), i == 0 ? -EEXIST :
									       i == 1 ? -EINVAL :
											0);
		if (i == 2)
			hv_vm_close(vm); /* another without a CID is no other of the same */
		else
			assert_int_equal(close(fd), -1);
	}
	settle();
}

/* ---- connections -------------------------------------------------------------------------------- */

static void test_guest_to_host(void **state)
{
	struct vmbus_guid from = vb_guid(0x80000000u), to = vb_guid(PORT);
	struct vb_channel *ch = vb_dial(0x80000000u, PORT);

	assert_non_null(ch);
	assert_true(ch->answered && ch->status == 0);
	assert_false(ch->to_guest);
	assert_memory_equal(&ch->instance, &from, sizeof(from));
	assert_memory_equal(&ch->type, &to, sizeof(to));
	assert_int_equal(hv_conn_port(fx.request), PORT);
	assert_int_equal(hv_conn_guest_port(fx.request), 0x80000000u);
	assert_int_equal(hv_conn_cid(fx.request), HV_CID_HOST);
	assert_int_equal(hv_conn_type(fx.request), SOCK_STREAM);

	vb_says(ch, "hello");
	expect_host("hello");
	host_says("welcome");
	vb_expect(ch, "welcome");
	assert_int_equal(hv_conn_bytes_from_guest(fx.request), 5);
	assert_int_equal(hv_conn_bytes_to_guest(fx.request), 7);

	/* The guest ends its half, the host then its own: rescinded, closed, released. */
	vb_says(ch, "bye");
	vb_fin(ch);
	expect_host("bye");
	expect_host_end();
	assert_false(ch->rescinded);
	close(fd_take(&fx.host));
	settle();
	assert_true(ch->rescinded && ch->closed && ch->released);
	expect_no_connections();
	assert_int_equal(STAT(connections_from_guest), 1);
	assert_int_equal(STAT(packets_from_guest), 3);
	assert_int_equal(STAT(bytes_from_guest), 8);
	assert_int_equal(STAT(bytes_to_guest), 7);
	assert_int_equal(fx.n_gone, 0);
	assert_false(vb.hung_up);
}

static void test_host_to_guest(void **state)
{
	struct outcome o;
	struct hv_conn *conn = connect_to_guest(SOCK_STREAM, &o);
	struct vb_channel *ch;

	assert_string_equal(hv_conn_state(conn), "connecting");
	assert_int_equal(send(fx.host, "early", 5, 0), 5); /* before the answer */
	ch = vb_accept();
	assert_int_equal(o.n, 1);
	assert_int_equal(o.result, 0);
	expect_host("OK");
	vb_expect(ch, "early");
	vb_says(ch, "late");
	expect_host("late");

	/* The host goes: the end in the ring, and the rescind behind it. */
	close(fd_take(&fx.host));
	settle();
	vb_read(ch);
	assert_true(ch->fin && ch->rescinded && ch->released);
	expect_no_connections();
	assert_int_equal(STAT(connections_to_guest), 1);
}

/* Each connection of the host is an instance of its own. */
static void test_instances(void **state)
{
	struct vmbus_guid instance[8];
	struct outcome o;

	for (unsigned i = 0; i < 8; i++) {
		(void)connect_to_guest(SOCK_STREAM, &o);
		instance[i] = vb_accept()->instance;
		for (unsigned j = 0; j < i; j++)
			assert_memory_not_equal(&instance[i], &instance[j], sizeof(instance[0]));
		settle();
	}
}

static void test_half_close_by_host(void **state)
{
	struct vb_channel *ch = vb_dial_host();

	host_says("last");
	shutdown(fx.host, SHUT_WR);
	vb_expect(ch, "last");
	assert_false(ch->fin);
	vb_expect(ch, "");
	assert_true(ch->fin && !ch->fin_behind); /* now that it has read all */
	assert_false(ch->rescinded);
	vb_says(ch, "answer");
	expect_host("answer");
	vb_fin(ch);
	expect_host_end();
	assert_true(ch->rescinded && ch->released);
	expect_no_connections();
}

static void test_half_close_by_guest(void **state)
{
	struct vb_channel *ch = vb_dial_host();

	vb_says(ch, "last");
	vb_fin(ch);
	expect_host("last");
	expect_host_end();
	host_says("answer");
	vb_expect(ch, "answer");
	assert_false(ch->rescinded || ch->fin);
	close(fd_take(&fx.host));
	settle();
	vb_read(ch);
	assert_true(ch->fin && ch->rescinded && ch->released);
	expect_no_connections();
}

/* Bytes that nobody takes any more are dropped, and the guest is told by the rescind. */
static void test_host_gone_while_guest_sends(void **state)
{
	struct vb_channel *ch = vb_dial_host();

	close(fd_take(&fx.host));
	assert_true(vb_write(ch, "to nobody", 9, 9) == 9);
	settle();
	assert_true(ch->rescinded && ch->released);
	expect_no_connections();
}

/* ---- refusals ----------------------------------------------------------------------------------- */

static void test_dead_port(void **state)
{
	struct vmbus_guid from = vb_guid(77), to = vb_guid(78);

	fx.answer = HOST_REFUSE;
	assert_null(vb_dial(77, 78));
	assert_int_equal(vb.n_refused, 1); /* at once */
	assert_memory_equal(&vb.refused.endpoint, &from, sizeof(from));
	assert_memory_equal(&vb.refused.service, &to, sizeof(to));
	assert_int_equal(STAT(refused_by_host), 1);
	expect_no_connections();
	fx.answer = HOST_ACCEPT;
	assert_non_null(vb_dial(77, 78)); /* the port is free at once */
}

/* A service that is no port's. */
static void test_foreign_service(void **state)
{
	struct vmbus_connect_request c = { vb_guid(1), vb_guid(2) };

	c.service.b[15] ^= 1;
	vb_send_message(VMBUS_CONNECT_REQUEST, VU_FLAG_VERSION, &c, sizeof(c), NULL, 0);
	settle();
	assert_int_equal(vb.n_refused, 1);
	assert_int_equal(fx.n_requests, 0);
	assert_false(vb.hung_up);
}

static void test_not_offered(void **state)
{
	struct outcome o;

	/* The guest's: nobody would know otherwise. */
	vb.offer_status = -ENOSPC;
	assert_null(vb_dial(5, PORT));
	assert_int_equal(vb.n_refused, 1);
	expect_host_end();
	/* The host's. */
	vb.offer_status = -ENOTCONN;
	(void)connect_to_guest(SOCK_STREAM, &o);
	settle();
	assert_int_equal(o.n, 1);
	assert_int_equal(o.result, -ECONNREFUSED);
	assert_int_equal(vb.n_refused, 1);
	assert_int_equal(STAT(refused_channel), 2);
	expect_no_connections();
}

static void test_seqpacket_and_no_guest(void **state)
{
	struct hv_conn *conn;
	struct outcome o;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd), 0);
	assert_int_equal(hv_connect(fx.vm[0], PORT, SOCK_SEQPACKET, fd[0], on_done, &o, &conn),
			 -EPROTONOSUPPORT);
	vb_hang_up();
	assert_int_equal(hv_connect(fx.vm[0], PORT, SOCK_STREAM, fd[0], on_done, &o, &conn),
			 -ENOTCONN);
	vb_connect();
	vb_hello();
	vb_memory(); /* but its guest is not up */
	assert_int_equal(hv_connect(fx.vm[0], PORT, SOCK_STREAM, fd[0], on_done, &o, &conn),
			 -ENOTCONN);
	vb_ready();
	assert_int_equal(hv_connect(fx.vm[0], PORT, SOCK_STREAM, fd[0], on_done, &o, &conn), 0);
	hv_cancel(conn);
	close(fd[0]);
	close(fd[1]);
	expect_no_connections();
}

/* limits.connections, at n and n + 1. */
static void test_limit_of_connections(void **state)
{
	struct hv_vm_config c = { .name = "few", .limits = { .connections = 2 } };
	struct vmbus_hello hello = { .version = 1 };
	struct hv_vm *vm;
	int fd[2], old = vb.sock;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	assert_int_equal(port_vmbus_adopt(fx.relay, &c, fd[1], &vm), 0);
	vb.sock = fd[0];
	vb_send_message(VMBUS_HELLO, VU_FLAG_VERSION, &hello, sizeof(hello), NULL, 0);
	vb_memory();
	fx.answer = HOST_WAIT;
	for (unsigned i = 0; i < 3; i++)
		vb_ask(100 + i, PORT);
	settle();
	assert_int_equal(fx.n_requests, 2);
	assert_int_equal(vb.n_refused, 1);
	assert_int_equal(hv_vm_stats(vm)->refused_limit_connections, 1);
	assert_int_equal(hv_vm_connections(vm), 2);
	hv_vm_close(vm);
	settle();
	assert_true(vb.hung_up);
	vb.hung_up = false;
	close(vb.sock);
	vb.sock = old;
}

/* As many channels as a guest can have, whatever their state, and one more. */
static void test_limit_of_channels(void **state)
{
	fx.answer = HOST_WAIT; /* or each would have a descriptor */
	fx.vm[0]->limits.connections = HV_CONNECTIONS_MAX;
	for (uint32_t i = 0; i < VMBUS_CHANNELS; i++) {
		vb_ask(i, PORT);
		if (i % 64 == 63)
			settle();
	}
	settle();
	assert_int_equal(fx.n_requests, VMBUS_CHANNELS);
	assert_int_equal(vb.n_refused, 0);
	assert_null(vb_dial(VMBUS_CHANNELS, PORT));
	assert_int_equal(vb.n_refused, 1);
	assert_int_equal(STAT(refused_channel), 1);
	hv_refuse(fx.request);
	settle();
	fx.answer = HOST_ACCEPT;
	vb.last_id = VMBUS_CHANNELS - 1;
	assert_non_null(vb_dial(VMBUS_CHANNELS, PORT));
	assert_int_equal(vb.last->id, VMBUS_CHANNELS);
	assert_int_equal(vb.last->status, 0);
	assert_false(vb.hung_up);
}

/* ---- a port that is used again ------------------------------------------------------------------ */

static void test_waits_for_release(void **state)
{
	struct vb_channel *ch, *next;

	vb.no_release = true;
	ch = vb_dial(9, PORT);
	close(fd_take(&fx.host));
	settle();
	assert_true(ch->rescinded);
	assert_null(vb_dial(9, PORT)); /* neither offered nor refused */
	assert_int_equal(vb.n_refused, 0);
	assert_int_equal(fx.n_requests, 1);
	assert_non_null(vb_dial(10, PORT)); /* others are */
	vb_close(ch);
	settle();
	assert_true(ch->closed);
	assert_int_equal(fx.n_requests, 2);
	vb.last = NULL;
	vb_release(ch);
	settle();
	next = vb.last;
	assert_non_null(next);
	assert_int_equal(fx.n_requests, 3);
	vb_says(next, "again");
	expect_host("again");
}

/* One more than may wait is refused. */
static void test_limit_of_waiting(void **state)
{
	struct vb_channel *ch;

	vb.no_release = true;
	ch = vb_dial(9, PORT);
	close(fd_take(&fx.host));
	settle();
	assert_true(ch->rescinded);
	for (unsigned i = 0; i < VMBUS_WAITING; i++)
		vb_ask(9, PORT + i);
	settle();
	assert_int_equal(vb.n_refused, 0);
	vb_ask(9, PORT);
	settle();
	assert_int_equal(vb.n_refused, 1);
	/* The first gets it; the others wait on, for that one. */
	vb_close(ch);
	settle();
	vb_release(ch);
	settle();
	assert_int_equal(fx.n_requests, 2);
	assert_int_equal(vb.n_refused, 1);
}

/* A connect() that was repeated: while the host has not answered its answer is for both, and after that the first one is
 * over.  What wants another service by now has the first one ended anyway. */
static void test_repeated_connect(void **state)
{
	struct vb_channel *first, *second;

	vb.no_open = true;
	first = vb_dial(9, PORT);
	assert_non_null(first);
	second = vb_dial(9, PORT);
	assert_non_null(second);
	assert_ptr_not_equal(first, second);
	assert_true(first->rescinded && first->released);
	assert_int_equal(vb.n_refused, 0);
	assert_int_equal(fx.n_requests, 2);
	first = second;
	assert_non_null(vb_dial(9, PORT + 1));
	assert_true(first->rescinded && first->released);
	assert_int_equal(hv_conn_port(fx.request), PORT + 1);

	fx.answer = HOST_WAIT;
	assert_null(vb_dial(11, PORT));
	assert_null(vb_dial(11, PORT));
	assert_int_equal(fx.n_requests, 4);
	assert_int_equal(vb.n_refused, 0);
	assert_null(vb_dial(11, PORT + 1));
	assert_int_equal(fx.n_gone, 1);
	assert_int_equal(vb.n_refused, 1);
	assert_int_equal(fx.n_requests, 5);
	hv_refuse(fx.request);
	settle();
	assert_int_equal(vb.n_refused, 2);
}

/* A guest that connects from a port has closed what it had there, even if the host goes on with that. */
static void test_port_of_a_closed_socket(void **state)
{
	struct vb_channel *ch = vb_dial(9, PORT), *next;
	int old;

	assert_null(vb_dial(9, PORT + 1)); /* nothing shows that it has closed */
	vb_says(ch, "bye");
	expect_host("bye");
	assert_false(ch->rescinded);
	vb_fin(ch);
	expect_host_end();
	old = fd_take(&fx.host);
	next = vb_dial(9, PORT);
	assert_non_null(next);
	assert_ptr_not_equal(next, ch);
	assert_true(ch->rescinded && ch->released);
	assert_int_equal(send(old, "x", 1, MSG_NOSIGNAL), -1);
	close(old);
}

/* The same of one whose end lies behind what the host has not taken yet. */
static void test_port_of_a_closed_socket_that_has_sent(void **state)
{
	struct vb_channel *ch = vb_dial(9, PORT), *next;
	uint64_t sent = vb_fill(ch), got = 0;
	size_t n;
	int old;

	vb_fin(ch);
	old = fd_take(&fx.host);
	next = vb_dial(9, PORT);
	assert_non_null(next);
	assert_true(ch->rescinded && ch->released);
	vb_says(next, "again");
	expect_host("again");
	close(fx.host);
	fx.host = old;
	do {
		n = host_reads(got, MIB);
		got += n;
		settle();
	} while (n > 0);
	assert_int_equal(got, sent);
	expect_host_end();
}

/* Two endpoints that no guest has: each is answered. */
static void test_endpoints_that_are_nearly_one(void **state)
{
	struct vmbus_connect_request c = { vb_guid(9), vb_guid(PORT) };

	fx.answer = HOST_WAIT;
	assert_null(vb_dial(9, PORT));
	c.endpoint.b[15] ^= 1;
	vb_send_message(VMBUS_CONNECT_REQUEST, VU_FLAG_VERSION, &c, sizeof(c), NULL, 0);
	settle();
	assert_int_equal(vb.n_refused, 1);
	assert_memory_equal(&vb.refused.endpoint, &c.endpoint, sizeof(c.endpoint));
	assert_int_equal(fx.n_requests, 1);
	assert_int_equal(fx.n_gone, 0);
	hv_refuse(fx.request);
	fx.answer = HOST_ACCEPT;
	vb_send_message(VMBUS_CONNECT_REQUEST, VU_FLAG_VERSION, &c, sizeof(c), NULL, 0);
	settle();
	assert_int_equal(vb.n_refused, 2);
	assert_non_null(vb.last);
	assert_memory_equal(&vb.last->instance, &c.endpoint, sizeof(c.endpoint));
}

/* ---- with the host's side as it is: P and P_<port> ---------------------------------------------- */

struct place {
	struct host host;
	struct host_vm *vm;
	char p[128];
};

static int dial_path(const char *path, int type)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	strcpy(sa.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void start_host(struct place *p)
{
	struct host_vm_config c = { .vm = { .name = "n1" }, .hvsock = true, .fd_connected = true };
	const char *where;
	int fd[2];

	*p = (struct place){ .host = { .loop = &fx.loop, .ports_base = PORTS_BASE_DEFAULT } };
	assert_int_equal(host_init(&p->host, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	c.fd = fd[1];
	c.uds_path = tmp_path(&fx.dir, "n1.vs", p->p, sizeof(p->p));
	assert_int_equal(host_add_vm(&p->host, &c, &p->vm, &where), 0);
	close(vb.sock);
	vb.sock = fd[0];
	vb_hello();
	vb_memory();
	vb_ready();
}

static void test_path_to_guest(void **state)
{
	char line[64] = "";
	struct vb_channel *ch;
	struct place p;
	char c;

	start_host(&p);
	fx.host = dial_path(p.p, SOCK_STREAM);
	assert_int_equal(send(fx.host, "CONNECT 1234\nearly", 18, 0), 18);
	ch = vb_accept();
	assert_true(recv(fx.host, line, sizeof(line) - 1, 0) > 4);
	assert_int_equal(strncmp(line, "OK ", 3), 0);
	assert_in_range(strtoul(line + 3, NULL, 10), HV_HOST_PORT_MIN, HV_HOST_PORT_MAX);
	vb_expect(ch, "early");
	vb_says(ch, "from the guest");
	expect_host("from the guest");
	close(fd_take(&fx.host));
	settle();
	assert_true(ch->released);

	/* By GUID; and nobody speaks SEQPACKET. */
	fx.host = dial_path(p.p, SOCK_STREAM);
	assert_int_equal(send(fx.host, "CONNECT 000004d2-facb-11e6-bd58-64006a7986d3\n", 45, 0),
			 45);
	ch = vb_accept();
	close(fd_take(&fx.host));
	settle();
	assert_true(ch->released);
	tmp_path(&fx.dir, "n1.vs.seq", line, sizeof(line));
	fx.host = dial_path(line, SOCK_SEQPACKET);
	host_says("CONNECT 1234\n");
	assert_int_equal(recv(fx.host, &c, 1, 0), 0);
	host_done(&p.host);
}

static void test_path_from_guest(void **state)
{
	struct vb_channel *ch;
	struct place p;
	char path[128];
	int fd;

	start_host(&p);
	assert_null(vb_dial(1, PORT)); /* nobody listens */
	assert_int_equal(vb.n_refused, 1);
	tmp_path(&fx.dir, "n1.vs_1234", path, sizeof(path));
	assert_int_equal(listen_unix(path, 0600, &fd), 0);
	ch = vb_dial(1, PORT);
	assert_non_null(ch);
	fx.host = accept(fd, NULL, NULL);
	assert_true(fx.host >= 0);
	vb_says(ch, "to the host");
	expect_host("to the host");
	host_says("and back");
	vb_expect(ch, "and back");
	close(fd);
	host_done(&p.host);
	settle();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_states, vb_setup_alone, vb_teardown),
		VB_TEST(test_configs),
		VB_TEST(test_guest_to_host),
		VB_TEST(test_host_to_guest),
		VB_TEST(test_instances),
		VB_TEST(test_half_close_by_host),
		VB_TEST(test_half_close_by_guest),
		VB_TEST(test_host_gone_while_guest_sends),
		VB_TEST(test_dead_port),
		VB_TEST(test_foreign_service),
		VB_TEST(test_not_offered),
		VB_TEST(test_seqpacket_and_no_guest),
		VB_TEST(test_limit_of_connections),
		VB_TEST(test_limit_of_channels),
		VB_TEST(test_waits_for_release),
		VB_TEST(test_limit_of_waiting),
		VB_TEST(test_repeated_connect),
		VB_TEST(test_port_of_a_closed_socket),
		VB_TEST(test_port_of_a_closed_socket_that_has_sent),
		VB_TEST(test_endpoints_that_are_nearly_one),
		VB_TEST(test_path_to_guest),
		VB_TEST(test_path_from_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
