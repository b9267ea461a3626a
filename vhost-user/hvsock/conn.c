/* SPDX-License-Identifier: MIT */
#include "conn.h"

#include <assert.h>

#define OWES(op) (1u << VIRTIO_VSOCK_OP_##op)

const char *conn_state_name(unsigned state)
{
	static const char *const names[] = {
#define X(name, text) [CONN_##name] = text,
		CONN_STATES(X)
#undef X
	};

	static_assert(array_size(names) == CONN_STATE_COUNT, "a name for each state");
	return state < CONN_STATE_COUNT ? names[state] : "?";
}

static void owe(struct conn *c, unsigned ops)
{
	c->owed = (uint8_t)(c->owed | ops);
}

void conn_init_requested(struct conn *c, const struct pkt *p, uint32_t buf_alloc)
{
	*c = (struct conn){ .state = CONN_REQUESTED, .type = (uint8_t)p->type };
	credit_init(&c->credit, buf_alloc);
	(void)credit_learn(&c->credit, p->buf_alloc, p->fwd_cnt);
}

void conn_init_connecting(struct conn *c, unsigned type, uint32_t buf_alloc)
{
	*c = (struct conn){ .state = CONN_CONNECTING, .type = (uint8_t)type };
	credit_init(&c->credit, buf_alloc);
	owe(c, OWES(REQUEST));
}

/* The guest's end is over, and what is owed to it is one RST or nothing. */
static void end(struct conn *c, bool reset)
{
	c->state = reset ? CONN_RESETTING : CONN_CLOSED;
	c->owed = reset ? OWES(RST) : 0;
}

void conn_reset(struct conn *c)
{
	if (c->state != CONN_CLOSED)
		end(c, true);
}

void conn_lost(struct conn *c)
{
	end(c, false);
}

void conn_accept(struct conn *c)
{
	assert(c->state == CONN_REQUESTED);
	c->state = CONN_CONNECTED;
	owe(c, OWES(RESPONSE));
}

void conn_shutdown(struct conn *c, unsigned flags)
{
	unsigned before = c->our_shutdown;

	if (c->state != CONN_CONNECTED)
		return;
	c->our_shutdown = (uint8_t)(before | flags);
	if (c->our_shutdown != before)
		owe(c, OWES(SHUTDOWN));
	if (c->our_shutdown == PKT_SHUTDOWN_MASK)
		c->state = CONN_CLOSING;
}

void conn_forward(struct conn *c, uint32_t len)
{
	assert(len <= credit_held(&c->credit));
	credit_forward(&c->credit, len);
	if (c->state == CONN_DRAINING && credit_held(&c->credit) == 0)
		end(c, true);
	else if (c->state == CONN_CONNECTED && credit_due(&c->credit))
		owe(c, OWES(CREDIT_UPDATE));
}

void conn_starved(struct conn *c)
{
	if (c->state != CONN_CONNECTED || c->asked)
		return;
	c->asked = true;
	owe(c, OWES(CREDIT_REQUEST));
}

/* ---- packets of the guest ----------------------------------------------------------------------- */

/* Its connect() is under way; the host has not answered.  Linux has no such state, it answers at once: what its
 * connecting side may say meanwhile is nothing, or that it gave up. */
static unsigned in_requested(struct conn *c, const struct pkt *p)
{
	switch (p->op) {
	case VIRTIO_VSOCK_OP_RST:
		end(c, false);
		return CONN_EV_OVER;
	case VIRTIO_VSOCK_OP_RESPONSE:
	case VIRTIO_VSOCK_OP_SHUTDOWN:
	case VIRTIO_VSOCK_OP_RW:
		end(c, true);
		return CONN_EV_OVER | CONN_EV_BROKEN;
	default: /* also a second REQUEST: both have the same answer */
		return CONN_EV_IGNORED;
	}
}

/* virtio_transport_recv_connecting() */
static unsigned in_connecting(struct conn *c, const struct pkt *p)
{
	switch (p->op) {
	case VIRTIO_VSOCK_OP_RESPONSE:
		c->state = CONN_CONNECTED;
		c->owed = 0;
		return CONN_EV_ACCEPTED;
	case VIRTIO_VSOCK_OP_INVALID:
		return CONN_EV_IGNORED;
	case VIRTIO_VSOCK_OP_RST:
		end(c, false);
		return CONN_EV_OVER;
	default:
		end(c, true);
		return CONN_EV_OVER | CONN_EV_BROKEN;
	}
}

