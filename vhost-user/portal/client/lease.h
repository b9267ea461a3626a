/* SPDX-License-Identifier: MIT */
/* The client's side of the lease: one connection to the daemon, kept alive.
 *
 * A request sends a frame and waits for its reply, at most for the lease's timeout.  Everything the daemon says unasked is
 * taken in by whoever reads the socket at that moment: bells and deaths are counted, a pause is noted, a revocation
 * ends the lease.  Reading of a socket is one thread's at a time; others that wait are woken when it has read something.
 *
 *	CONNECTED -> AWAY         the connection ended; the next call, or the timer behind lease_fd(), tries to come back
 *	AWAY -> CONNECTED         the daemon is there again and knows the lease
 *	any -> OVER               revoked, or the daemon does not know the lease any more: what it had is gone
 *
 * Trust:     a reply is checked for type and sequence number, its arguments by who asked.  A daemon that breaks the
 *            protocol is a daemon that went away.
 * Ownership: lease_open() gives the arena's descriptor, if one came, to the caller.
 * Threads:   every function may be called by any thread, but for lease_close().
 */
#ifndef PORTAL_CLIENT_LEASE_H
#define PORTAL_CLIENT_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

struct lease;

/* How a lease is asked for. */
struct lease_request {
	const char *where; /* "unix:PATH" or "vsock:CID:PORT" */
	const char *name;  /* of the client, as it calls itself */
	uint64_t kernel;
	unsigned timeout_ms; /* of connecting, and of each reply */
	bool want_fd;
};

/* What HELLO was answered with; the daemon's words, not checked against anything. */
struct lease_grant {
	uint64_t owner, generation, arena_size, arena_offset;
	enum portal_mode mode;
	uint32_t quota; /* extents */
	char arena[PORTAL_LABEL_MAX];
	int fd; /* the arena; -1: none was asked for, or none came */
};

/* Connect and say HELLO.  0, or a negative errno of portal_attach(). */
int lease_open(const struct lease_request *request, struct lease_grant *ret_grant,
	       struct lease **ret_lease);

/* End the lease.  NULL is legal.  The caller is the last one that uses it. */
void lease_close(struct lease *l);

/* The owner word; the same as long as the lease stands.  What HELLO said of mode and quota. */
uint64_t lease_owner(const struct lease *l);
enum portal_mode lease_mode(const struct lease *l);
uint32_t lease_quota(const struct lease *l);

/* A descriptor that polls readable when lease_dispatch() has work. */
int lease_fd(const struct lease *l);

/* Take in what the daemon said, without blocking; come back to it if it is away.  Returns 0, -ENOTCONN (away), -ESTALE
 * (over). */
int lease_dispatch(struct lease *l);

/* How often somebody rang, or a client died, or a pause began or ended.  Sampled before a ring is looked at, and
 * given to lease_wait(), it makes sure that no bell between the two is slept through. */
uint64_t lease_bells(const struct lease *l);

/* Sleep until lease_bells() differs from `seen`, or the deadline (CLOCK_MONOTONIC, ns; UINT64_MAX: never).  Returns 0 (look
 * again), -ETIMEDOUT, -ESTALE.  While the daemon is away this tries to come back every now and then; bells that rang
 * meanwhile are lost, so coming back counts as one. */
int lease_wait(struct lease *l, uint64_t seen, uint64_t deadline_ns);

/* Ask, and wait for the answer.  Of *frame type, args and name are the request's; it becomes the reply.  timeout_ms 0: the
 * lease's own.  Returns the reply's status; -ENOTCONN, -ESTALE, -ETIMEDOUT (the answer, if it still comes, is dropped). */
int lease_ask(struct lease *l, struct portal_frame *frame, unsigned timeout_ms);

/* Tell, without an answer: never blocks.  0, -EAGAIN (the socket is full: the bell is lost, or is to be rung again),
 * -ENOTCONN, -ESTALE. */
int lease_tell(struct lease *l, const struct portal_frame *frame);

/* ---- the requests of the other parts -------------------------------------- */

/* A run of n extents.  0 and the first one's index, checked to lie in an arena of n_extents; -EDQUOT, -ENOSPC, -EACCES,
 * -EAGAIN, and those of lease_ask(). */
int lease_extent_get(struct lease *l, uint32_t n_extents, uint32_t n, enum portal_extent_kind kind,
		     uint32_t *ret_first);

/* Give a whole grant back.  0, -EPERM, -EBUSY, and those of lease_ask(). */
int lease_extent_put(struct lease *l, uint32_t first, uint32_t n);

/* Ring a client that sleeps on another kernel.  As lease_tell(). */
int lease_bell(struct lease *l, uint64_t owner, uint32_t cookie);

#endif
