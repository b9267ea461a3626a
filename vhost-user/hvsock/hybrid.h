/* SPDX-License-Identifier: MIT */
/* A VM's sockets on the host: P, P.seq, and what others listen at beside them.
 *
 *	P            a stream client connects, says `CONNECT <port>\n`, reads `OK <port>\n`, and talks to the guest
 *	P.seq        the same with SOCK_SEQPACKET: the line is the first packet, the answer the first that comes back
 *	P_<port>     whoever listens here is what the guest reaches at CID 2 and that port: a stream listener its
 *	P_<guid>     stream sockets, a SOCK_SEQPACKET listener its SEQPACKET sockets.  By GUID if there is nothing by number
 *
 * P and P_<port> are firecracker's and cloud-hypervisor's "hybrid vsock", word for word; GUIDs are OpenVMM's.  The module makes
 * P and P.seq; the others it only looks for, at the moment a guest asks.
 *
 * Trust:     P and P.seq have mode 0600 and serve our uid and root.  Whom P_<port> leads to must have our uid or be root as
 *            well: in a directory that others may write to, a stranger could listen there first.
 * Ownership: the socket files are the hybrid's from hybrid_open() to hybrid_close().
 * Threads:   the loop's. */
#ifndef HV_HYBRID_H
#define HV_HYBRID_H

#include <stdint.h>
#include <sys/un.h>

#include "acceptor.h"
#include "client.h"
#include "relay.h"
#include "target.h"

/* Bytes of P: "_4294967295" has to fit behind it. */
#define HYBRID_PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1 - 11)

/* Zero-filled is one without sockets. */
struct hybrid {
	char path[HYBRID_PATH_MAX + 1]; /* P; "" without sockets */
	struct acceptor stream, seqpacket;
	struct client_set clients;
};

/* Make the sockets of `vm` at P.  -ENAMETOOLONG: more than HYBRID_PATH_MAX; or what listen_unix() and loop_add() say:
 * nothing is left behind then. */
int hybrid_open(struct hybrid *hybrid, struct loop *loop, struct hv_vm *vm, const char *path);

/* Close the sockets, and the clients that are not connected yet.  Legal on one without sockets. */
void hybrid_close(struct hybrid *hybrid);

/* Where a guest's request for `port` leads to: by number, or by GUID.  -ENAMETOOLONG: no such path fits. */
int hybrid_target(const struct hybrid *hybrid, uint32_t port, bool guid, struct target *ret_target);

#endif
