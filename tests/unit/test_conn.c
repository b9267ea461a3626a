/* SPDX-License-Identifier: MIT */
/* The state machine of a virtio-vsock connection: every operation in every state, beside what Linux's transport does with
 * it (net/vmw_vsock/virtio_transport_common.c), and what is owed when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "conn.h"

#define BUF    1000u
#define EV(e)  CONN_EV_##e
#define OW(op) (1u << VIRTIO_VSOCK_OP_##op)

/* The guest has room for 100 bytes. */
static struct pkt packet(unsigned op)
{
	return (struct pkt){ .op = (uint16_t)op,
			     .type = VIRTIO_VSOCK_TYPE_STREAM,
			     .buf_alloc = 100 };
}

static void owe_nothing(struct conn *c)
{
	struct pkt p;

	while (conn_owed(c, &p))
		;
}

/* A connection in each state, with nothing owed but an RST where that is the state. */
static struct conn in(enum conn_state state)
{
	struct pkt request = packet(VIRTIO_VSOCK_OP_REQUEST), p = packet(VIRTIO_VSOCK_OP_RW);
	struct conn c;

	conn_init_requested(&c, &request, BUF);
	switch (state) {
	case CONN_REQUESTED:
		return c;
	case CONN_CONNECTING:
		conn_init_connecting(&c, VIRTIO_VSOCK_TYPE_STREAM, BUF);
		break;
	case CONN_CONNECTED:
	case CONN_CLOSING:
	case CONN_DRAINING:
		conn_accept(&c);
		break;
	case CONN_RESETTING:
	case CONN_CLOSED:
		conn_reset(&c);
		break;
	case CONN_STATE_COUNT:
		fail();
	}
	if (state == CONN_CLOSING)
		conn_shutdown(&c, PKT_SHUTDOWN_MASK);
	if (state == CONN_DRAINING) {
		p.len = 10;
		assert_int_equal(conn_packet(&c, &p), CONN_EV_DATA);
		p = packet(VIRTIO_VSOCK_OP_SHUTDOWN);
		p.flags = PKT_SHUTDOWN_MASK;
		conn_packet(&c, &p);
	}
	if (state != CONN_RESETTING)
		owe_nothing(&c);
	assert_int_equal(c.state, state);
	return c;
}

struct row {
	enum conn_state state;
	unsigned op;
	unsigned flags; /* of SHUTDOWN */
	unsigned events;
	enum conn_state after;
	unsigned owed;
	const char *in_linux;
};

#define ROW(state, op, events, after, owed, in_linux)                                       \
	{                                                                                   \
		CONN_##state, VIRTIO_VSOCK_OP_##op, 0, events, CONN_##after, owed, in_linux \
	}
#define SHUT(state, flags, events, after, owed, in_linux)                                  \
	{                                                                                  \
		CONN_##state, VIRTIO_VSOCK_OP_SHUTDOWN, flags, events, CONN_##after, owed, \
			in_linux                                                           \
	}

