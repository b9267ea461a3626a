/* SPDX-License-Identifier: MIT */
/* The client's side of the lease: one connection to the daemon, kept alive.
 *
 * A request sends a frame and waits for its reply, at most for the lease's timeout.  Everything the daemon says unasked is
 * taken in by whoever reads the socket at that moment: bells and deaths are counted, a pause is noted, a revocation
 * ends the lease.  Reading of a socket is one thread's at a time; others that wait are woken when it has read something.
 *
 *	CONNECTED -> AWAY         the connection ended; the next call, or the timer behind tether_fd(), tries to come back
 *	AWAY -> CONNECTED         the daemon is there again and knows the lease
 *	any -> OVER               revoked, or the daemon does not know the lease any more: what it had is gone
 *
 * Trust:     a reply is checked for type and sequence number, its arguments by who asked.  A daemon that breaks the
 *            protocol is a daemon that went away.
 * Ownership: tether_open() gives the arena's descriptor, if one came, to the caller.
 * Threads:   every function may be called by any thread, but for tether_close().
 */
#ifndef PORTAL_CLIENT_TETHER_H
#define PORTAL_CLIENT_TETHER_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

struct tether;

/* How a lease is asked for. */
struct tether_request {
	const char *where; /* "unix:PATH" or "vsock:CID:PORT" */
	const char *name; /* as the client calls itself; what the daemon would refuse becomes "?" */
	uint64_t kernel;
	unsigned timeout_ms; /* of connecting, and of each reply */
	bool want_fd;
	bool watch_names; /* publications are to be told, as bells */
	void (*over)(
		void *ctx); /* the lease is lost: called once, by whichever thread learns it; may not call back */
	void *ctx;
};

/* What HELLO was answered with; the daemon's words, not checked against anything. */
struct tether_grant {
	uint64_t owner, generation, arena_size, arena_offset;
	enum portal_mode mode;
	uint32_t quota; /* extents */
	char arena[PORTAL_LABEL_MAX];
	int fd; /* the arena; -1: none was asked for, or none came */
};

/* Connect and say HELLO.  0, or a negative errno of portal_attach(). */
int tether_open(const struct tether_request *request, struct tether_grant *ret_grant,
		struct tether **ret_tether);

/* End the lease.  NULL is legal.  The caller is the last one that uses it. */
void tether_close(struct tether *t);

/* The owner word; the same as long as the lease stands.  What HELLO said of mode and quota. */
uint64_t tether_owner(const struct tether *t);
enum portal_mode tether_mode(const struct tether *t);
uint32_t tether_quota(const struct tether *t);
unsigned tether_timeout_ms(const struct tether *t);

/* A descriptor that polls readable when tether_dispatch() has work. */
int tether_fd(const struct tether *t);

/* Take in what the daemon said, without blocking; come back to it if it is away.  Returns how often somebody rang since the
 * last call; -ENOTCONN (away), -ESTALE (over). */
int tether_dispatch(struct tether *t);

/* How often somebody rang, or a client died, or a pause began or ended.  Sampled before a ring is looked at, and
 * given to tether_wait(), it makes sure that no bell between the two is slept through. */
uint64_t tether_bells(struct tether *t);

/* Sleep until tether_bells() differs from `seen`, or the deadline (CLOCK_MONOTONIC, ns; UINT64_MAX: never).  Returns 0 (look
 * again), -ETIMEDOUT, -ESTALE.  While the daemon is away this tries to come back every now and then; bells that rang
 * meanwhile are lost, so coming back counts as one. */
int tether_wait(struct tether *t, uint64_t seen, uint64_t deadline_ns);

/* Ask, and wait for the answer.  Of *frame type, args and name are the request's; it becomes the reply.  timeout_ms 0: the
 * lease's own.  A daemon that went away just now is waited for, at most as long as for an answer.
 *
 * Returns 0 or the reply's status; -ESTALE; -ENOTCONN (away) and -ETIMEDOUT: it may have been carried out, or not. */
int tether_ask(struct tether *t, struct portal_frame *frame, unsigned timeout_ms);

/* From here on all requests together wait for at most that long.  For who goes. */
void tether_hurry(struct tether *t, unsigned timeout_ms);

/* Tell, without an answer: never blocks.  0, -EAGAIN (the socket is full: the bell is lost, or is to be rung again),
 * -ENOTCONN, -ESTALE. */
int tether_tell(struct tether *t, const struct portal_frame *frame);

/* Take in what the daemon said and come back to it if it is away, without blocking, as tether_dispatch() does; but bells
 * stay counted.  0, -ESTALE. */
int tether_attend(struct tether *t);

/* ---- the requests of the other parts -------------------------------------- */

/* A run of n extents.  0 and the first one's index, checked to lie in an arena of n_extents; -EDQUOT, -ENOSPC, -EACCES,
 * -EAGAIN, and those of tether_ask().  What comes behind -ETIMEDOUT goes back at once. */
int tether_extent_get(struct tether *t, uint32_t n_extents, uint32_t n,
		      enum portal_extent_kind kind, uint32_t *ret_first);

/* Give a whole grant back.  0, -EPERM, -EBUSY, and those of tether_ask(). */
int tether_extent_put(struct tether *t, uint32_t first, uint32_t n);

/* Ring a client that sleeps on another kernel.  As tether_tell(). */
int tether_bell(struct tether *t, uint64_t owner, uint32_t cookie);

#endif
