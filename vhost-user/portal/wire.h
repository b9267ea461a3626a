/* SPDX-License-Identifier: MIT */
/* What a client and the daemon say to each other: the lease protocol.
 *
 * A lease is one connection of a stream socket: a Unix socket of the host, or a vsock connection of a guest, which the
 * socket device hands to a Unix socket of the daemon.  Each side sends frames of PORTAL_FRAME bytes, little-endian,
 * nothing else.  The first frame is HELLO; the connection's end is the lease's.
 *
 *	client                               daemon
 *	HELLO seq 1                 →
 *	                            ←        HELLO seq 1, status 0, args (and the arena's descriptor)
 *	EXTENT_GET seq 2, n 1       →
 *	PUBLISH seq 3 ...           →
 *	                            ←        EXTENT_GET seq 2 ...
 *	                            ←        BELL seq 0, from, cookie              (unasked)
 *
 * A reply has the type and the seq of its request, and a status: 0 or -errno of Linux on x86-64.  Requests may be sent
 * without waiting; they are carried out in order, and answered in order but for QUIESCE and FLUSH, which are answered
 * when they are done.  A request with seq 0 is not answered.  Frames of the daemon with seq 0 are unasked.
 *
 * Of what is said here nothing is needed to move data: a client that never asks for anything reads and writes memory.
 *
 * Trust: the daemon believes no frame: an unknown type, a member out of range, a name that is not one, is answered with
 *        -EINVAL; HELLO twice, or not first, ends the connection, and with it the lease.  A client that does not read is
 *        never waited for: from PORTAL_UNREAD_MAX replies on it is not read from either, its bells become one, and the rest of
 *        what it would be told is dropped.
 */
#ifndef PORTAL_WIRE_H
#define PORTAL_WIRE_H

#include <assert.h>
#include <stddef.h>

#include "layout.h"

#define PORTAL_WIRE_VERSION 1
#define PORTAL_FRAME        128u
#define PORTAL_FRAME_ARGS   6u
#define PORTAL_UNREAD_MAX   256u /* replies that wait for a client to read them */
#define PORTAL_FLUSHES_MAX  8u
#define PORTAL_BELLS_MAX    64u /* bells that do: more become one PORTAL_BELL_ALL */

#define PORTAL_VSOCK_PORT \
	50100u /* where guests find the daemon, unless its configuration says otherwise */

/* X(NAME, number): requests, and their replies.
 *
 *	HELLO       > version, kernel, owner (0, or the lease to come back to), flags (PORTAL_HELLO_*); name: its own,
 *	              up to PORTAL_LABEL_MAX-1 characters of printable ASCII
 *	            < owner, generation of the arena, mode, quota in extents, size of the arena in bytes, offset of the arena in
 *	              the descriptor; name: the arena's.  Status -EPROTONOSUPPORT (args: the daemon's version),
 *	              -ESTALE (the lease to come back to is gone: say HELLO again, without), -EBUSY (its old connection still
 *	              stands: again in a moment), -EUSERS (no lease left), -EAGAIN (the arena is frozen,
 *	              or a lease is being taken back: again in a moment)
 *	EXTENT_GET  > n, kind (enum portal_extent_kind: SEGMENT with n = 1, or HUGE)
 *	            < first.  -EDQUOT (beyond the quota), -ENOSPC (no run of n is free), -EACCES (a read-only client),
 *	              -EAGAIN (the arena drains or is frozen)
 *	EXTENT_PUT  > first, n (a whole grant).  -EPERM: it is not the client's; -EBUSY: a name lies in it; -EACCES;
 *	              -EAGAIN: frozen
 *	PUBLISH     > type, offset, len; name: the object's
 *	            < generation, index in the name table.  -EEXIST, -ENOSPC (the table is full), -EPERM (not in extents of
 *	              the client), -EACCES, -EAGAIN: as EXTENT_GET
 *	UNPUBLISH   name: the object's.  -ENOENT; -EPERM: somebody else's; -EACCES; -EAGAIN: frozen
 *	BELL        > owner to ring, cookie (low 32 bits).  -ESRCH: no such live lease
 *	QUIESCE     > deadline in ms, longest freeze in ms (0: the daemon's own limit)
 *	            < epoch, clients that did not acknowledge.  Answered when the arena is frozen.  It thaws by THAW, by the
 *	              end of this connection, or when the time is over.  -EACCES: not admitted to it; -EALREADY; -ECANCELED:
 *	              thawed before it was frozen
 *	THAW        -EINVAL: not frozen by this client
 *	ACK         > epoch: this client has come to rest for it.  -ESTALE: another epoch
 *	FLUSH       < durable.  Answered after an fdatasync() that began after the request; -EIO, -ENOSPC, -EDQUOT, whatever
 *	              it failed with: for ever; -EBUSY: PORTAL_FLUSHES_MAX of this connection are under way
 *	STAT        < extents free, extents of this client, its quota, leases live, names used, durable
 *	NOTIFY      > flags (PORTAL_NOTIFY_*): what to be told unasked, from now on
 *	BYE         the lease ends here, and with it the connection, without an answer.  A connection that ends without a BYE
 *	            may have been cut by somebody between the two: such a lease lingers if it was configured to
 */