static const struct row table[] = {
	/* The guest's connect() is under way. Linux's listener has answered by then. */
	ROW(REQUESTED, INVALID, EV(IGNORED), REQUESTED, 0, "no such state"),
	ROW(REQUESTED, REQUEST, EV(IGNORED), REQUESTED, 0, "no such state"),
	ROW(REQUESTED, RESPONSE, EV(OVER) | EV(BROKEN), RESETTING, OW(RST), "no such state"),
	ROW(REQUESTED, RST, EV(OVER), CLOSED, 0, "no such state"),
	SHUT(REQUESTED, 3, EV(OVER) | EV(BROKEN), RESETTING, OW(RST), "no such state"),
	ROW(REQUESTED, RW, EV(OVER) | EV(BROKEN), RESETTING, OW(RST), "no such state"),
	ROW(REQUESTED, CREDIT_UPDATE, EV(IGNORED), REQUESTED, 0, "no such state"),
	ROW(REQUESTED, CREDIT_REQUEST, EV(IGNORED), REQUESTED, 0, "no such state"),
	{ CONN_REQUESTED, 77, 0, EV(IGNORED), CONN_REQUESTED, 0, "no such state" },

	ROW(CONNECTING, INVALID, EV(IGNORED), CONNECTING, 0, "recv_connecting: break"),
	ROW(CONNECTING, REQUEST, EV(OVER) | EV(BROKEN), RESETTING, OW(RST), "EPROTO, reset"),
	ROW(CONNECTING, RESPONSE, EV(ACCEPTED), CONNECTED, 0, "TCP_ESTABLISHED"),
	ROW(CONNECTING, RST, EV(OVER), CLOSED, 0, "ECONNRESET, no answer"),
	SHUT(CONNECTING, 3, EV(OVER) | EV(BROKEN), RESETTING, OW(RST), "EPROTO, reset"),
	ROW(CONNECTING, RW, EV(OVER) | EV(BROKEN), RESETTING, OW(RST), "EPROTO, reset"),
	ROW(CONNECTING, CREDIT_UPDATE, EV(OVER) | EV(BROKEN), RESETTING, OW(RST), "EPROTO, reset"),
	ROW(CONNECTING, CREDIT_REQUEST, EV(OVER) | EV(BROKEN), RESETTING, OW(RST), "EPROTO, reset"),
	{ CONN_CONNECTING, 77, 0, EV(OVER) | EV(BROKEN), CONN_RESETTING, OW(RST), "EPROTO, reset" },

	ROW(CONNECTED, INVALID, EV(IGNORED), CONNECTED, 0, "recv_connected: default, kfree_skb"),
	ROW(CONNECTED, REQUEST, EV(IGNORED), CONNECTED, 0, "recv_connected: default, kfree_skb"),
	ROW(CONNECTED, RESPONSE, EV(IGNORED), CONNECTED, 0, "recv_connected: default, kfree_skb"),
	ROW(CONNECTED, RST, EV(OVER), CLOSED, 0, "do_close, no answer"),
	SHUT(CONNECTED, 0, EV(IGNORED), CONNECTED, 0, "nothing"),
	SHUT(CONNECTED, 1, EV(SHUTDOWN), CONNECTED, 0, "peer_shutdown |= RCV"),
	SHUT(CONNECTED, 2, EV(SHUTDOWN), CONNECTED, 0, "peer_shutdown |= SEND"),
	SHUT(CONNECTED, 3, EV(SHUTDOWN) | EV(OVER), RESETTING, OW(RST), "reset, do_close"),
	SHUT(CONNECTED, 4, EV(IGNORED), CONNECTED, 0, "no such flag"),
	ROW(CONNECTED, RW, EV(DATA), CONNECTED, 0, "recv_enqueue"),
	ROW(CONNECTED, CREDIT_UPDATE, 0, CONNECTED, 0, "sk_write_space"),
	ROW(CONNECTED, CREDIT_REQUEST, 0, CONNECTED, OW(CREDIT_UPDATE), "send_credit_update"),
	{ CONN_CONNECTED, 77, 0, EV(IGNORED), CONN_CONNECTED, 0, "default, kfree_skb" },

	/* It sent SHUTDOWN of both with data that is not passed on yet: Linux takes the socket out of its table, and resets
	 * when its owner has read and closes. */
	ROW(DRAINING, REQUEST, EV(IGNORED), DRAINING, 0, "not in the table"),
	ROW(DRAINING, RST, EV(OVER), CLOSED, 0, "not in the table"),
	ROW(DRAINING, RW, EV(IGNORED), DRAINING, 0, "not in the table"),

	/* The far end is gone and SHUTDOWN of both was sent: Linux's socket is closed, but "connected" until the RST. */
	ROW(CLOSING, INVALID, EV(IGNORED), CLOSING, 0, "recv_connected: default, kfree_skb"),
	ROW(CLOSING, REQUEST, EV(IGNORED), CLOSING, 0, "recv_connected: default, kfree_skb"),
	ROW(CLOSING, RESPONSE, EV(IGNORED), CLOSING, 0, "recv_connected: default, kfree_skb"),
	ROW(CLOSING, RST, EV(OVER), CLOSED, 0, "do_close, no answer"),
	SHUT(CLOSING, 1, EV(SHUTDOWN), CLOSING, 0, "peer_shutdown |= RCV"),
	SHUT(CLOSING, 3, EV(SHUTDOWN) | EV(OVER), RESETTING, OW(RST), "reset, do_close"),
	ROW(CLOSING, RW, EV(IGNORED), CLOSING, 0, "enqueued, and read by nobody"),
	ROW(CLOSING, CREDIT_UPDATE, 0, CLOSING, 0, "sk_write_space"),
	ROW(CLOSING, CREDIT_REQUEST, 0, CLOSING, OW(CREDIT_UPDATE), "send_credit_update"),

	/* An RST is on its way: Linux has sent it by then, and forgotten the socket. */
	ROW(RESETTING, REQUEST, EV(IGNORED), RESETTING, OW(RST), "reset_no_sock"),
	ROW(RESETTING, RESPONSE, EV(IGNORED), RESETTING, OW(RST), "reset_no_sock"),
	ROW(RESETTING, RST, EV(OVER), CLOSED, 0, "no answer to an RST"),
	SHUT(RESETTING, 3, EV(IGNORED), RESETTING, OW(RST), "reset_no_sock"),
	ROW(RESETTING, RW, EV(IGNORED), RESETTING, OW(RST), "reset_no_sock"),
	ROW(RESETTING, CREDIT_REQUEST, EV(IGNORED), RESETTING, OW(RST), "reset_no_sock"),

	ROW(CLOSED, RST, EV(IGNORED), CLOSED, 0, "no socket"),
	ROW(CLOSED, RW, EV(IGNORED), CLOSED, 0, "no socket"),
};

