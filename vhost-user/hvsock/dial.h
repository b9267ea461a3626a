/* SPDX-License-Identifier: MIT */
/* An outgoing connection of the host's side: to a Unix socket or over TCP, without ever waiting for it.
 *
 * A Unix socket answers at once, unless the backlog of its listener is full: the kernel has no way to wait for that, so it
 * is tried again after DIAL_RETRY_NS.  TCP answers when it answers; the addresses of a target are tried one after the
 * other, each until it fails or its share of the time is over.  After DIAL_TIMEOUT_NS in all it is over: -ETIMEDOUT.
 *
 * Ownership: the socket is the dial's until it is connected, then the caller's.
 * Threads:   the loop's. */
#ifndef HV_DIAL_H
#define HV_DIAL_H

#include "loop.h"
#include "target.h"

#define DIAL_TIMEOUT_NS 5000000000ull
#define DIAL_RETRY_NS   5000000ull

struct dial;

/* Called once, from the loop, for a dial that was -EINPROGRESS: the connected socket, or -errno of the last attempt.
 * The dial may be used again or, once the pass is over, freed. */
typedef void dial_fn(struct dial *dial, int fd);

/* Zero-filled is one that is not under way. */
struct dial {
	struct loop *loop; /* NULL: not under way */
	dial_fn *fn;
	struct target target;
	unsigned next; /* address to try next */
	int type;      /* SOCK_STREAM or SOCK_SEQPACKET */
	int fd;        /* being connected, or -1 */
	struct loop_source src;
	struct loop_timer timer; /* retry, or the end of this attempt */
	uint64_t deadline_ns;
};

/* Connect to `target` (copied).  A descriptor, non-blocking and the caller's: it is done.  -EINPROGRESS: fn will be called.
 * Other -errno: it failed, fn will not be called; -EPROTOTYPE is also the answer to SOCK_SEQPACKET over TCP. */
int dial_start(struct dial *dial, struct loop *loop, const struct target *target, int type,
	       dial_fn *fn);

/* Give up; fn is not called any more.  Legal on one that is not under way. */
void dial_cancel(struct dial *dial);

#endif
