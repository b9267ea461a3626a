/* SPDX-License-Identifier: MIT */
/* The guest's side of a socket device (virtio 1.3, 5.10), for tests and benches: what Linux's virtio transport is to
 * the device, on top of driver.h and frontend.h, without a guest.
 *
 *	struct vsd v;
 *	vsd_open(&v, &(struct vsd_options){ 0 }, "/run/lab/n1-s.vu");    a daemon's socket
 *	c = vsd_connect(&v, VMADDR_CID_HOST, 1234, SOCK_STREAM, &ops, ctx);
 *	while (c->state == VSD_CONNECTING)
 *		vsd_turn(&v);
 *	vsd_send(c, "hello", 5, 0);                  n bytes, or -EAGAIN without credit or room
 *	vsd_poll(&v);                                ops->data(), ops->closed() ... are called from in here alone
 *	vsd_close(c);                                the socket's close(): SHUTDOWN, and ops->closed() at the peer's RST
 *
 * A session in this very thread: frontend_pair(&v.fe, &fd), v.fe.pump, v.fe.ctx, then vsd_start().  Two guests in one
 * thread: let the one's pump vsd_poll() the other.
 *
 * It behaves by the rules, and watches whether the device does: a packet that breaks one (more bytes than the credit
 * given, a length that is not the buffer's, a count that runs backwards, another guest's address) adds to n_bad and is
 * described in `bad`; a test ends with assert(v.n_bad == 0).  A test that wants to break rules itself, or to see each
 * packet as it is, sends with vsd_send_packet() and takes with vsd_packet() instead of vsd_poll().
 *
 * Speed: nothing is allocated once a connection exists; packets are collected and published by vsd_poll() or
 * vsd_flush(), with one kick; vsd_send_gpa() sends from guest memory without a copy.
 *
 * Like the driver, it aborts with a message when something fails that cannot fail.
 */
#ifndef TEST_VSOCK_DRIVER_H
#define TEST_VSOCK_DRIVER_H

#include <linux/virtio_vsock.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "driver.h"
#include "frontend.h"

#define VSD_TIMEOUT_MS 5000

/* What vsd_start() and vsd_open() are told; zeros mean what is said. */
struct vsd_options {
	uint64_t features; /* wanted beside VERSION_1 and SEQPACKET */
	bool no_seqpacket; /* as a Linux before 5.14 */
	uint16_t num;      /* entries of a ring; 128, as QEMU has it */
	unsigned n_queues; /* 2, as stock QEMU gives the backend; 3 with the event queue */
	unsigned rx_bufs;  /* receive buffers; as many as fit */
	uint32_t rx_len;   /* bytes of payload in one; 4096 */
	uint32_t tx_len;   /* bytes of payload that vsd_send() copies at once; 65536 */
	bool rx_split,
		tx_split;   /* header and payload in descriptors of their own, as Linux 6.1 does */
	uint32_t buf_alloc; /* credit that each connection gives; 256 KiB */
	uint64_t cid;       /* if the device does not say (GET_CONFIG); 3 */
	size_t extra;       /* bytes of guest memory for vsd_alloc() */
};

enum vsd_state {
	VSD_CONNECTING,
	VSD_CONNECTED, /* and perhaps half closed: sent_shutdown, peer_shutdown */
	VSD_CLOSED,    /* by RST of either side, or TRANSPORT_RESET; forget it with vsd_free() */
};

struct vsd;
struct vsd_conn;

/* All may be NULL.  Each may call anything, and vsd_free() the connection. */
struct vsd_ops {
	void (*connected)(struct vsd_conn *c);
	/* Bytes as they lie in guest memory; flags are those of the packet (VIRTIO_VSOCK_SEQ_EOM). */
	void (*data)(struct vsd_conn *c, const void *bytes, size_t len, uint32_t flags);
	void (*credit)(struct vsd_conn *c);   /* the peer has given more */
	void (*shutdown)(struct vsd_conn *c); /* peer_shutdown has grown */
	void (*closed)(struct vsd_conn *c);   /* refused() is this one, too: was_connected tells */
};

