/* SPDX-License-Identifier: MIT */
/* A VM behind a virtio-vsock device over vhost-user (virtio 1.3, 5.10): the first transport of the relay.
 *
 * It listens on a socket and serves one frontend at a time (seat.h).  Rings: rx (0), tx (1), and event (2) if the
 * frontend has one: QEMU keeps the event queue of its vhost-user-vsock to itself.
 *
 * Trust:     vq.h has checked chains and descriptors; headers and data are the guest's.  A ring that the driver broke
 *            stops alone; connections stay until the frontend goes.
 * Ownership: port_vsock_open() and _adopt() own their descriptor from the call on, also on failure.  hv_vm_close()
 *            ends a VM.
 * Threads:   the relay's.
 */
#ifndef HVSOCK_PORT_VSOCK_H
#define HVSOCK_PORT_VSOCK_H

#include "device.h"
#include "relay.h"

/* Add a VM, served on listen_fd.  `path` is where that socket stands in the file system, to be removed with the VM,
 * or NULL.  -EEXIST: its name or CID is taken; -EINVAL: a name too long or with odd characters, or no CID for a guest;
 * -ENOSPC: HV_VMS_MAX; -ENOMEM, or what loop_add() says. */
int port_vsock_open(struct hv_relay *relay, const struct hv_vm_config *config, const char *path,
		    int listen_fd, struct hv_vm **ret_vm);

/* A VM for one frontend that is already connected; "closed" once it is gone. */
int port_vsock_adopt(struct hv_relay *relay, const struct hv_vm_config *config, int fd,
		     struct hv_vm **ret_vm);

/* What the session offers. */
extern const struct vu_device_ops port_vsock_ops;

#endif
