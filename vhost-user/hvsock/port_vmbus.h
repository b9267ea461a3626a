/* SPDX-License-Identifier: MIT */
/* A VM behind Hyper-V sockets: the second transport of the relay.
 *
 * It listens on a socket for QEMU's vmbus-hvsock device (vmbus_proto.h), one at a time (seat.h).  Such a VM has no CID and no
 * siblings, and its sockets are streams: hv_connect() says -EPROTONOSUPPORT for others.
 *
 * Each connection has a VMBus channel, with two rings in guest memory that are read and written right here.  What differs
 * from virtio-vsock is how it begins and ends:
 *
 *	the guest connects    CONNECT_REQUEST, the host is asked; no: CONNECT_RESULT, which Linux ignores: it waits for
 *	                      two seconds (SO_VM_SOCKETS_CONNECT_TIMEOUT).  Yes: OFFER, the guest opens the channel, OPEN_RESULT
 *	the host connects     OFFER with an instance of its own; a guest that listens opens it, another keeps silent:
 *	                      after HV_CONNECT_NS that is a refusal
 *	half an end           an empty packet
 *	                      also what a guest sends that has closed its socket: one that does not read either,
 *	                      though its ring is full, is taken for such a one after a minute, and one that connects
 *	                      from the same port at once
 *	the end               RESCIND, always by us: when both halves have ended, or the far end is gone.  A guest that has
 *	                      closed its socket waits for it
 *
 * The guest gives a rescinded channel's number back by and by; until then its instance may not be offered again, so that
 * a second connect() of the same port waits, at most VMBUS_WAITING of them.  When QEMU or the guest's VMBus goes, all
 * connections are over.
 *
 * Trust:     the frontend's messages have been checked by vmbus_link.h, and one that makes no sense in the state of its channel
 *            ends the connection with it.  Rings are the guest's (vmbus_ring.h, vmpipe.h): one that breaks the rules is
 *            rescinded, alone.
 * Ownership: port_vmbus_open() and _adopt() own their descriptor from the call on, also on failure.  hv_vm_close() ends a
 *            VM.
 * Threads:   the relay's. */
#ifndef HVSOCK_PORT_VMBUS_H
#define HVSOCK_PORT_VMBUS_H

#include "relay.h"

/* Connects of the guest that wait for their port to be given back. */
#define VMBUS_WAITING 64

/* As port_vsock_open() and port_vsock_adopt(); config->cid is 0. */
int port_vmbus_open(struct hv_relay *relay, const struct hv_vm_config *config, const char *path,
		    int listen_fd, struct hv_vm **ret_vm);
int port_vmbus_adopt(struct hv_relay *relay, const struct hv_vm_config *config, int fd,
		     struct hv_vm **ret_vm);

#endif