struct vsd_conn {
	struct vsd *v;
	struct vsd_conn *next_in_bucket;
	const struct vsd_ops *ops;
	void *ctx;
	enum vsd_state state;
	bool was_connected;
	bool manual; /* credit only by vsd_consumed(): the guest does not read by itself */
	uint16_t type;
	uint64_t peer_cid;
	uint32_t local_port, peer_port;
	uint32_t sent_shutdown, peer_shutdown; /* VIRTIO_VSOCK_SHUTDOWN_… */

	/* Free-running counts of payload bytes (virtio 1.3, 5.10.6.3). */
	uint32_t tx_cnt, peer_fwd_cnt, peer_buf_alloc;
	uint32_t rx_cnt, fwd_cnt, told_fwd_cnt, buf_alloc;
};

/* Somebody wants to connect.  Give the connection its ops and say ACCEPT. */
enum vsd_answer { VSD_ACCEPT, VSD_REFUSE, VSD_SILENT };
typedef enum vsd_answer vsd_accept_fn(struct vsd_conn *c, void *ctx);

struct vsd_listener {
	uint32_t port;
	uint16_t type;
	vsd_accept_fn *accept;
	void *ctx;
};

#define VSD_LISTENERS 16
#define VSD_BUCKETS   4096 /* a power of two */

struct vsd {
	struct frontend fe;
	struct guest guest;
	struct driver rx, tx, event;
	struct vsd_options o;
	uint64_t cid;

	uint8_t *rx_mem, *tx_mem;
	gpa_t rx_gpa, tx_gpa, event_gpa;
	size_t rx_stride, tx_stride;
	uint32_t *tx_free; /* slots of tx_mem, a stack */
	uint32_t n_tx_free;
	struct virtio_vsock_hdr *backlog; /* packets without payload that wait for room */
	size_t n_backlog, backlog_size;
	int held; /* receive buffer that vsd_packet() has lent, or -1 */
	uint32_t held_slot;

	struct vsd_listener listener[VSD_LISTENERS];
	unsigned n_listeners;
	struct vsd_conn **bucket;
	uint32_t next_port;

	/* Counts. */
	unsigned n_conns;
	uint64_t n_rx, n_tx, n_kicks;
	uint64_t n_stray;  /* packets for no connection, answered with RST */
	uint64_t n_resets; /* TRANSPORT_RESET events */
	uint64_t n_bad;
	char bad[160]; /* the first of them */
};

/* Negotiate on v->fe, which is connected, share memory, and start the rings with all receive buffers in place.
 * Everything of *v but v->fe is set.  Returns 0 or -errno as frontend.h has it. */
int vsd_start(struct vsd *v, const struct vsd_options *o);

/* frontend_connect(), then vsd_start(). */
int vsd_open(struct vsd *v, const struct vsd_options *o, const char *path);

/* Stop the rings and come back over a new connection to the daemon at `path`, with rings and memory as they are: what
 * a guest lives through when its device's daemon is replaced.  Connections stay what they are until somebody says RST or
 * TRANSPORT_RESET. */
int vsd_reopen(struct vsd *v, const char *path);

/* Hang up, free all connections (without calling anybody) and the memory. */
void vsd_done(struct vsd *v);

/* Guest memory for vsd_send_gpa(), from options.extra. */
gpa_t vsd_alloc(struct vsd *v, size_t size);

/* ---- turns ------------------------------------------------------------- */

/* Take back what was sent, treat all that has come, give the buffers back, publish, kick.  Never waits.  Returns the
 * number of packets and events that came. */
unsigned vsd_poll(struct vsd *v);

/* Publish and kick what vsd_send() and others have put into the ring. */
void vsd_flush(struct vsd *v);

