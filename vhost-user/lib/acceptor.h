/* SPDX-License-Identifier: MIT */
/* A listening socket of the daemon's, and who comes in by it.
 *
 * One acceptor is one listener: a VM's hybrid sockets, a forward's addresses, the portal's door for a client.  A pass of
 * the loop accepts ACCEPTOR_BUDGET connections at most, so that a crowd at one door does not keep those inside waiting; the
 * rest are accepted in the next.
 *
 * When the process has no descriptor left, nobody is accepted for ACCEPTOR_PAUSE_NS and one line is logged: those who come
 * wait in the socket's backlog, and a level-triggered loop does not spin.  (The one connection that met the lack has been
 * closed: listen_accept().)
 *
 * Trust:     who comes to a Unix socket must have our uid or be root (SO_PEERCRED); others are closed, counted and logged.  The
 *            socket's mode of 0600 says the same to begin with; the check holds when somebody changes that.  TCP has no such
 *            thing: whoever reaches the address is served.
 * Ownership: the listener's descriptor is the acceptor's from acceptor_open() on, also when that fails.  Accepted ones
 *            are the callback's.
 * Threads:   the loop's. */
#ifndef VU_ACCEPTOR_H
#define VU_ACCEPTOR_H

#include <stdbool.h>

#include "log.h"
#include "loop.h"

#define ACCEPTOR_BUDGET   64
#define ACCEPTOR_PAUSE_NS 100000000ull

/* Connections that wait to be accepted: as many as the kernel allows (net.core.somaxconn, 4096). */
#define ACCEPTOR_BACKLOG 65535

struct acceptor;

/* A connection: `fd` is the callback's, non-blocking.  It may close the acceptor. */
typedef void acceptor_fn(struct acceptor *acceptor, int fd);

/* Zero-filled is one that is closed. */
struct acceptor {
	struct loop *loop; /* NULL: closed */
	int fd;
	bool check_peer;
	acceptor_fn *fn;
	const char *tag; /* borrowed: in front of its log lines */
	struct loop_source src;
	struct loop_timer pause; /* set: out of descriptors */
	struct log_limit log;
	unsigned long n_refused; /* by check_peer */
};

/* Serve `fd`, a listener that does not block.  check_peer: it is a Unix socket.  What loop_add() says. */
int acceptor_open(struct acceptor *acceptor, struct loop *loop, int fd, bool check_peer,
		  const char *tag, acceptor_fn *fn);

/* Close the listener.  Legal on one that is closed. */
void acceptor_close(struct acceptor *acceptor);

#endif
