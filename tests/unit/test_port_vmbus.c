/* SPDX-License-Identifier: MIT */
/* Hyper-V sockets: connections both ways, their bytes, and every way in which they end. */
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
	assert_true(ch->fin);
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

/* ---- time-outs ---------------------------------------------------------------------------------- */

/* Let what is due in that time be due now. */
static void skip_time(void)
{
	for (unsigned i = 0; i < 2 && fx.loop.timers; i++) {
		fx.loop.timers->at_ns = 0;
		settle();
	}
}

static void test_guest_never_opens(void **state)
{
	struct vb_channel *ch;

	vb.no_open = true;
	ch = vb_dial(9, PORT);
	assert_false(ch->rescinded);
	skip_time();
	assert_true(ch->rescinded && ch->released);
	assert_int_equal(STAT(reset_timeout), 1);
	expect_host_end();
	expect_no_connections();
}

static void test_nobody_listens_in_guest(void **state)
{
	struct outcome o;

	vb.no_open = true;
	(void)connect_to_guest(SOCK_STREAM, &o);
	settle();
	assert_int_equal(o.n, 0);
	skip_time();
	assert_int_equal(o.n, 1);
	assert_int_equal(o.result, -ETIMEDOUT);
	assert_true(vb.last->rescinded && vb.last->released);
	expect_no_connections();
}

static void test_port_never_released(void **state)
{
	struct vb_channel *ch;

	vb.no_release = true;
	ch = vb_dial(9, PORT);
	close(fd_take(&fx.host));
	settle();
	assert_true(ch->rescinded);
	assert_null(vb_dial(9, PORT));
	assert_null(vb_dial(9, PORT));
	assert_int_equal(vb.n_refused, 0);
	vmbus_port_of(fx.vm[0])->waiting->until_ns = 0;
	skip_time();
	assert_int_equal(vb.n_refused, 1); /* the other has time left */
	assert_int_equal(STAT(reset_timeout), 1);
}

/* A guest says by the same packet that it sends no more and that its socket is closed.  While it reads it is believed to be
 * there; when its ring is full and it does not, for HV_CLOSE_NS, that it has closed. */