static void test_every_packet_in_every_state(void **state)
{
	for (size_t i = 0; i < array_size(table); i++) {
		const struct row *r = &table[i];
		struct conn c = in(r->state);
		struct pkt p = packet(r->op);
		unsigned events;

		p.flags = r->flags;
		p.len = r->op == VIRTIO_VSOCK_OP_RW ? 1 : 0;
		events = conn_packet(&c, &p) & ~(unsigned)CONN_EV_ROOM;
		if (events != r->events || c.state != r->after || c.owed != r->owed)
			fail_msg("%s in %s: events %#x, %s, owed %#x", pkt_op_name(r->op),
				 conn_state_name(r->state), events, conn_state_name(c.state),
				 c.owed);
	}
}

/* ---- what is owed ------------------------------------------------------------------------------- */

static void expect(struct conn *c, unsigned op, uint32_t flags)
{
	struct pkt p = { 0 };

	assert_true(conn_owed(c, &p));
	assert_string_equal(pkt_op_name(p.op), pkt_op_name(op));
	assert_int_equal(p.flags, flags);
	assert_int_equal(p.len, 0);
	assert_int_equal(p.type, c->type);
	assert_int_equal(p.buf_alloc, BUF);
	assert_int_equal(p.fwd_cnt, c->credit.fwd_cnt);
}

static void expect_nothing(struct conn *c)
{
	struct pkt p;

	assert_false(conn_owed(c, &p));
}

static void test_request_and_response(void **state)
{
	struct conn c;
	struct pkt p = packet(VIRTIO_VSOCK_OP_RESPONSE);

	conn_init_connecting(&c, VIRTIO_VSOCK_TYPE_SEQPACKET, BUF);
	assert_int_equal(conn_room(&c), 0);
	expect(&c, VIRTIO_VSOCK_OP_REQUEST, 0);
	expect_nothing(&c);
	assert_int_equal(conn_packet(&c, &p), CONN_EV_ACCEPTED);
	assert_int_equal(conn_room(&c), 100);

	c = in(CONN_REQUESTED);
	expect_nothing(&c);
	assert_int_equal(conn_room(&c), 0);
	conn_accept(&c);
	assert_int_equal(conn_room(&c), 100); /* told by the REQUEST */
	expect(&c, VIRTIO_VSOCK_OP_RESPONSE, 0);
	expect_nothing(&c);
}

