/* SPDX-License-Identifier: MIT */
/* How host and agent reach each other: vsock, or, for tests on a plain host, Unix sockets. */
#ifndef ORCHESTRATOR_AGENT_GUEST_TRANSPORT_H
#define ORCHESTRATOR_AGENT_GUEST_TRANSPORT_H

#include <stdint.h>

/* "none", "vsock", "vsock:PORT", "unix:PATH". */
struct transport {
	enum { TRANSPORT_NONE, TRANSPORT_VSOCK, TRANSPORT_UNIX } kind;
	uint32_t port;  /* of vsock */
	char path[108]; /* of unix */
};

/* PORT: of a plain "vsock".  Returns 0 or -EINVAL. */
int transport_parse(const char *text, uint32_t port, struct transport *ret_transport);

/* A listening socket, non-blocking; a Unix one replaces what is at its path.  Returns it or a negative errno. */
int transport_listen(const struct transport *transport);

/* The next connection, non-blocking.  Of vsock, one whose peer is not the host (CID 2) is closed: -ECONNREFUSED.  -EAGAIN: none now. */
int transport_accept(const struct transport *transport, int listener);

/* Begin to connect, to PORT in place of the transport's own if that is not 0 (of Unix: PATH.PORT).  Returns a non-blocking socket; that it is
 * connected, or why not, is told by EPOLLOUT and SO_ERROR.  Or a negative errno. */
int transport_dial(const struct transport *transport, uint32_t port);

#endif
