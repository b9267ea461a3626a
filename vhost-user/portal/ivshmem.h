/* SPDX-License-Identifier: MIT */
/* The door of QEMU's ivshmem-doorbell: a server of the ivshmem protocol (QEMU's docs/specs/ivshmem-spec).
 *
 * A QEMU with `-chardev socket,id=c,path=PATH -device ivshmem-doorbell,chardev=c,vectors=N` connects, and is a peer until
 * it hangs up.  It gets the file, which it shows its guest whole as BAR 2 of a PCI device (the label first: the arena begins
 * at PORTAL_LABEL_SIZE), and an eventfd for each vector of each peer, itself among them: what a guest writes to its doorbell
 * register goes to the other QEMU, and does not come by here.
 *
 * The server alone speaks; each message is a signed number of 8 bytes, little-endian, and at most one descriptor:
 *
 *	0                         the protocol's version
 *	own id                    0 to 65535
 *	-1, the file
 *	id, its eventfd           for each vector, in their order, for each peer that is there
 *	own id, own eventfd       for each vector
 *	id, its eventfd           for each vector: that peer has come
 *	id                        that peer has gone
 *
 * An id is not given again before all others were.  A peer that reads slowly is never waited for: what it has still to be
 * told is a list of comings and goings, of which a pair that cancels out is not told at all, so that it is bounded by
 * the number of peers, however long it sleeps.
 *
 * What this door cannot do: the file is writable for its guests, whatever is asked for (QEMU maps it so, and refuses one
 * that is open for reading alone); a QEMU does not connect again to a server that was restarted, though its memory and the
 * doorbells it has go on working; a file that is no power of two cannot be a BAR.
 *
 * Trust:     the peers are QEMUs of our uid or root (SO_PEERCRED); others are turned away.  Nothing is ever read from
 *            them: one that says something is dropped.
 * Ownership: the listener and the peers' eventfds are the server's; memory_fd and label are borrowed and must outlive it.
 * Threads:   the loop's.  Nothing blocks: no eventfd is read or written here.
 */
#ifndef PORTAL_IVSHMEM_H
#define PORTAL_IVSHMEM_H

#include <stdint.h>

#include "loop.h"

/* Peers at once; the next is turned away and a line logged.  Each is told of each other. */
#define IVSHMEM_PEERS_MAX 128u

/* Of one peer: QEMU's device has as many as it is told by `vectors=`, 1 if it is told nothing, and warns of more. */
#define IVSHMEM_VECTORS_MAX 32u

struct ivshmem;

struct ivshmem_config {
	const char *path;  /* of the listening socket, made with mode 0600; copied */
	int memory_fd;     /* the whole file */
	uint64_t size;     /* of it; a power of two */
	unsigned vectors;  /* 1 to IVSHMEM_VECTORS_MAX */
	const char *label; /* in log lines */
};

struct ivshmem_stats {
	unsigned peers;    /* that are there */
	uint64_t accepted; /* ever */
	uint64_t refused;  /* a stranger's, or one too many */
	uint64_t dropped;  /* because they spoke */
};

/* Serve.  -EINVAL: the size is no power of two, or vectors out of range; what listen_unix() and loop_add() say; -ENOMEM.
 * Nothing is left behind then. */
int ivshmem_new(struct loop *loop, const struct ivshmem_config *config, struct ivshmem **ret);

/* Stop listening, remove the socket, hang up on all peers, and free it at the end of the loop's pass.  Guests keep what
 * they have mapped: that is theirs until their QEMU ends.  NULL is legal. */
void ivshmem_close(struct ivshmem *server);

const struct ivshmem_stats *ivshmem_stats(const struct ivshmem *server);

#endif
