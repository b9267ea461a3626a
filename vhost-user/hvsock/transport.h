/* SPDX-License-Identifier: MIT */
/* How a guest is reached: the contract between the relay and a transport.
 *
 * A transport embeds struct hv_vm as the first member of what is a VM to it, and struct hv_conn as the first member of
 * what is a connection to it, and fills in struct hv_transport_ops.  It owns the guest's half of each connection
 * (packets, credit, or rings and offers); the relay owns the other half, the *far end*:
 *
 *	guest ◀── transport ──▶ hv_conn ◀── relay ──▶ descriptor, or the hv_conn of a sibling
 *
 * A guest's half and a far end begin and end on their own:
 *
 *	the guest asks          hv_conn_new(), hv_conn_ask() … ops->accepted(), or ops->reset()
 *	the far end asks        ops->request() … hv_guest_accepted(), or hv_guest_done()
 *	guest → far end         hv_far_write(); what it does not take at once is buffered, and told with ops->taken(); or
 *	                        hv_far_send(), whose caller keeps what is not taken
 *	far end → guest         ops->readable() … hv_far_read() until it says -EAGAIN or 0
 *	the guest gives up      hv_guest_shutdown(), and once it has ended for good hv_guest_done()
 *	the far end gives up    ops->far_shutdown(), also from within hv_far_read(), when all it sent was read
 *
 * When hv_guest_done() was called and the far end is gone too, the connection is freed with this pass of the loop.
 *
 * Trust:     what a transport passes in are pieces of guest memory that vq.h or its like has checked; their bytes may
 *            change under our hands, which is the guest's own loss: the kernel copies them once.
 * Ownership: connections are the relay's.  The transport forgets one in ops->released().
 * Threads:   the relay's.
 */
#ifndef HVSOCK_TRANSPORT_H
#define HVSOCK_TRANSPORT_H

#include <sys/types.h>
#include <sys/uio.h>

#include "buffer.h"
#include "loop.h"
#include "relay.h"

/* Halves of a shutdown, as in virtio: who it is said of will receive, or send, no more. */
#define HV_SHUTDOWN_RCV  1u
#define HV_SHUTDOWN_SEND 2u
#define HV_SHUTDOWN_BOTH 3u

/* A part of a SEQPACKET message: its last one; and the sender's mark of a record's end. */
#define HV_MSG_END 1u
#define HV_MSG_EOR 2u

struct hv_transport_ops {
	const char *name;
	bool without_cid; /* its guests have none, and no siblings */
	size_t conn_size; /* of the structure that begins with struct hv_conn */

	const char *(*state)(const struct hv_vm *vm);

	/* Ask the guest for conn->guest_port.  -EADDRINUSE: it has a connection of this address; -ENOTCONN,
	 * -EPROTONOSUPPORT, -EMFILE, -ENOMEM: see hv_connect().  Answered by hv_guest_accepted() or hv_guest_done(), not from
	 * within. */
	int (*request)(struct hv_conn *conn);

	/* The guest's request was taken. */
	void (*accepted)(struct hv_conn *conn);

	/* hv_far_read() has something to say, after it said -EAGAIN or was never asked. */
	void (*readable)(struct hv_conn *conn);

	/* The far end took, or will never take, len bytes that hv_far_write() had left in the buffer; 0: it takes bytes again,
	 * after hv_far_send() found it full. */
	void (*taken)(struct hv_conn *conn, uint32_t len);

	/* The far end has given up what `how` says in all: _SEND once all that it sent was read. */
	void (*far_shutdown)(struct hv_conn *conn, unsigned how);

	/* End the guest's half now, however it stands, and call hv_guest_done() once that is told; from within or
	 * later. */
	void (*reset)(struct hv_conn *conn);

	/* The connection is about to be freed: take it out of all lists. */
	void (*released)(struct hv_conn *conn);

	/* hv_vm_close(): end the guest's half of the VM, then call hv_vm_done(), not from within. */
	void (*close)(struct hv_vm *vm);
};

enum hv_conn_state {
	HV_CONN_REQUESTED,
	HV_CONN_CONNECTING,
	HV_CONN_CONNECTED,
	HV_CONN_CLOSING,
	HV_CONN_STATE_COUNT
};

struct hv_conn {
	/* For the transport, reading. */
	struct hv_vm *vm;
	uint32_t guest_port;
	uint32_t port, cid; /* of the far end */
	bool seqpacket;
	bool to_guest;   /* the far end dialed */
	bool guest_done; /* hv_guest_done() was called */
	bool far_done;   /* nothing comes from the far end, nor is taken by it */

	/* The relay's. */
	enum hv_conn_state state;
	int fd;                  /* the far end, once joined; or -1 */
	struct hv_conn *sibling; /* the far end, if that is a guest */
	struct loop_source source;
	uint32_t events; /* what source waits for */
	bool readable;   /* the last read filled all its room, or never was */
	bool urgent;     /* urgent data was, or is, among what can be read: EPOLLPRI */
	bool fin;        /* an end of file lies behind what can be read: EPOLLRDHUP */
	bool hung_up;    /* the far end is closed in both directions: EPOLLHUP */
	bool ended;      /* its end of file was read */
	bool deaf;       /* it takes no more: EPIPE, or a sibling's shutdown */
	bool shut_wr;    /* shutdown(SHUT_WR) was done */
	bool widened;    /* its send buffer was made larger */
	bool full;       /* the descriptor takes nothing for now: EPOLLOUT will tell */
	bool held;       /* hv_far_send() left something: that is to be told, too */
	bool queued_free;
	uint8_t guest_shutdown; /* HV_SHUTDOWN_…: what the guest gave up */
	uint8_t far_told;       /* what the transport was told that the far end gave up */
	struct buffer out;      /* from the guest, not yet taken ... */
	uint32_t out_len;       /* ... that many bytes of it are data */
	struct loop_timer timer;
	struct loop_work work;
	hv_connected_fn *done;
	void *data;
	uint64_t bytes_from_guest, bytes_to_guest;
	uint32_t journal; /* its slot, or JOURNAL_NONE */
	struct hv_conn *next, *prev;
};

