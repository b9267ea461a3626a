/* SPDX-License-Identifier: MIT */
/* A seat for a frontend: a socket that serves one frontend at a time.
 *
 * A device's port listens on a socket.  When its frontend goes, the port listens on: a QEMU that was restarted, or
 * connects again after we were, finds it.  A second frontend that comes while one is seated waits for a second (its
 * predecessor may just be dying), then it is turned away and a line is logged.  After a frontend that broke the rules
 * nobody is seated for a second: what each of its attempts costs the other ports, up to LOOP_GUARD_MS, is paid once in
 * that time.
 *
 *	seat_init(&port->seat, loop, &ops, port, port->name);
 *	seat_open(&port->seat, path, listen_fd);      or seat_dial(&port->seat, path)
 *	… ops->closed() calls seat_vacate(&port->seat), then seat_next(&port->seat, reason) …
 *	if (!seat_close(&port->seat)) free the port; else ops->closed() does
 *
 * A frontend is served by a session of vhost-user, unless the device has a protocol of its own (seat.protocol).
 *
 * Trust:     who connects is a stranger; session.h tells how it is met.
 * Ownership: seat_open() and seat_adopt() own their descriptor from the call on, also on failure.
 * Threads:   the loop's.
 */
#ifndef VU_SEAT_H
#define VU_SEAT_H

#include <stdbool.h>
#include <stdint.h>

#include "device.h"
#include "log.h"
#include "loop.h"
#include "session.h"

/* What a second frontend is given for the first to go away. */
#define SEAT_PENDING_NS 1000000000ull

/* What the next frontend waits after one that was dropped with -EPROTO or -EFAULT. */
#define SEAT_BACKOFF_NS 1000000000ull

/* Between two tries to reach a frontend that listens itself: the first wait, doubled up to the last. */
#define SEAT_DIAL_MIN_NS 50000000ull
#define SEAT_DIAL_MAX_NS 1000000000ull

struct seat;

/* What is done with a frontend. */
struct seat_protocol {
	/* Serve the one connected to fd, which is owned from the call on, also on failure: then nothing has begun.  When it is
	 * over, and not from within, the device calls seat_vacate() and seat_next(). */
	int (*begin)(struct seat *seat, int fd);
	/* End that. */
	void (*end)(struct seat *seat);
	/* In a word, for seat_state(); "closing": it is about to be over. */
	const char *(*state)(const struct seat *seat);
};

struct seat {
	/* For the device, reading. */
	bool taken;                 /* there is a frontend */
	struct vu_session *session; /* what serves it, if that is a session of vhost-user */
	char *path;                 /* NULL: the socket was inherited */
	int listen_fd;              /* -1: a connection was adopted, there is no listener */
	struct log_limit log;       /* of the frontends, one after the other */

	/* Set by the device after seat_init(), or left NULL. */
	void (*seating)(struct seat *seat); /* a session is about to begin: `ops` may be changed */
	void (*seated)(struct seat *seat);  /* a session has begun; no op has been called */
	uint64_t *n_sessions, *n_refused;   /* counters of its own */
	struct places *places;              /* for vu_session_set_places() of each session */
	const struct seat_protocol *protocol; /* in the place of vhost-user's sessions */

	struct loop *loop;
	const struct vu_device_ops *ops;
	void *device;
	const char *tag;
	struct loop_source listener;
	int pending_fd; /* a frontend that waits, or -1 */
	struct loop_timer pending;
	struct loop_timer backoff; /* set: frontends wait in the socket's backlog */
	char *dial_path;           /* NULL: we listen */
	struct loop_timer dial;    /* set: the next try */
	uint64_t dial_wait_ns;     /* what is waited after it */
};

/* An empty seat.  `ops` and `device` are what sessions get (`ops` may be NULL where seat.protocol is set); `tag` is borrowed,
 * and names it in log lines. */
void seat_init(struct seat *seat, struct loop *loop, const struct vu_device_ops *ops, void *device,
	       const char *tag);

/* Serve on listen_fd.  `path` is where that socket stands in the file system, to be removed by seat_close(), or NULL.
 * -ENOMEM, or what loop_add() says. */
int seat_open(struct seat *seat, const char *path, int listen_fd);

/* Serve the frontend that listens at `path`, a socket of its own (QEMU's chardev with server=on, DPDK's virtio-user with
 * server=1): connect, and connect again for ever, whenever there is nobody or the frontend has gone.  The first try is
 * made at once, the others SEAT_DIAL_MIN_NS and up to SEAT_DIAL_MAX_NS after a failure.  seat_close() leaves the socket
 * alone.  -ENOMEM; -ENAMETOOLONG. */
int seat_dial(struct seat *seat, const char *path);

/* Serve one frontend that is connected already; when it is gone nobody follows.  If it cannot be served that is
 * logged, and it is gone. */
void seat_adopt(struct seat *seat, int fd);

/* For ops->closed(): the session is over ... */
void seat_vacate(struct seat *seat);
/* ... and when all that belonged to it is put away, who waits is next. */
void seat_next(struct seat *seat, int reason);

/* Stop listening, remove the socket, end the session.  True: ops->closed() is still to come, and the last that is
 * called (and does neither of the two); false: there was no session. */
bool seat_close(struct seat *seat);

/* "listening" no frontend, "dialling" none either, and it is we who look for it, "closed" there will be none, else
 * vu_session_state() or what the protocol has in its place.  A session that is closing is none any more: nobody has to
 * know that word. */
const char *seat_state(const struct seat *seat);

#endif