static void test_closed_in_the_middle(void **state)
{
	static uint8_t bytes[MIB];
	struct vb_channel *ch = vb_dial_host();
	char c;

	assert_true(send(fx.host, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 100000);
	settle();
	assert_null(fx.loop.timers); /* a slow guest has all the time there is */
	vb_fin(ch);
	assert_non_null(fx.loop.timers);
	vb_read(ch); /* it does read: the clock begins anew */
	assert_true(ch->n_kicks > 0);
	loop_once(&fx.loop, 0);
	settle();
	assert_false(ch->rescinded);
	skip_time();
	assert_true(ch->rescinded && ch->released);
	assert_int_equal(STAT(reset_timeout), 1);
	assert_int_equal(send(fx.host, "x", 1, MSG_NOSIGNAL), -1);
	assert_true(errno == EPIPE || errno == ECONNRESET);
	(void)recv(fx.host, &c, 1, MSG_DONTWAIT);
	expect_no_connections();
}

/* ---- a rescind that crosses something ----------------------------------------------------------- */

static void test_client_gives_up_before_offered(void **state)
{
	struct vmbus_offered answer = { .channel = 1 };
	struct outcome o;

	vb.no_offered = true;
	(void)connect_to_guest(SOCK_STREAM, &o);
	settle();
	assert_int_equal(vb.n_offers, 1);
	close(fd_take(&fx.host));
	settle();
	assert_int_equal(o.result, -ECONNABORTED);
	expect_no_connections();
	assert_int_equal(vb.n_rescinds, 0); /* its number is not known yet */
	answer.cookie = vb.last->cookie;
	vb_send_message(VMBUS_OFFERED, VU_FLAG_VERSION, &answer, sizeof(answer), NULL, 0);
	settle();
	assert_int_equal(vb.n_rescinds, 1);
	assert_true(vb.last->released);
}

static void test_open_crosses_rescind(void **state)
{
	struct outcome o;
	struct vb_channel *ch;

	vb.no_open = vb.no_release = true;
	(void)connect_to_guest(SOCK_STREAM, &o);
	ch = vb_accept();
	close(fd_take(&fx.host));
	settle_host();
	vb_open(ch); /* before it has heard */
	settle();
	assert_true(ch->rescinded);
	assert_false(ch->answered || vb.hung_up);
	vb_close(ch);
	settle();
	assert_true(ch->closed);
	vb_release(ch);
	expect_no_connections();
}

/* The guest closes a channel by itself: what it sent arrives, and the rescind comes nevertheless. */
static void test_guest_closes(void **state)
{
	struct vb_channel *ch = vb_dial_host();

	assert_int_equal(vb_write(ch, "last words", 10, 10), 10);
	vb_close(ch);
	settle();
	expect_host("last words");
	expect_host_end();
	assert_true(ch->closed && ch->rescinded && ch->released);
	expect_no_connections();
}

static void test_released_without_close(void **state)
{
	struct vb_channel *ch;

	vb.no_open = true;
	ch = vb_dial(9, PORT);
	vb_release(ch);
	settle();
	expect_host_end();
	expect_no_connections();
	assert_false(vb.hung_up);
}

/* ---- reset, and the death of either side -------------------------------------------------------- */

static void reset(uint32_t sequence)
{
	struct vmbus_reset r = { .sequence = sequence };

	vb_send_message(VMBUS_RESET, VU_FLAG_VERSION, &r, sizeof(r), NULL, 0);
	settle();
	assert_int_equal(vb.reset_done, sequence);
	assert_false(vb.hung_up);
	vb_forget(); /* nothing is said of them */
	expect_no_connections();
	assert_string_equal(hv_vm_state(fx.vm[0]), "negotiated");
}

static void test_reset_when_idle(void **state)
{
	reset(1);
	assert_non_null(vb_dial_host());
	assert_string_equal(hv_vm_state(fx.vm[0]), "running");
}

/* In each state that a channel may be in. */
static void test_reset_in_every_state(void **state)
{
	struct vb_channel *ch;
	struct outcome o;

	fx.answer = HOST_WAIT; /* asked */
	assert_null(vb_dial(1, PORT));
	reset(10);
	assert_int_equal(fx.n_gone, 1);

	fx.answer = HOST_ACCEPT; /* offering, both ways */
	vb.no_offered = true;
	vb_dial(1, PORT);
	(void)connect_to_guest(SOCK_STREAM, &o);
	settle();
	reset(11);
	assert_int_equal(o.result, -ECONNRESET);

	vb.no_offered = false; /* offered */
	vb.no_open = true;
	vb_dial(1, PORT);
	(void)connect_to_guest(SOCK_STREAM, &o);
	settle();
	reset(12);
	assert_int_equal(o.result, -ECONNRESET);

	vb.no_open = false; /* open, with bytes in both rings */
	ch = vb_dial_host();
	host_says("unread");
	assert_int_equal(vb_write(ch, "unread", 6, 6), 6);
	reset(13);

	vb.no_release = true; /* rescinded, and one that waits for it */
	ch = vb_dial(1, PORT);
	close(fd_take(&fx.host));
	settle();
	assert_true(ch->rescinded);
	assert_null(vb_dial(1, PORT));
	reset(14);
	vb.no_release = false;
	ch = vb_dial_host();
	vb_says(ch, "after all that");
	expect_host("after all that");
}

/* What the far end has not taken when the guest goes still reaches it. */
static void test_reset_with_bytes_on_the_way(void **state)
{
	struct vb_channel *ch = vb_dial_host();
	static uint8_t bytes[4000];
	uint64_t sent = 0, got = 0;
	size_t n;

	do {
		fill(bytes, sent, sizeof(bytes));
		n = vb_write(ch, bytes, sizeof(bytes), sizeof(bytes));
		sent += n;
		settle();
	} while (hv_vm_buffered(fx.vm[0]) == 0 || n > 0);
	sent = hv_conn_bytes_from_guest(fx.request);
	{
		struct vmbus_reset r = { .sequence = 3 };

		vb_send_message(VMBUS_RESET, VU_FLAG_VERSION, &r, sizeof(r), NULL, 0);
		settle();
	}
	assert_int_equal(vb.reset_done, 3);
	vb_forget();
	do {
		n = host_reads(got, MIB);
		got += n;
		settle();
	} while (n > 0);
	assert_int_equal(got, sent);
	expect_host_end();
	expect_no_connections();
}

static void test_qemu_dies_and_comes_back(void **state)
{
	struct vb_channel *ch = vb_dial_host();

	vb_says(ch, "one");
	expect_host("one");
	vb_hang_up();
	vb_forget();
	expect_host_end();
	expect_no_connections();
	assert_string_equal(hv_vm_state(fx.vm[0]), "listening");
	vb_connect();
	vb_hello();
	vb_memory();
	ch = vb_dial_host();
	vb_says(ch, "two");
	expect_host("two");
}

/* ---- bytes -------------------------------------------------------------------------------------- */

#define STREAM (3 * MIB)

/* Everybody writes and reads as much as there is room for, in sizes that fit nothing. */
static void stream_both_ways(struct vb_channel *ch, size_t packet)
{
	static uint8_t bytes[60000];
	uint64_t up = 0, up_got = 0, down = 0, down_got = 0;
	unsigned idle = 0;

	while ((up_got < STREAM || down_got < STREAM) && idle < 100) {
		uint64_t before = up_got + down_got;
		size_t len = (size_t)min((uint64_t)sizeof(bytes), STREAM - up);
		ssize_t n;

		fill(bytes, up, len);
		up += vb_write(ch, bytes, len, packet);
		len = (size_t)min((uint64_t)sizeof(bytes), STREAM - down);
		fill(bytes, down, len);
		n = send(fx.host, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		down += n > 0 ? (uint64_t)n : 0;
		loop_once(&fx.loop, 0);
		vb_read(ch);
		check(ch->bytes, down_got, ch->len);
		down_got += ch->len;
		ch->len = 0;
		up_got += host_reads(up_got, MIB);
		idle = up_got + down_got == before ? idle + 1 : 0;
	}
	assert_int_equal(up_got, STREAM);
	assert_int_equal(down_got, STREAM);
}

static void test_streams(void **state)
{
	static const unsigned pages[] = { 2, 3, 6, 17, 33, 129 };

	for (unsigned i = 0; i < array_size(pages); i++) {
		struct vb_channel *ch;

		vb.ring_pages = pages[i];
		vb.pending = pages[i] > 2 ? 4088 + 32 : 1000;
		ch = vb_dial_host();
		stream_both_ways(ch, i % 2 ? 4088 : pages[i] > 2 ? 3001 : 509);
		assert_int_equal(vb_head(ch, &ch->in, 16) & 1, 1);
		if (pages[i] > 6)
			assert_int_equal(ch->longest, 16384);
		close(fd_take(&fx.host));
		settle();
		assert_true(ch->released);
	}
	expect_no_connections();
}

/* A far end that does not read: the guest's ring fills and stays so, and nothing is lost. */
static void test_slow_host(void **state)
{
	struct vb_channel *ch = vb_dial_host();
	static uint8_t bytes[4088];
	uint64_t sent = 0, got = 0;
	unsigned kicks;
	size_t n;

	do {
		fill(bytes, sent, sizeof(bytes));
		n = vb_write(ch, bytes, sizeof(bytes), sizeof(bytes));
		sent += n;
		settle();
	} while (n > 0 && sent < 16 * MIB);
	assert_true(sent < 2 * MIB);
	assert_in_range(hv_vm_buffered(fx.vm[0]), 1, 128 << 10);
	kicks = ch->n_kicks;
	wait_ns(1000000);
	assert_int_equal(ch->n_kicks, kicks);
	while (got < sent) {
		n = host_reads(got, 50000);
		got += n;
		settle();
		assert_true(n > 0);
	}
	/* There is room again, and the guest, which waited for it, has been told. */
	assert_true(ch->n_calls > 0);
	assert_int_equal(vb_write(ch, bytes, sizeof(bytes), sizeof(bytes)), sizeof(bytes));
	settle();
	assert_int_equal(hv_vm_buffered(fx.vm[0]), 0);
}

/* A guest that does not read: the ring fills, the host waits, and goes on once there is room. */
static void test_slow_guest(void **state)
{
	struct vb_channel *ch = vb_dial_host();
	static uint8_t bytes[MIB];
	uint64_t sent = 0, got = 0;
	ssize_t n;

	do {
		fill(bytes, sent, sizeof(bytes));
		n = send(fx.host, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
		sent += n > 0 ? (uint64_t)n : 0;
		settle();
	} while (n > 0);
	assert_true(vb_head(ch, &ch->in, 3) > 0); /* we wait */
	while (got < sent) {
		unsigned kicks = ch->n_kicks;

		vb_read(ch);
		assert_true(ch->len > 0);
		check(ch->bytes, got, ch->len);
		got += ch->len;
		ch->len = 0;
		if (got < sent)
			assert_int_equal(ch->n_kicks, kicks + 1);
		settle();
	}
	assert_int_equal(got, sent);
	assert_int_equal(vb_head(ch, &ch->in, 3), 0); /* no longer */
}

/* ---- kicks -------------------------------------------------------------------------------------- */

/* One call for a burst, none for a ring that was not empty, none for a reader that masks them. */
static void test_calls(void **state)
{
	struct vb_channel *ch = vb_dial_host();

	ch->n_calls = 0;
	host_says("a");
	assert_int_equal(ch->n_calls, 1);
	host_says("b");
	host_says("c");
	assert_int_equal(ch->n_calls, 1);
	vb_expect(ch, "abc");
	vb_set_head(ch, &ch->in, 2, 1);
	host_says("d");
	assert_int_equal(ch->n_calls, 1);
	vb_expect(ch, "d");
	vb_set_head(ch, &ch->in, 2, 0);
	host_says("e");
	assert_int_equal(ch->n_calls, 2);
}

/* Asleep it asks for kicks and is woken by one; awake it does not; and it costs nothing while nobody talks. */
static void test_sleep(void **state)
{
	struct vb_channel *ch = vb_dial_host();
	uint64_t began;

	wait_ns(2000000);
	assert_int_equal(vb_head(ch, &ch->out, 2), 0);
	began = loop_now_ns();
	loop_once(&fx.loop, began + 20000000);
	assert_true(loop_now_ns() - began >= 20000000);
	ch->n_kicks = 0;
	vb_says(ch, "one");
	assert_int_equal(ch->n_kicks, 1);
	expect_host("one");
	assert_true(STAT(queue_kicks) >= 1);
}

/* A ring that fills while it is looked at is told of, though kicks are masked. */
static void test_space_is_told_when_it_is_waited_for(void **state)
{
	static uint8_t bytes[40000];
	struct vb_channel *ch;
	size_t n;

	vb.pending = 0;
	ch = vb_dial_host();
	ch->n_calls = 0;
	n = vb_write(ch, bytes, sizeof(bytes), 4088);
	assert_in_range(n, 10000, 21000);
	settle();
	assert_int_equal(host_reads(0, 0), 0);
	assert_int_equal(ch->n_calls, 0); /* the guest does not wait */
	vb_set_head(ch, &ch->out, 3, 20000);
	n = vb_write(ch, bytes, 4000, 4000);
	settle();
	assert_int_equal(ch->n_calls, 1); /* from fewer to more than 20000 */
	vb_set_head(ch, &ch->out, 3, 20480);
	n = vb_write(ch, bytes, 4000, 4000);
	settle();
	assert_int_equal(n, 4000);
	assert_int_equal(ch->n_calls, 1); /* there will never be more than that */
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
	assert_int_equal(strncmp(line, "OK 1", 4), 0);
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
		VB_TEST(test_guest_never_opens),
		VB_TEST(test_nobody_listens_in_guest),
		VB_TEST(test_port_never_released),
		VB_TEST(test_closed_in_the_middle),
		VB_TEST(test_client_gives_up_before_offered),
		VB_TEST(test_open_crosses_rescind),
		VB_TEST(test_guest_closes),
		VB_TEST(test_released_without_close),
		VB_TEST(test_reset_when_idle),
		VB_TEST(test_reset_in_every_state),
		VB_TEST(test_reset_with_bytes_on_the_way),
		VB_TEST(test_qemu_dies_and_comes_back),
		VB_TEST(test_streams),
		VB_TEST(test_slow_host),
		VB_TEST(test_slow_guest),
		VB_TEST(test_calls),
		VB_TEST(test_sleep),
		VB_TEST(test_space_is_told_when_it_is_waited_for),
		VB_TEST(test_path_to_guest),
		VB_TEST(test_path_from_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
