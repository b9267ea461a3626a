/* SPDX-License-Identifier: MIT */
/* What libslirp holds for guests, and how much of it they may make it hold.
 *
 * libslirp makes a host socket for every TCP connection, for every UDP port and for every ping of a guest, and
 * keeps fragments, without a bound.  It cannot be told to give one up.  So we count what it opens and closes
 * (it tells), and keep from it what would open more than there should be:
 *   - TCP gets three quarters of all, UDP half, pings a sixteenth: no kind starves the others;
 *   - each pinned host (nat_neigh.h) gets a quarter, all others together one half: no guest starves the
 *     others.
 * What exists goes on, whatever is full.  Connections that come in by a forward are counted and not
 * refused here: whoever polls for them does that.
 *
 * Trust:     addresses and ports are guests'; the hash is seeded.
 * Ownership: all memory is taken by nat_flows_init().
 * Threads:   none. */
#ifndef NET_NAT_FLOWS_H
#define NET_NAT_FLOWS_H

#include "nat_packet.h"

#define NAT_SOCKETS_DEFAULT 1024
#define NAT_SOCKETS_MIN     64
#define NAT_SOCKETS_MAX     16384

/* Fragments of half-complete packets: libslirp keeps each for 30 s at most. */
#define NAT_FRAGMENT_WINDOW_S 32
#define NAT_FRAGMENT_BYTES    (4u << 20)

struct nat_flow {
	struct in6_addr src;
	uint16_t sport;
	uint8_t proto; /* 0: came in by a forward, or of no known packet */
	bool pinned;   /* counts for its own address, else among all that are not */
	int fd;
	uint32_t next; /* of its bucket */
};

struct nat_flows {
	struct nat_flow *flow; /* [room], the first n of them used */
	uint32_t *bucket;
	unsigned max, room, n, n_tcp, n_udp, n_icmp;
	uint32_t mask;
	uint64_t seed;
	uint32_t window_s; /* begin of the window of fragments */
	uint32_t window_bytes, before_bytes;
};

/* `max` sockets of NAT_SOCKETS_MIN to NAT_SOCKETS_MAX.  -ENOMEM. */
int nat_flows_init(struct nat_flows *flows, unsigned max, uint64_t seed);
void nat_flows_done(struct nat_flows *flows);

/* May this packet go on, which may open a socket?  `pinned`: its source is. */
bool nat_flows_admit(const struct nat_flows *flows, const struct nat_packet *p, bool pinned);

/* The same for a fragment of `len` bytes, which is kept until the packet is complete. */
bool nat_flows_admit_fragment(struct nat_flows *flows, uint32_t len, uint32_t now_s);
/* Whether libslirp may still have some. */
bool nat_flows_has_fragments(const struct nat_flows *flows, uint32_t now_s);

/* A socket was made for `p` (NULL: for nobody here), or closed.  Sockets beyond what there is room for
 * are not remembered. */
void nat_flows_opened(struct nat_flows *flows, int fd, const struct nat_packet *p, bool pinned);
void nat_flows_closed(struct nat_flows *flows, int fd);

/* Is the socket one of those told? */
bool nat_flows_knows(const struct nat_flows *flows, int fd);

#endif