/* A guest that answers before it was asked: the REQUEST is not sent any more. */
static void test_response_unasked(void **state)
{
	struct conn c;
	struct pkt p = packet(VIRTIO_VSOCK_OP_RESPONSE);

	conn_init_connecting(&c, VIRTIO_VSOCK_TYPE_STREAM, BUF);
	assert_int_equal(conn_packet(&c, &p), CONN_EV_ACCEPTED);
	expect_nothing(&c);
}

static void test_our_shutdown(void **state)
{
	struct conn c = in(CONN_CONNECTED);

	conn_shutdown(&c, VIRTIO_VSOCK_SHUTDOWN_SEND);
	assert_int_equal(c.state, CONN_CONNECTED);
	assert_int_equal(conn_room(&c), 0);
	expect(&c, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
	conn_shutdown(&c, VIRTIO_VSOCK_SHUTDOWN_SEND);
	expect_nothing(&c);
	conn_shutdown(&c, VIRTIO_VSOCK_SHUTDOWN_RCV);
	assert_int_equal(c.state, CONN_CLOSING);
	expect(&c, VIRTIO_VSOCK_OP_SHUTDOWN, PKT_SHUTDOWN_MASK);

	/* Where there is no connection, nothing is shut down. */
	c = in(CONN_CONNECTING);
	conn_shutdown(&c, PKT_SHUTDOWN_MASK);
	expect_nothing(&c);
}

static void test_reset(void **state)
{
	for (enum conn_state s = 0; s < CONN_STATE_COUNT; s++) {
		struct conn c = in(s);

		conn_reset(&c);
		if (s != CONN_CLOSED)
			expect(&c, VIRTIO_VSOCK_OP_RST, 0);
		expect_nothing(&c);
		assert_int_equal(c.state, CONN_CLOSED);
	}
}

/* What was owed before an end is not said any more. */
static void test_reset_is_the_last_word(void **state)
{
	struct conn c = in(CONN_CONNECTED);
	struct pkt p = packet(VIRTIO_VSOCK_OP_CREDIT_REQUEST);

	conn_packet(&c, &p);
	conn_shutdown(&c, VIRTIO_VSOCK_SHUTDOWN_SEND);
	conn_reset(&c);
	expect(&c, VIRTIO_VSOCK_OP_RST, 0);
	expect_nothing(&c);
}

/* ---- data and credit ---------------------------------------------------------------------------- */

static unsigned receive(struct conn *c, uint32_t len)
{
	struct pkt p = packet(VIRTIO_VSOCK_OP_RW);

	p.len = len;
	return conn_packet(c, &p);
}

static void test_credit_overrun(void **state)
{
	struct conn c = in(CONN_CONNECTED);

	assert_int_equal(receive(&c, BUF), CONN_EV_DATA);
	assert_int_equal(receive(&c, 0), CONN_EV_DATA);
	assert_int_equal(receive(&c, 1), CONN_EV_OVER | CONN_EV_CREDIT);
	expect(&c, VIRTIO_VSOCK_OP_RST, 0);

	c = in(CONN_CONNECTED);
	assert_int_equal(receive(&c, BUF + 1), CONN_EV_OVER | CONN_EV_CREDIT);
	c = in(CONN_CONNECTED);
	assert_int_equal(receive(&c, UINT32_MAX), CONN_EV_OVER | CONN_EV_CREDIT);
}

static void test_credit_is_told(void **state)
{
	struct conn c = in(CONN_CONNECTED);
	struct pkt p;

	assert_int_equal(receive(&c, BUF), CONN_EV_DATA);
	conn_forward(&c, BUF / 2 - 1);
	expect_nothing(&c);
	conn_forward(&c, 1);
	expect(&c, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	expect_nothing(&c);
	/* Data carries it. */
	conn_forward(&c, BUF / 2);
	conn_data(&c, 10, 0, &p);
	assert_int_equal(p.op, VIRTIO_VSOCK_OP_RW);
	assert_int_equal(p.len, 10);
	assert_int_equal(p.fwd_cnt, BUF);
	expect_nothing(&c);
	assert_int_equal(receive(&c, BUF), CONN_EV_DATA);
}

static void test_room(void **state)
{
	struct conn c = in(CONN_CONNECTED);
	struct pkt p;

	assert_int_equal(conn_room(&c), 100);
	conn_data(&c, 60, 0, &p);
	conn_data(&c, 40, VIRTIO_VSOCK_SEQ_EOM, &p);
	assert_int_equal(p.flags, VIRTIO_VSOCK_SEQ_EOM);
	assert_int_equal(conn_room(&c), 0);
	p = packet(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	p.fwd_cnt = 30;
	assert_int_equal(conn_packet(&c, &p), CONN_EV_ROOM);
	assert_int_equal(conn_room(&c), 30);
	assert_int_equal(conn_packet(&c, &p), 0);
	/* Any packet tells. */
	conn_data(&c, 30, 0, &p);
	p = packet(VIRTIO_VSOCK_OP_RW);
	p.fwd_cnt = 130;
	assert_int_equal(conn_packet(&c, &p), CONN_EV_ROOM | CONN_EV_DATA);
}

static void test_starved_asks_once(void **state)
{
	struct conn c = in(CONN_CONNECTED);
	struct pkt p;

	conn_data(&c, 100, 0, &p);
	conn_starved(&c);
	conn_starved(&c);
	expect(&c, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
	conn_starved(&c);
	expect_nothing(&c);
	p = packet(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	conn_packet(&c, &p);
	conn_starved(&c);
	expect(&c, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
}

/* "I send no more", and then more. */
static void test_data_behind_the_end(void **state)
{
	struct conn c = in(CONN_CONNECTED);
	struct pkt p = packet(VIRTIO_VSOCK_OP_SHUTDOWN);

	p.flags = VIRTIO_VSOCK_SHUTDOWN_SEND;
	assert_int_equal(conn_packet(&c, &p), CONN_EV_SHUTDOWN);
	assert_int_equal(conn_packet(&c, &p), CONN_EV_IGNORED);
	assert_int_equal(receive(&c, 1), CONN_EV_OVER | CONN_EV_BROKEN);
	expect(&c, VIRTIO_VSOCK_OP_RST, 0);
}

static void test_no_room_for_the_deaf(void **state)
{
	struct conn c = in(CONN_CONNECTED);
	struct pkt p = packet(VIRTIO_VSOCK_OP_SHUTDOWN);

	p.flags = VIRTIO_VSOCK_SHUTDOWN_RCV;
	assert_int_equal(conn_packet(&c, &p), CONN_EV_SHUTDOWN);
	assert_int_equal(conn_room(&c), 0);
	p.flags = VIRTIO_VSOCK_SHUTDOWN_SEND; /* the two halves one after the other */
	assert_int_equal(conn_packet(&c, &p), CONN_EV_SHUTDOWN | CONN_EV_OVER);
	expect(&c, VIRTIO_VSOCK_OP_RST, 0);
}

/* The RST comes when the last byte has arrived. */
static void test_draining(void **state)
{
	struct conn c = in(CONN_DRAINING);

	conn_forward(&c, 9);
	expect_nothing(&c);
	assert_int_equal(c.state, CONN_DRAINING);
	conn_forward(&c, 1);
	assert_int_equal(c.state, CONN_RESETTING);
	expect(&c, VIRTIO_VSOCK_OP_RST, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_packet_in_every_state),
		cmocka_unit_test(test_request_and_response),
		cmocka_unit_test(test_response_unasked),
		cmocka_unit_test(test_our_shutdown),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_reset_is_the_last_word),
		cmocka_unit_test(test_credit_overrun),
		cmocka_unit_test(test_credit_is_told),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_starved_asks_once),
		cmocka_unit_test(test_data_behind_the_end),
		cmocka_unit_test(test_no_room_for_the_deaf),
		cmocka_unit_test(test_draining),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
