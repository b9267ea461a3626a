/* SPDX-License-Identifier: MIT */
/* Forwards: a port of a guest tied to an address of the host, in one of two directions.
 *
 *	to-guest   the host listens at `host`; who connects there is connected to `guest_port` in the guest
 *	to-host    the guest connects to CID 2, `guest_port`; the host connects to `host` for it
 *
 * They are made and removed while everything runs.  Removing one closes its listener and those of its clients that are not
 * connected yet; connections that stand go on.
 *
 * Trust:     the operator says where.  A Unix socket that a forward listens at has mode 0600 and serves our uid and root; a TCP
 *            address serves whoever reaches it, on loopback every user of the host.
 * Threads:   the loop's. */
#ifndef HV_FORWARD_H
#define HV_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "acceptor.h"
#include "client.h"
#include "target.h"

#define FORWARDS_MAX   4096 /* of all VMs: so many fit one answer of forward.list (CONTROL_OUT_MAX) */
#define FORWARD_ID_MAX 256 /* with the terminator: 1 to 255 bytes, no control characters */

struct host;
struct host_vm;

struct forward_config {
	const char *id; /* NULL: one is made up, "f1" and so on */
	bool to_guest;
	uint32_t guest_port;
	struct target target;
};

struct forward {
	struct host_vm *vm;
	char id[FORWARD_ID_MAX];
	bool to_guest;
	uint32_t guest_port;
	struct target target; /* a port of 0 that was listened at is the real one here */
	struct acceptor acceptor[TARGET_ADDRS_MAX];
	struct client_set clients; /* to-guest */
	/* to-host: of the guest; those served; those that could not be. */
	uint64_t n_requests, n_connected, n_failed;
	struct forward *next; /* of the same VM, in the order in which they were made */
};

/* Add one to `vm`; it takes connections at once.  -EEXIST: the id is taken, or (to-host) the port has a forward; -ENOSPC:
 * FORWARDS_MAX; -EINVAL: an odd id; -ENOMEM; or what listening says (lib/listen.h). */
int forward_add(struct host_vm *vm, const struct forward_config *config,
		struct forward **ret_forward);

void forward_remove(struct forward *forward);

/* NULL: there is none. */
struct forward *forward_find(const struct host *host, const char *id);

/* The to-host forward for a port, or NULL. */
struct forward *forward_of_port(const struct host_vm *vm, uint32_t guest_port);

#endif