/* vsd_poll(); when nothing came, let the device work: the pump, or wait for a call for up to 10 ms. */
unsigned vsd_turn(struct vsd *v);

/* Turn until done(ctx), for at most VSD_TIMEOUT_MS.  Returns done(ctx). */
bool vsd_until(struct vsd *v, bool (*done)(void *ctx), void *ctx);

/* Wait for a call on any of the rings, unless something is there already.  0: it is; -ETIMEDOUT. */
int vsd_wait(struct vsd *v, int timeout_ms);

/* ---- connections ------------------------------------------------------- */

/* `type` is SOCK_STREAM or SOCK_SEQPACKET.  The connection is VSD_CONNECTING. */
struct vsd_conn *vsd_connect(struct vsd *v, uint64_t cid, uint32_t port, int type,
			     const struct vsd_ops *ops, void *ctx);

/* Requests for a port that nobody listens on are answered with RST.  `accept` NULL accepts, with `ops` NULL. */
void vsd_listen(struct vsd *v, uint32_t port, int type, vsd_accept_fn *accept, void *ctx);

/* Send up to len bytes, as one packet of at most tx_len; flags are VIRTIO_VSOCK_SEQ_….  Returns how many, or -EAGAIN
 * (no credit, no room in the ring), or -EPIPE (not connected, or shut down).  A record is either taken whole or,
 * when it is longer than a packet or the credit, in parts: pass SEQ_EOM with every call, it is set on the last only. */
ssize_t vsd_send(struct vsd_conn *c, const void *bytes, size_t len, uint32_t flags);

/* The same from guest memory, without a copy, of at most 64 KiB. */
ssize_t vsd_send_gpa(struct vsd_conn *c, gpa_t bytes, size_t len, uint32_t flags);

/* Payload bytes that the peer's credit allows now. */
uint32_t vsd_credit(const struct vsd_conn *c);

/* `manual` connections: the guest has read n bytes.  Tells the peer when Linux would. */
void vsd_consumed(struct vsd_conn *c, uint32_t n);

void vsd_credit_request(struct vsd_conn *c);
void vsd_credit_update(struct vsd_conn *c);

/* SHUTDOWN with VIRTIO_VSOCK_SHUTDOWN_… flags, beside those sent before. */
void vsd_shutdown(struct vsd_conn *c, uint32_t flags);

/* SHUTDOWN of both; closed at the peer's RST.  A connection that is not connected is reset. */
void vsd_close(struct vsd_conn *c);

/* RST, and VSD_CLOSED at once; ops->closed() is not called. */
void vsd_reset(struct vsd_conn *c);

/* Forget it, in silence.  NULL is legal. */
void vsd_free(struct vsd_conn *c);

/* The connection of this guest's port and that peer, or NULL. */
struct vsd_conn *vsd_find(struct vsd *v, uint32_t local_port, uint64_t peer_cid,
			  uint32_t peer_port);

/* ---- packets ----------------------------------------------------------- */

/* A header as the connection would send it now, for vsd_send_packet(). */
struct virtio_vsock_hdr vsd_header(const struct vsd_conn *c, uint16_t op, uint32_t flags);

/* Send this header, right or wrong, with n_bytes of payload behind it (whatever hdr->len says).  -EAGAIN: no room. */
int vsd_send_packet(struct vsd *v, const struct virtio_vsock_hdr *hdr, const void *bytes,
		    size_t n_bytes);

struct vsd_packet {
	struct virtio_vsock_hdr hdr;
	const uint8_t *bytes; /* in guest memory, until the next vsd_packet() or vsd_poll() */
	size_t n_bytes;
};

/* The next packet as it came, seen by nobody else, or -EAGAIN: does not wait. */
int vsd_packet(struct vsd *v, struct vsd_packet *ret);

/* The same, turning (pump or wait) for up to VSD_TIMEOUT_MS: -ETIMEDOUT. */
int vsd_expect(struct vsd *v, struct vsd_packet *ret);

#endif
