/* SPDX-License-Identifier: MIT */
/* The seam between the parts of the virtio-vsock port: sessions and polling (port_vsock.c), packets from the guest
 * (transmitq, vsock_tx.c), packets to the guest (receiveq, vsock_rx.c).  For these files only.
 *
 * A port is active or asleep.  Active, it is looked at in every pass of the loop: one burst from the transmitq, and one
 * round over the connections that have something for the guest.  When nothing came for a while its kicks are armed, and
 * it is looked at a last time: asleep, it costs nothing, nor do its connections.  How long the while is follows from
 * experience: it grows, up to VSOCK_SPIN_NS, while sleeps turn out to be shorter than that, and shrinks to nothing
 * while they are longer.  So a busy guest never waits for us to wake up, and one that sends a word now and then, or is
 * kept from its processor, does not have us burn it.
 *
 * A connection with something for the guest stands in the list of the ready.  One whose guest gives no credit, or
 * whose far end has nothing more, leaves it; a receiveq without buffers leaves all in it as they are.  A far end that
 * writes little by little and is not answered is read every VSOCK_GATHER_NS only: what it writes meanwhile comes as one
 * packet, for less of everybody's time. */
#ifndef HVSOCK_PORT_VSOCK_IMPL_H
#define HVSOCK_PORT_VSOCK_IMPL_H

#include "conn.h"
#include "conntab.h"
#include "port_vsock.h"
#include "seat.h"
#include "transport.h"

/* The longest a port is polled without finding anything: longer than a guest takes to answer.  And the first step. */
#define VSOCK_SPIN_NS     50000
#define VSOCK_SPIN_MIN_NS 5000

/* Between two small reads of a far end that nobody answers, and what is small. */
#define VSOCK_GATHER_NS    20000
#define VSOCK_GATHER_BYTES 16384

/* Resets for packets that belong to no connection, waiting for the guest's buffers.  While there is no room for
 * another burst's worth, the transmitq is not read: Linux's vhost-vsock does the same. */
#define VSOCK_RESETS (4 * VQ_BURST)

/* Packets of one burst that make or end a connection, which is some system calls each: then the others wait, while what
 * these were is told.  A crowd is served in step with whoever is on the other side, and not by turns. */
#define VSOCK_COSTLY 4

enum { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES };

struct vsock_conn;

struct vsock_list {
	struct vsock_conn *first, *last;
	unsigned n;
};

struct vsock_conn {
	struct hv_conn hv; /* first */
	struct conn m;
	struct conntab_node node;
	struct vsock_list *list; /* that it stands in: port->ready, port->gathering, or none */
	struct vsock_conn *next, *prev; /* there */
	uint64_t read_ns;               /* when it was read last, if that gave little; or 0 */
	uint8_t want;                   /* buffers worth fetching for its next read */
	/* Its data packets of the burst at hand. */
	bool batched;  /* there are some that have not been passed on */
	bool in_batch; /* it stands in the port's list of those that had some */
	uint8_t first_item, last_item;
	struct vsock_conn *next_batch;
};

/* A data packet of the burst at hand. */
struct vsock_item {
	struct iovec *iov;
	uint32_t len;
	uint16_t n_iov;
	uint8_t flags; /* HV_MSG_… */
	uint8_t next;
};

struct vsock_reset {
	uint64_t cid; /* of the far end, as the guest thinks */
	uint32_t port, guest_port;
	uint16_t type;
};

struct vsock_port {
	struct hv_vm vm; /* first */
	struct seat seat;
	struct vu_queue *queue[VSOCK_QUEUES]; /* NULL: not started */
	bool up;                              /* rx and tx are started and enabled */
	bool seqpacket;                       /* negotiated */
	bool has_orphans; /* there may be connections of a predecessor to reset */
	bool reset_due;   /* the event queue, if there is one, is to tell of lost connections */
	struct conntab tab;
	struct vsock_conn *found; /* the last that a packet was for */
	struct vsock_list ready;
	struct vsock_list gathering; /* readable, but too soon */
	struct loop_poller poller;
	bool polling;
	bool rx_full;            /* the receiveq had no buffer when one was needed */
	uint64_t idle_since_ns;  /* 0: the last look found something */
	uint64_t quiet_since_ns; /* when it went to sleep: since when nothing had come */
	uint64_t spin_ns;        /* how long to look in vain */
	struct loop_work work;

	struct vsock_reset reset[VSOCK_RESETS]; /* a ring */
	unsigned first_reset, n_resets;

	/* Work space: nothing of it outlives the burst at hand. */
	struct vsock_conn *first_batch, **last_batch;
	struct vsock_item item[VQ_BURST];
	struct hv_part part[VQ_BURST];
	unsigned n_costly; /* see VSOCK_COSTLY */
	unsigned rx_next;  /* chain of rx not yet used */
	struct vq_burst tx, rx;
	struct iovec iov[VQ_BURST_IOVS];
};

static inline struct vsock_port *port_of(struct hv_vm *vm)
{
	return container_of(vm, struct vsock_port, vm);
}

static inline struct vsock_conn *vsock_of(struct hv_conn *hv)
{
	return container_of(hv, struct vsock_conn, hv);
}

/* Poll the port from the next pass on. */
void vsock_wake(struct vsock_port *port);

/* The connection has something for the guest, or nothing any more. */
void vsock_ready(struct vsock_conn *vc);
void vsock_unready(struct vsock_conn *vc);

/* End the guest's half, with an RST if it has not ended by itself. */
void vsock_reset(struct vsock_conn *vc);

/* A ring's memory has gone away under a system call. */
void vsock_lost_memory(struct vsock_port *port, const struct vu_queue *q);

/* One burst from the transmitq.  False: there was none, or it must wait. */
bool vsock_transmit(struct vsock_port *port);

/* Answer a packet that belongs to no connection.  There must be room: n_resets < VSOCK_RESETS. */
void vsock_reset_packet(struct vsock_port *port, const struct pkt *p);

/* One round of what is for the guest.  False: there was nothing, or no buffer for it. */
bool vsock_receive(struct vsock_port *port);

/* Is something for the guest waiting for a buffer? */
static inline bool vsock_has_output(const struct vsock_port *port)
{
	return port->ready.n > 0 || port->n_resets > 0 || port->has_orphans;
}

#endif