static unsigned take_shutdown(struct conn *c, unsigned flags)
{
	unsigned before = c->guest_shutdown;

	c->guest_shutdown = (uint8_t)(before | (flags & PKT_SHUTDOWN_MASK));
	if (c->guest_shutdown == before)
		return CONN_EV_IGNORED;
	if (c->guest_shutdown != PKT_SHUTDOWN_MASK)
		return CONN_EV_SHUTDOWN;
	/* It is done, and is told so when all that it sent has arrived. */
	if (credit_held(&c->credit) == 0) {
		end(c, true);
	} else {
		c->state = CONN_DRAINING;
		c->owed = 0;
	}
	return CONN_EV_SHUTDOWN | CONN_EV_OVER;
}

static unsigned take_data(struct conn *c, const struct pkt *p)
{
	if (unlikely(c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND)) {
		end(c, true);
		return CONN_EV_OVER | CONN_EV_BROKEN;
	}
	if (unlikely(!credit_receive(&c->credit, p->len))) {
		end(c, true);
		return CONN_EV_OVER | CONN_EV_CREDIT;
	}
	return CONN_EV_DATA;
}

/* virtio_transport_recv_connected() */
static unsigned in_connected(struct conn *c, const struct pkt *p)
{
	switch (p->op) {
	case VIRTIO_VSOCK_OP_RW:
		return take_data(c, p);
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		return 0;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		owe(c, OWES(CREDIT_UPDATE));
		return 0;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		return take_shutdown(c, p->flags);
	case VIRTIO_VSOCK_OP_RST:
		end(c, false);
		return CONN_EV_OVER;
	default:
		return CONN_EV_IGNORED;
	}
}

/* The far end is gone.  Linux's socket is still "connected" then, but nobody reads what it is sent: the data is
 * dropped, and its credit does not come back. */
static unsigned in_closing(struct conn *c, const struct pkt *p)
{
	unsigned events;

	if (p->op == VIRTIO_VSOCK_OP_RW)
		return CONN_EV_IGNORED;
	events = in_connected(c, p);
	/* Nothing is passed on any more that could be waited for. */
	if (c->state == CONN_DRAINING)
		end(c, true);
	return events;
}

/* It has ended, or been ended, already.  Its RST is all that counts. */
static unsigned in_ended(struct conn *c, const struct pkt *p)
{
	if (p->op != VIRTIO_VSOCK_OP_RST)
		return CONN_EV_IGNORED;
	end(c, false);
	return CONN_EV_OVER;
}

unsigned conn_packet(struct conn *c, const struct pkt *p)
{
	unsigned events = 0;

	c->asked = false;
	if (credit_learn(&c->credit, p->buf_alloc, p->fwd_cnt) && c->state == CONN_CONNECTED)
		events = CONN_EV_ROOM;
	switch ((enum conn_state)c->state) {
	case CONN_REQUESTED:
		return in_requested(c, p);
	case CONN_CONNECTING:
		return in_connecting(c, p);
	case CONN_CONNECTED:
		return events | in_connected(c, p);
	case CONN_CLOSING:
		return in_closing(c, p);
	case CONN_DRAINING:
	case CONN_RESETTING:
		return in_ended(c, p);
	case CONN_CLOSED:
	case CONN_STATE_COUNT:
		break;
	}
	return CONN_EV_IGNORED;
}

/* ---- packets to the guest ----------------------------------------------------------------------- */

/* Every packet tells our credit, and what it tells is told. */
static void fill(struct conn *c, unsigned op, uint32_t len, uint32_t flags, struct pkt *p)
{
	p->op = (uint16_t)op;
	p->type = c->type;
	p->len = len;
	p->flags = flags;
	p->buf_alloc = c->credit.buf_alloc;
	p->fwd_cnt = c->credit.fwd_cnt;
	credit_told(&c->credit);
	c->owed = (uint8_t)(c->owed & ~(OWES(CREDIT_UPDATE) | 1u << op));
}

void conn_data(struct conn *c, uint32_t len, uint32_t flags, struct pkt *p)
{
	assert(len <= conn_room(c));
	credit_send(&c->credit, len);
	fill(c, VIRTIO_VSOCK_OP_RW, len, flags, p);
}

bool conn_owed(struct conn *c, struct pkt *p)
{
	/* The order in which they make sense: an answer before all else, an end after all else. */
	static const uint8_t order[] = {
		VIRTIO_VSOCK_OP_RST,           VIRTIO_VSOCK_OP_REQUEST,
		VIRTIO_VSOCK_OP_RESPONSE,      VIRTIO_VSOCK_OP_CREDIT_REQUEST,
		VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_SHUTDOWN,
	};

	if (c->owed == 0)
		return false;
	for (unsigned i = 0; i < array_size(order); i++) {
		unsigned op = order[i];

		if (!(c->owed & 1u << op))
			continue;
		fill(c, op, 0, op == VIRTIO_VSOCK_OP_SHUTDOWN ? c->our_shutdown : 0, p);
		if (op == VIRTIO_VSOCK_OP_RST)
			c->state = CONN_CLOSED;
		return true;
	}
	assert(false);
	return false;
}
