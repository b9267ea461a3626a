/* SPDX-License-Identifier: MIT */
/* Clients of the host on their way into a guest: accepted, but not yet connected.
 *
 * A client comes by a VM's hybrid socket, and says first which port it wants (connect_line.h); or by a forward, whose port
 * is known.  Then the guest is asked.  Says the guest yes, the relay owns the socket and this module forgets it; in every
 * other case the socket is closed, which is all that firecracker's protocol has for no.
 *
 *	accepted ──line──▶ asked ──guest's yes──▶ "OK <port>\n", the relay's
 *	    │ rubbish, CLIENT_LINE_NS, one too many      │ no, no answer in time, a limit, the client hung up
 *	    └────────────────────▶ closed ◀──────────────┘
 *
 * A client may send its data right behind the line, and even close its sending side, before it has the answer: not a byte is
 * taken that is not the line's.  On a SEQPACKET socket the line is the first packet.
 *
 * Those without a line cost a descriptor each, so a set holds CLIENT_HALF_OPEN_MAX of them: one more, and the oldest is closed.
 * An honest client sends its line at once, and is not the oldest for long.
 *
 * Trust:     who is let in by the acceptor; its bytes and its timing are anybody's.
 * Ownership: a set owns its clients and their descriptors.
 * Threads:   the loop's. */
#ifndef HV_CLIENT_H
#define HV_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "log.h"
#include "loop.h"
#include "relay.h"

#define CLIENT_LINE_NS       5000000000ull /* to say the line, from being accepted on */
#define CLIENT_HALF_OPEN_MAX 256

/* X(name, "what it counts") */
#define CLIENT_COUNTERS(X)                                                          \
	X(clients, "clients accepted")                                              \
	X(clients_connected, "clients whose connection the guest took")             \
	X(clients_refused, "clients that the guest or a limit refused")             \
	X(clients_gone, "clients that hung up before the guest had answered")       \
	X(lines_bad, "clients closed because their first line is no CONNECT")       \
	X(lines_timeout, "clients closed because their line was not there in time") \
	X(lines_evicted, "clients closed without a line because there were too many")

struct client_stats {
#define X(name, text) uint64_t name;
	CLIENT_COUNTERS(X)
#undef X
};

struct client;

/* Zero-filled is empty, and needs client_set_init(). */
struct client_set {
	struct loop *loop;
	struct hv_vm *vm;
	struct client_stats stats;
	struct client *oldest, *newest;
	unsigned n_half_open;
	struct log_limit log;
};

/* The clients of one VM, or of one forward into it. */
void client_set_init(struct client_set *set, struct loop *loop, struct hv_vm *vm);

/* Close all of them.  The set is empty then, and may be used on. */
void client_set_clear(struct client_set *set);

/* A client that will say its CONNECT line.  fd: an accepted, non-blocking socket of `type` (SOCK_STREAM or SOCK_SEQPACKET),
 * owned from the call on. */
void client_greet(struct client_set *set, int fd, int type);

/* A client for `port`, without a line and without an answer. */
void client_connect(struct client_set *set, int fd, int type, uint32_t port);

#endif
