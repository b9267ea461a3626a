/* SPDX-License-Identifier: MIT */
/* One connection of a guest's, as virtio-vsock sees it: which packets mean what, and which are owed.
 *
 * This is the side that Linux's vhost-vsock plays: the guest's peer.  It makes no system call and knows neither rings
 * nor sockets.  Packets of the guest go into conn_packet(), which answers with what they mean to whoever is behind;
 * what that one does goes into conn_accept(), conn_shutdown(), conn_reset(), conn_forward(); packets that the guest
 * is owed come out of conn_owed(), data packets are made by conn_data().
 *
 *	            guest's REQUEST                     our REQUEST
 *	                  │                                  │
 *	              REQUESTED                          CONNECTING
 *	                  │ conn_accept: RESPONSE            │ RESPONSE of the guest
 *	                  └────────────▶ CONNECTED ◀─────────┘
 *	   SHUTDOWN both of the guest │       │ conn_shutdown both: SHUTDOWN
 *	                              ▼       ▼
 *	                          DRAINING  CLOSING ── RST of the guest ──▶ CLOSED
 *	   all it sent is passed on │          │ SHUTDOWN both of the guest
 *	                            ▼          ▼
 *	                           RESETTING: an RST is owed ── sent ──▶ CLOSED
 *
 * From every state an RST of the guest leads to CLOSED, and conn_reset() to RESETTING.  The semantics are those of
 * net/vmw_vsock/virtio_transport_common.c (Linux 6.1 to 6.18), packet for packet; where it leaves a packet alone, so
 * do we.  We differ where it would lose data in silence: more data than credit allows, and data after "I send no
 * more", reset the connection.  tests/unit/test_conn.c has the table.
 *
 * Trust:   packets are the guest's; their addresses and type have been matched to this connection.
 * Threads: any; no state but the structure, no allocation, no log.
 */
#ifndef HVSOCK_CONN_H
#define HVSOCK_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "credit.h"
#include "pkt.h"

#define CONN_STATES(X)              \
	X(CLOSED, "closed")         \
	X(REQUESTED, "requested")   \
	X(CONNECTING, "connecting") \
	X(CONNECTED, "connected")   \
	X(DRAINING, "draining")     \
	X(CLOSING, "closing")       \
	X(RESETTING, "resetting")

enum conn_state {
#define X(name, text) CONN_##name,
	CONN_STATES(X)
#undef X
		CONN_STATE_COUNT
};

/* What a packet means to whoever is behind; any of these together. */
enum conn_event {
	CONN_EV_ACCEPTED = 1 << 0, /* the guest took our request */
	CONN_EV_DATA = 1 << 1,     /* pass the packet's data on, then conn_forward() */
	CONN_EV_SHUTDOWN = 1 << 2, /* c->guest_shutdown has grown */
	CONN_EV_ROOM = 1 << 3,     /* the guest has more room for data than it had */
	CONN_EV_OVER = 1 << 4, /* the guest's end is over: it sends and takes nothing any more */
	CONN_EV_CREDIT =
		1 << 5, /* it sent more than it was allowed to: OVER too, and an RST is owed */
	CONN_EV_BROKEN = 1 << 6,  /* it contradicted itself: likewise */
	CONN_EV_IGNORED = 1 << 7, /* nothing */
};

struct conn {
	uint8_t state;
	uint8_t type;           /* VIRTIO_VSOCK_TYPE_… */
	uint8_t owed;           /* control packets to be sent, as bits 1 << VIRTIO_VSOCK_OP_… */
	uint8_t guest_shutdown; /* VIRTIO_VSOCK_SHUTDOWN_…: what the guest has given up */
	uint8_t our_shutdown;   /* what we have given up */
	bool asked;             /* a CREDIT_REQUEST was sent, and no packet has come since */
	struct credit credit;
};

const char *conn_state_name(unsigned state);

/* A connection that the guest asks for with its REQUEST p, or that we ask the guest for: then a REQUEST is owed. */
void conn_init_requested(struct conn *c, const struct pkt *p, uint32_t buf_alloc);
void conn_init_connecting(struct conn *c, unsigned type, uint32_t buf_alloc);

/* A packet of the guest for this connection, its length checked against what lies behind its header.  Returns a set
 * of enum conn_event. */
unsigned conn_packet(struct conn *c, const struct pkt *p);

/* The far end took the guest's request: a RESPONSE is owed.  In REQUESTED only. */
void conn_accept(struct conn *c);

/* The far end sends no more (…_SEND) or takes no more (…_RCV).  Both: it is gone.  A SHUTDOWN is owed if the guest has
 * not heard of it; call it when all data that came before has been sent.  Without effect but in CONNECTED. */
void conn_shutdown(struct conn *c, unsigned flags);

/* End it at once: an RST is owed, unless the guest has ended it already. */
void conn_reset(struct conn *c);

/* The guest is gone: nothing is owed to it. */
void conn_lost(struct conn *c);

/* len bytes of the guest's have been passed on, or dropped. */
void conn_forward(struct conn *c, uint32_t len);

/* Bytes of data that may be sent to the guest now.  0 also where no data may be sent at all. */
static inline uint32_t conn_room(const struct conn *c)
{
	if (c->state != CONN_CONNECTED || c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV ||
	    c->our_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND)
		return 0;
	return credit_available(&c->credit);
}

/* There is data for the guest and no room: a CREDIT_REQUEST is owed, once. */
void conn_starved(struct conn *c);

/* Make the header of a packet with len bytes of data, at most conn_room(): op, flags, len, type and credit of *p are
 * set, its addresses are the caller's.  flags: VIRTIO_VSOCK_SEQ_… */
void conn_data(struct conn *c, uint32_t len, uint32_t flags, struct pkt *p);

/* Make the next packet that is owed, in the same way, and call it sent.  False: nothing is owed.  After an RST the
 * state is CLOSED. */
bool conn_owed(struct conn *c, struct pkt *p);

#endif