/* Connects per second: a bucket that fills with time. */
struct hv_rate {
	uint64_t tokens_ns; /* saved time, at most a second */
	uint64_t last_ns;
};

struct hv_vm {
	/* For the transport, reading; it counts in stats. */
	struct hv_relay *relay;
	const struct hv_transport_ops *ops;
	char name[HV_VM_NAME_MAX];
	uint32_t cid;
	struct hv_stats stats;
	bool closing;

	/* The relay's. */
	struct hv_limits limits;
	bool allow_listed;
	uint32_t *allow;
	unsigned n_allow;
	const char *state; /* last told */
	void *data;
	struct buffer_pool pool;
	struct hv_rate rate;
	uint32_t host_port; /* the next to dial from */
	unsigned n_conns;
	struct hv_conn *first, *last;
	struct hv_vm *next, *prev;
};

/* ---- VMs ---- */

/* Fill in *vm (all zeros, vm->ops set) and add it to the relay.  -EEXIST, -EINVAL, -ENOSPC, -ENOMEM: see
 * port_vsock_open(). */
int hv_vm_init(struct hv_vm *vm, struct hv_relay *relay, const struct hv_vm_config *config);
/* Free what hv_vm_init() made, and the connections that are left. */
void hv_vm_done(struct hv_vm *vm);
struct loop *hv_vm_loop(const struct hv_vm *vm);
struct hv_journal *hv_vm_journal(const struct hv_vm *vm);
/* ops->state() may have changed. */
void hv_vm_tell_state(struct hv_vm *vm);

/* The guest has gone, with all its sockets, and told nobody: hv_guest_done() for each.  known: it will not come back
 * with them either; else the journal keeps them, to be reset then. */
void hv_vm_guest_lost(struct hv_vm *vm, bool known);

/* ---- the guest's half ---- */

/* May the guest have another connection, and is there a far end `cid`?  Counts the refusal.  0; -EMFILE, -EBUSY (too
 * fast), -EHOSTUNREACH. */
int hv_conn_allowed(struct hv_vm *vm, uint64_t cid);
/* A connection that the guest asks for, after hv_conn_allowed().  The transport makes it findable and then calls
 * hv_conn_ask(), which may end in ops->accepted() or ops->reset() from within. */
struct hv_conn *hv_conn_new(struct hv_vm *vm, uint32_t guest_port, uint32_t cid, uint32_t port,
			    bool seqpacket);
void hv_conn_ask(struct hv_conn *conn);
/* One that could not be made findable: forget it, as if it had not been. */
void hv_conn_abandon(struct hv_conn *conn);

void hv_guest_accepted(struct hv_conn *conn);
/* The guest gave up what `how` says: passed on when all that it sent before has been. */
void hv_guest_shutdown(struct hv_conn *conn, unsigned how);
/* The guest's half is over, and nothing will be told to it any more.  Legal more than once. */
void hv_guest_done(struct hv_conn *conn);

/* ---- the far end ---- */

/* Pass on all of iov[0..n), len bytes.  Returns the bytes taken (or dropped, where nobody is there to take them); the
 * others are in the buffer and will be told with ops->taken().  -ENOBUFS, -ENOMEM: they could not be buffered; -EFAULT:
 * a piece lies in memory that is gone.  After an error the connection is good for ops->reset() alone.  iov is used up. */
ssize_t hv_far_write(struct hv_conn *conn, struct iovec *iov, unsigned n, uint32_t len);

/* Pass on as much as a descriptor takes at once, of a stream, and buffer nothing.  Returns the bytes taken (or dropped); fewer
 * than len: ops->taken() tells when more will be.  -EFAULT as above.  Only while hv_far_takes(). */
ssize_t hv_far_send(struct hv_conn *conn, struct iovec *iov, unsigned n, uint32_t len);

/* Pass on messages, in parts: part i is n_iov of the pieces, in order, with flags HV_MSG_….  Returns the bytes of whole
 * messages taken; else as hv_far_write(), and -EMSGSIZE: the far end cannot take a message of that size. */
struct hv_part {
	uint32_t len;
	uint16_t n_iov;
	uint8_t flags;
};
ssize_t hv_far_write_parts(struct hv_conn *conn, struct iovec *iov, const struct hv_part *part,
			   unsigned n_parts);

/* Fetch bytes into iov[0..n), len bytes of room.  Returns their number; -EAGAIN: none is there, ops->readable() will
 * tell; 0: no more will come, and ops->far_shutdown() was called; -EFAULT. */
ssize_t hv_far_read(struct hv_conn *conn, struct iovec *iov, unsigned n, uint32_t len);

/* The length of the next message, with the same returns.  A message of no bytes is passed over. */
ssize_t hv_far_peek(struct hv_conn *conn);
/* Fetch the message that hv_far_peek() measured into room that is large enough for it.  *ret_flags: HV_MSG_EOR. */
ssize_t hv_far_read_message(struct hv_conn *conn, struct iovec *iov, unsigned n, uint32_t len,
			    unsigned *ret_flags);

/* Is something taken at once, as far as is known? */
static inline bool hv_far_takes(const struct hv_conn *conn)
{
	return conn->deaf || (!conn->full && conn->out_len == 0);
}

/* Does hv_far_read() have something to say? */
static inline bool hv_far_readable(const struct hv_conn *conn)
{
	return conn->readable && !conn->ended;
}

#endif