#define PORTAL_REQUESTS(X) \
	X(HELLO, 1)        \
	X(EXTENT_GET, 2)   \
	X(EXTENT_PUT, 3)   \
	X(PUBLISH, 4)      \
	X(UNPUBLISH, 5)    \
	X(BELL, 6)         \
	X(QUIESCE, 7)      \
	X(THAW, 8)         \
	X(ACK, 9)          \
	X(FLUSH, 10)       \
	X(STAT, 11)        \
	X(NOTIFY, 12)      \
	X(BYE, 13)

/* X(NAME, number): what the daemon says unasked.
 *
 *	RANG     from (0: PORTAL_BELL_ALL), cookie: somebody rang.  Rings of the same cookie may come as one
 *	QUIESCED epoch, enum portal_quiesce_state, ms until the deadline (DRAINING) or the thaw (FROZEN)
 *	REVOKED  reason (errno): the lease is over, the connection ends behind this frame
 *	DIED     owner: a lease ended and has been recovered (after NOTIFY with PORTAL_NOTIFY_DEATHS)
 *	NAMED    index, generation (0: withdrawn); name: the object's (after NOTIFY with PORTAL_NOTIFY_NAMES)
 *
 * Of the last two some are missing if the client reads slowly: the tables are what counts.
 */
#define PORTAL_NOTICES(X)  \
	X(RANG, 0x100)     \
	X(QUIESCED, 0x101) \
	X(REVOKED, 0x102)  \
	X(DIED, 0x103)     \
	X(NAMED, 0x104)

enum portal_message {
#define X(name, number) PORTAL_##name = (number),
	PORTAL_REQUESTS(X) PORTAL_NOTICES(X)
#undef X
};

/* HELLO's flags. */
#define PORTAL_HELLO_FD \
	1u /* send the arena's descriptor with the reply (SCM_RIGHTS; read-only for a read-only client) */

/* NOTIFY's flags. */
#define PORTAL_NOTIFY_DEATHS 1u
#define PORTAL_NOTIFY_NAMES  2u

/* RANG's cookie when too many rang at once: look everywhere. */
#define PORTAL_BELL_ALL UINT64_MAX

struct portal_frame {
	le32_t type; /* enum portal_message */
	le32_t seq;
	le32_t status; /* of a reply: 0 or -errno, as two's complement */
	le32_t flags;  /* 0 */
	le64_t args[PORTAL_FRAME_ARGS];
	char name[PORTAL_NAME_MAX]; /* terminated, and zeros to the end */
};
static_assert(sizeof(struct portal_frame) == PORTAL_FRAME, "the frame's layout");

#endif
