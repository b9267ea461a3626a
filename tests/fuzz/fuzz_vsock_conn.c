/* SPDX-License-Identifier: MIT */
/* The state machine of a virtio-vsock connection, between a hostile guest and a far end that does anything at any time.
 *
 * The input is a list of steps: packets of the guest with any operation, flags, length and credit, and what the relay
 * does.  Checked after each: never more is held than was allowed, never more sent than the guest has room for, an end is
 * an end, and an RST is the last that is owed. */
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "conn.h"

#define BUF 1000u

enum step {
	STEP_PACKET,
	STEP_ACCEPT,
	STEP_SHUTDOWN,
	STEP_RESET,
	STEP_FORWARD,
	STEP_STARVED,
	STEP_DATA,
	STEP_OWED,
	STEP_COUNT
};

struct input {
	const uint8_t *data;
	size_t size;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t take8(struct input *in)
{
	if (in->size == 0)
		return 0;
	in->size--;
	return *in->data++;
}

/* Small numbers, and those at the edges. */
static uint32_t take32(struct input *in)
{
	uint8_t low = take8(in), kind = take8(in);

	switch (kind % 4) {
	case 0:
		return low;
	case 1:
		return (uint32_t)low << 8 | kind;
	case 2:
		return UINT32_MAX - low;
	default:
		return BUF - 128 + low;
	}
}

static void step_packet(struct conn *c, struct input *in)
{
	uint32_t held = credit_held(&c->credit);
	unsigned before = c->state, events;
	struct pkt p = { .type = c->type };

	p.op = take8(in) % (PKT_OP_COUNT + 1);
	p.flags = take8(in);
	p.len = p.op == VIRTIO_VSOCK_OP_RW ? take32(in) : 0;
	p.buf_alloc = take32(in);
	p.fwd_cnt = take32(in);
	events = conn_packet(c, &p);

	if (events & CONN_EV_DATA)
		assert(before == CONN_CONNECTED && credit_held(&c->credit) == held + p.len);
	else
		assert(credit_held(&c->credit) == held);
	if (events & CONN_EV_ACCEPTED)
		assert(before == CONN_CONNECTING && c->state == CONN_CONNECTED);
	if (events & CONN_EV_OVER)
		assert(c->state == CONN_CLOSED || c->state == CONN_RESETTING ||
		       c->state == CONN_DRAINING);
	if (events & (CONN_EV_CREDIT | CONN_EV_BROKEN))
		assert(c->state == CONN_RESETTING && events & CONN_EV_OVER);
	if (events & CONN_EV_IGNORED)
		assert(c->state == before);
	if (p.op == VIRTIO_VSOCK_OP_RST)
		assert(c->state == CONN_CLOSED);
}

static void step_owed(struct conn *c)
{
	unsigned owed = c->owed;
	struct pkt p;

	if (!conn_owed(c, &p)) {
		assert(!owed);
		return;
	}
	assert(owed & 1u << p.op && !(c->owed & 1u << p.op));
	assert(p.len == 0 && p.buf_alloc == BUF && p.fwd_cnt == c->credit.fwd_cnt);
	assert(p.type == c->type);
	if (p.op == VIRTIO_VSOCK_OP_RST)
		assert(c->state == CONN_CLOSED && !c->owed);
	if (p.op == VIRTIO_VSOCK_OP_SHUTDOWN)
		assert(p.flags && p.flags == c->our_shutdown);
}

static void step_data(struct conn *c, struct input *in)
{
	uint32_t room = conn_room(c), len = min(room, take32(in));
	struct pkt p;

	if (room == 0)
		return;
	assert(c->state == CONN_CONNECTED);
	conn_data(c, len, 0, &p);
	assert(p.op == VIRTIO_VSOCK_OP_RW && p.len == len);
	assert(conn_room(c) == room - len);
}

static void step_run(struct conn *c, enum step step, struct input *in)
{
	switch (step) {
	case STEP_PACKET:
		step_packet(c, in);
		break;
	case STEP_ACCEPT:
		if (c->state == CONN_REQUESTED)
			conn_accept(c);
		break;
	case STEP_SHUTDOWN:
		conn_shutdown(c, take8(in) & PKT_SHUTDOWN_MASK);
		break;
	case STEP_RESET:
		conn_reset(c);
		break;
	case STEP_FORWARD:
		conn_forward(c, min(take32(in), credit_held(&c->credit)));
		break;
	case STEP_STARVED:
		conn_starved(c);
		break;
	case STEP_DATA:
		step_data(c, in);
		break;
	case STEP_OWED:
	case STEP_COUNT:
		step_owed(c);
		break;
	}
}

static void check(const struct conn *c)
{
	assert(c->state < CONN_STATE_COUNT && conn_state_name(c->state)[0] != '?');
	assert(credit_held(&c->credit) <= BUF);
	assert(!(c->owed & ~0xdeu)); /* neither INVALID nor RW */
	if (c->state == CONN_RESETTING)
		assert(c->owed == 1u << VIRTIO_VSOCK_OP_RST);
	else
		assert(!(c->owed & 1u << VIRTIO_VSOCK_OP_RST));
	if (c->state == CONN_CLOSED)
		assert(!c->owed);
	if (c->state == CONN_DRAINING)
		assert(credit_held(&c->credit) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct pkt request = { .type = VIRTIO_VSOCK_TYPE_STREAM };
	struct conn c;
	uint8_t first = take8(&in);

	if (first & 1) {
		conn_init_connecting(&c, first & 2 ? 2 : 1, BUF);
	} else {
		request.buf_alloc = take32(&in);
		request.fwd_cnt = take32(&in);
		conn_init_requested(&c, &request, BUF);
	}
	check(&c);
	while (in.size > 0) {
		step_run(&c, take8(&in) % STEP_COUNT, &in);
		check(&c);
	}
	return 0;
}
