/* SPDX-License-Identifier: MIT */
/* The relay: connections between guests and what they reach, whatever the guests speak.
 *
 * A *VM* is one guest with a CID.  A *connection* is one socket inside that guest and its *far end*: a descriptor
 * of the host (a Unix or TCP stream, or a Unix SEQPACKET socket), or a socket inside another guest of this relay
 * (then there are two connections, each the far end of the other).  How a guest is reached is its transport's
 * business (transport.h): virtio-vsock is one (port_vsock.h), Hyper-V sockets another (port_vmbus.h), which have neither
 * CIDs nor siblings nor SEQPACKET.
 *
 * This header is for the host's side: who listens and dials there decides what a guest's request reaches and which
 * of the host's clients reach a guest.
 *
 *	host → guest    hv_connect(vm, port, type, fd, done) … done(conn, 0): the relay owns fd, and moves bytes
 *	guest → host    ops->request(conn) … hv_accept(conn, fd): likewise; or hv_refuse(conn)
 *	guest → guest   by CID, inside the relay, where both allow lists agree; the host's side hears nothing of it
 *
 * Once both ends are joined nobody has to do anything any more.  Bytes go straight between the descriptor and the
 * guest's memory.  A far end that takes no more holds up its own connection alone: what it did not take waits in
 * memory, at most HV_BUFFER_SIZE for a connection (the guest is not allowed to send more) and limits.buffer_bytes
 * for a VM; or in the guest, where its transport has a ring for each connection, and in memory only once the guest has
 * ended it.  End of file and shutdown(2) pass in each direction by themselves; when both ends have ended, or one is
 * reset, the relay closes the descriptor and forgets the connection.
 *
 * A limit is answered with a reset, never with silence.
 *
 * Trust:     everything from a guest, and the bytes and timing of everybody.  Names and limits are the operator's.
 * Ownership: the relay owns hv_connect()'s fd when done() says 0, and before that the caller; hv_accept() owns it from the call
 *            on, also on failure.  A connection belongs to the relay: a pointer to one is good until done(), gone(),
 *            hv_accept(), hv_refuse() or hv_cancel(), whatever comes first, and inside a walk.
 * Threads:   one relay belongs to one loop.
 */
#ifndef HVSOCK_RELAY_H
#define HVSOCK_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"
#include "stats.h"

#define HV_CID_HOST 2 /* VMADDR_CID_HOST */
#define HV_CID_MIN  3 /* the smallest a guest may have */
#define HV_CID_MAX  UINT32_C(0xfffffffe)

#define HV_VM_NAME_MAX 64   /* with the terminating zero */
#define HV_VMS_MAX     4096 /* the orchestrator's LAB_VMS_MAX: one daemon serves a lab */

/* Bytes that a guest may have sent on a connection and the far end not taken: Linux's own default
 * (VIRTIO_VSOCK_DEFAULT_BUF_SIZE). */
#define HV_BUFFER_SIZE (256u << 10)

#define HV_CONNECTIONS_DEFAULT  1023u
#define HV_CONNECTIONS_MAX      65536u
#define HV_BUFFER_BYTES_DEFAULT (64ull << 20)

/* How long a guest may take to answer, with an emulated processor and a busy host in mind (Linux: 2 s) ... */
#define HV_CONNECT_NS 10000000000ull
/* ... and to end a connection whose far end is gone (Linux: VSOCK_CLOSE_TIMEOUT). */
#define HV_CLOSE_NS 8000000000ull

/* Ports that hv_connect() dials from: as firecracker's, beyond what anybody listens on. */
#define HV_HOST_PORT_MIN UINT32_C(0x40000000)
#define HV_HOST_PORT_MAX UINT32_C(0x7fffffff)

struct hv_relay;
struct hv_vm;
struct hv_conn;
struct hv_journal;

/* 0 stands for the default; connects_per_second 0 for no limit. */
struct hv_limits {
	uint32_t connections;         /* at most HV_CONNECTIONS_MAX */
	uint32_t connects_per_second; /* of the guest's own; a second's worth may come at once */
	uint64_t buffer_bytes;
};

/* What a VM is made from.  Copied. */
struct hv_vm_config {
	const char *name;
	uint32_t cid; /* 0 where the transport has none */
	struct hv_limits limits;
	bool allow_listed;     /* false: every sibling is allowed */
	const uint32_t *allow; /* siblings it may connect to, and that may connect to it */
	unsigned n_allow;
};

/* The host's side, called by the relay. */
struct hv_host_ops {
	/* The guest wants hv_conn_port(conn) of the host.  To be answered with hv_accept() or hv_refuse(), from
	 * within or later.  The guest's own patience is some seconds. */
	void (*request)(struct hv_conn *conn, void *context);

	/* A request that was not answered yet needs no answer any more: the guest gave up, or went away. */
	void (*gone)(struct hv_conn *conn, void *context);

	/* What hv_vm_state() says has changed.  May be NULL.  Must not close the VM. */
	void (*vm_state)(struct hv_vm *vm, void *context);
};

