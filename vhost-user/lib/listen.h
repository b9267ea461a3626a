/* SPDX-License-Identifier: MIT */
/* Where connections come from: sockets this process makes, and sockets it is born with.
 *
 * A socket file outlives a daemon that was killed, and a path must not be taken from a daemon
 * that lives.  The kernel tells the two apart: connect() to a socket file nobody listens on
 * says ECONNREFUSED.  Only then is the file removed.  Making a socket is three steps (bind,
 * listen, and the look before), which two daemons started at once would interleave; a lock
 * (flock) on the directory is held over them.
 *
 * A socket that the process is born with may be one that it was told to make: a service manager
 * listens at a path of the configuration, and starts the daemon when somebody connects.  Such a
 * listener is kept (listen_keep()), and whoever asks for its path gets it.
 *
 * Trust:     paths are the operator's.  What connects is a stranger, and not this module's
 *            business.
 * Ownership: returned descriptors are the caller's; all are close-on-exec and non-blocking.
 * Threads:   any; what is kept are the reserve of listen_accept(), which is the loop thread's,
 *            and the listeners of listen_keep(), which come before there are threads.
 */
#ifndef VU_LISTEN_H
#define VU_LISTEN_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#define LISTEN_INHERITED_MAX \
	1000 /* sockets passed by socket activation: a service has 1024 descriptors to begin with */
#define LISTEN_NAME_MAX 64  /* a name in LISTEN_FDNAMES, terminator included */
#define LISTEN_PATH_MAX 109 /* a path in sockaddr_un, terminator included */

/* A listening Unix stream socket at path, its file made with `mode` from the first moment
 * (minus the umask); or the one that is kept for path, as it is (-EPROTOTYPE: of another type).
 * -EADDRINUSE: somebody listens there; -ENOTSOCK: something else than a
 * socket has that name; -ENAMETOOLONG: beyond the 107 bytes of sockaddr_un; -ENOENT, -EACCES,
 * ...: the directory.  May block on a lock held for a moment. */
int listen_unix(const char *path, mode_t mode, int *ret_fd);
/* The same for SOCK_STREAM or SOCK_SEQPACKET, with room for `backlog` connections that wait to be accepted
 * (listen_unix() has few: one frontend, a handful of control clients). */
int listen_unix_type(const char *path, mode_t mode, int type, int backlog, int *ret_fd);
/* A listening TCP socket at an IPv4 or IPv6 address (IPv6 alone: "::" is not 0.0.0.0 as well).  A port that a daemon
 * which was killed has left in TIME_WAIT is taken over.  -EADDRINUSE, -EADDRNOTAVAIL, -EAFNOSUPPORT, -EACCES. */
int listen_tcp(const struct sockaddr *addr, socklen_t len, int backlog, int *ret_fd);
/* Remove the socket file of a listener that has been closed.  If somebody else listens at path
 * by now, or it is not a socket, it stays.  Failure is of no consequence: the file is stale,
 * and the next listen_unix() clears it. */
void listen_unlink(const char *path);

enum listen_kind { LISTEN_KIND_LISTENING, LISTEN_KIND_CONNECTED };
/* Whether an inherited descriptor is of use: a Unix stream socket, listening or connected.
 * Sets it close-on-exec and non-blocking.  -EBADF, -ENOTSOCK, -EPROTOTYPE (not a Unix stream
 * socket), -ENOTCONN (neither of the two). */
int listen_adopt(int fd, enum listen_kind *ret_kind);

/* Accept one connection.  -EAGAIN: none is waiting (or it has gone again).  -EMFILE: there was
 * no descriptor left for it; it has been accepted on a reserve and closed at once, so that a
 * level-triggered loop does not spin on it. */
int listen_accept(int listen_fd, int *ret_fd);
/* Whether the process at the other end of a Unix socket may be served: it has our uid, or is root (SO_PEERCRED: as
 * it was when it connected, or listened).  0, or -EPERM. */
int listen_check_peer(int fd);

/* Whether an inherited descriptor is a Unix socket that listens at a path in the file system. */
bool listen_path(int fd, char ret_path[LISTEN_PATH_MAX]);
/* Keep such a listener: from now on whoever makes one at its path, spelled as it was bound, has a
 * duplicate of it, again and again, and listen_unlink() leaves its file alone: it is for who made
 * it to remove.  Takes fd over.  -EINVAL: it is none; -E2BIG: more than LISTEN_INHERITED_MAX; fd
 * is the caller's then. */
int listen_keep(int fd);

struct listen_inherited {
	int fd;
	char name[LISTEN_NAME_MAX]; /* from LISTEN_FDNAMES; "" if it says nothing */
};
/* What socket activation passed: LISTEN_PID (must be us), LISTEN_FDS, LISTEN_FDNAMES.  The
 * variables are removed from the environment.  The number of sockets in ret (0: none were
 * passed); -EINVAL: the variables make no sense; -E2BIG: more than LISTEN_INHERITED_MAX. */
int listen_inherited(struct listen_inherited ret[LISTEN_INHERITED_MAX]);

#endif
