/* SPDX-License-Identifier: MIT */
/* The host's side as a whole: the VMs with their sockets, the forwards, and the relay behind them.
 *
 * main.c sets it up, ctl.c lets an operator change it while it runs; tests do both.  The parts:
 *
 *	hybrid.h   P and P.seq of each VM          ┐ client.h: from accepted to connected
 *	forward.h  listeners into guests           ┘
 *	forward.h  ports of the host by name       ┐ request.h: which of them a guest means, and
 *	hybrid.h   P_<port>, P_<guid>              ┘ dial.h: the way there
 *	relay.h    everything after that
 *
 * Trust:     what is given to host_add_vm() and forward_add() is the operator's.
 * Ownership: the host owns its VMs, they own their forwards.
 * Threads:   the loop's. */
#ifndef HV_HOST_H
#define HV_HOST_H

#include <stdint.h>

#include "forward.h"
#include "hybrid.h"
#include "relay.h"

struct request;

/* What a VM is made from.  Copied. */
struct host_vm_config {
	struct hv_vm_config vm;
	bool hvsock;             /* by Hyper-V sockets (port_vmbus.h), not virtio-vsock */
	const char *socket_path; /* where QEMU connects; or NULL, and fd is used */
	int fd;                  /* a listener or a connection, owned from the call on */
	bool fd_connected;       /* it is a connection */
	const char *uds_path;    /* P; NULL: siblings and forwards alone */
};

/* A VM, as the host's side sees it: hv_vm_data() of the relay's. */
struct host_vm {
	struct host *host;
	struct hv_vm *vm;
	char *socket_path; /* NULL: inherited */
	struct hybrid hybrid;
	struct forward *forwards;
	struct request *requests; /* of the guest, that are not answered yet */
};

struct host {
	struct loop *loop;
	struct hv_relay *relay;
	uint32_t ports_base;
	unsigned n_forwards;
	unsigned last_id; /* of forwards that were given none */
	/* The state of a VM has changed: hv_vm_state(), and "added" and "removed".  May be NULL. */
	void (*event)(struct host *host, const char *vm_name, const char *state);
	void *context; /* event()'s own */
};

/* A host without VMs; loop, ports_base, event and context are the caller's to set before.  What hv_relay_new() says. */
int host_init(struct host *host, const char *journal_path);

/* Close everything.  The relay itself goes with the deferred work of the loop (loop_done() runs it). */
void host_done(struct host *host);

/* Add a VM with its sockets.  -EEXIST, -EINVAL, -ENOSPC of port_vsock_open() or port_vmbus_open(); -ENAMETOOLONG of hybrid_open(); what
 * listen_unix() and loop_add() say.  *ret_where: the path that it is about, or NULL.  Nothing is left behind on failure. */
int host_add_vm(struct host *host, const struct host_vm_config *config, struct host_vm **ret_vm,
		const char **ret_where);

/* Remove a VM with its forwards, sockets and connections. */
void host_remove_vm(struct host_vm *vm);

/* NULL: there is none. */
struct host_vm *host_find_vm(const struct host *host, const char *name);

#endif