/* How hv_connect() ends: 0, or
 *	-ECONNREFUSED	the guest said no;
 *	-ETIMEDOUT	it said nothing for HV_CONNECT_NS;
 *	-ECONNRESET	the VM went away;
 *	-ECONNABORTED	the client has hung up, in both directions, before the guest's answer.
 * Called once, never from within hv_connect(), and not at all after hv_cancel().  With 0 the descriptor is the relay's,
 * but not a byte has moved yet: what is written to it in here comes before all that the guest says. */
typedef void hv_connected_fn(struct hv_conn *conn, int result, void *data);

/* ---- the relay ---- */

/* A relay without VMs.  *ops must outlive it.  journal_path: the file of connections for a successor (journal.h), or
 * NULL for none; what a predecessor left there is read.  -ENOMEM, or what the file said. */
int hv_relay_new(struct loop *loop, const struct hv_host_ops *ops, void *context,
		 const char *journal_path, struct hv_relay **ret_relay);

/* All VMs must have been closed, and the deferred work of the loop been run. */
void hv_relay_free(struct hv_relay *relay);

/* ---- VMs.  A transport makes them: port_vsock_open(), port_vmbus_open(). ---- */

/* Out of the relay at once, with all its connections: far ends are closed.  Its memory goes with this pass of the
 * loop.  Not from vm_state(). */
void hv_vm_close(struct hv_vm *vm);

struct hv_vm *hv_vm_find(const struct hv_relay *relay, const char *name);
struct hv_vm *hv_vm_of_cid(const struct hv_relay *relay, uint64_t cid);
/* In the order in which they were made; NULL for the first, NULL after the last. */
struct hv_vm *hv_vm_next(const struct hv_relay *relay, const struct hv_vm *vm);

const char *hv_vm_name(const struct hv_vm *vm);
uint32_t hv_vm_cid(const struct hv_vm *vm); /* 0: none */
/* "listening" no frontend; "connected" there is one; "negotiated" features and memory are known; "running" the
 * guest's driver is up; "closed". */
const char *hv_vm_state(const struct hv_vm *vm);
const char *hv_vm_transport(const struct hv_vm *vm); /* "virtio-vsock" or "hvsock" */
const struct hv_stats *hv_vm_stats(const struct hv_vm *vm);
const struct hv_limits *hv_vm_limits(const struct hv_vm *vm); /* without zeros but the rate's */
unsigned hv_vm_connections(const struct hv_vm *vm);
uint64_t hv_vm_buffered(const struct hv_vm *vm); /* bytes that wait for their far ends */

/* A pointer of the host's side, NULL at first. */
void hv_vm_set_data(struct hv_vm *vm, void *data);
void *hv_vm_data(const struct hv_vm *vm);

/* ---- connections ---- */

/* Ask the guest whether it takes a connection to its `port`, for the client on fd.  type: SOCK_STREAM or
 * SOCK_SEQPACKET, and fd is a socket of that type, of which nobody has a duplicate.  Unread bytes in it go to the guest
 * once it is connected.  fd is in no epoll set of the loop's: the relay watches it from the call on, although it is the
 * caller's until done().
 * What loop_add() says; -ENOTCONN: no driver is up (the VM is not "running"); -EPROTONOSUPPORT: the guest does not speak
 * this type; -EMFILE: limits.connections, or the guest's own; -ENOMEM.  *ret_conn untouched on failure. */
int hv_connect(struct hv_vm *vm, uint32_t port, int type, int fd, hv_connected_fn *done, void *data,
	       struct hv_conn **ret_conn);

/* Give up what hv_connect() began, before done(). */
void hv_cancel(struct hv_conn *conn);

/* Answer a request: fd, connected and of the type asked for, is the far end, and nobody has a duplicate.  If it cannot
 * be watched (-errno) the guest is refused and fd closed. */
int hv_accept(struct hv_conn *conn, int fd);
void hv_refuse(struct hv_conn *conn);

struct hv_vm *hv_conn_vm(const struct hv_conn *conn);
int hv_conn_type(const struct hv_conn *conn);            /* SOCK_STREAM or SOCK_SEQPACKET */
uint32_t hv_conn_guest_port(const struct hv_conn *conn); /* of the guest's socket */
uint32_t hv_conn_port(const struct hv_conn *conn);       /* of the far end */
uint32_t hv_conn_cid(const struct hv_conn *conn);  /* of the far end: HV_CID_HOST or a sibling's */
bool hv_conn_to_guest(const struct hv_conn *conn); /* the far end dialed */
/* "requested" the host's answer is due; "connecting" the guest's is; "connected"; "closing". */
const char *hv_conn_state(const struct hv_conn *conn);
uint64_t hv_conn_bytes_from_guest(const struct hv_conn *conn);
uint64_t hv_conn_bytes_to_guest(const struct hv_conn *conn);
uint32_t hv_conn_buffered(const struct hv_conn *conn);

/* The pointer of the host's side: what hv_connect() was given as data, or NULL. */
void hv_conn_set_data(struct hv_conn *conn, void *data);
void *hv_conn_data(const struct hv_conn *conn);

/* A VM's connections, oldest first; NULL for the first, NULL after the last. */
struct hv_conn *hv_conn_next(const struct hv_vm *vm, const struct hv_conn *conn);

#endif
