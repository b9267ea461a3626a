/* SPDX-License-Identifier: MIT */
/* Which frames are meant: by addresses, VLAN, type, protocol, port, priority, or a pcap-filter(7) expression.
 *
 * A frame's first bytes are copied once and taken apart once, for all the matches it is held against; the payload is
 * not looked at but by a filter, which sees MATCH_LOOK_LEN bytes.  What a frame does not have (the port of an ARP
 * request, the port of a fragment that is not the first) matches nothing that asks for it.
 *
 * Trust:     frames are guests': all lengths are checked.  A filter is an operator's; libpcap checks it, and a filter
 *            cannot loop.
 * Ownership: match_done() frees a filter.
 * Threads:   none. */
#ifndef NET_MATCH_H
#define NET_MATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf.h"
#include "port.h"

#define MATCH_LOOK_LEN 256

/* What is asked for. */
enum match_given {
	MATCH_SRC = 1 << 0,
	MATCH_DST = 1 << 1,
	MATCH_VLAN = 1 << 2,
	MATCH_PCP = 1 << 3,
	MATCH_ETHERTYPE = 1 << 4,
	MATCH_PROTOCOL = 1 << 5,
	MATCH_PORT = 1 << 6,
	MATCH_DSCP = 1 << 7,
	MATCH_BPF = 1 << 8,
};

struct match {
	unsigned given;    /* enum match_given; 0 matches everything */
	uint64_t src, dst; /* fdb_key() */
	uint16_t vlan, ethertype, port;
	uint8_t pcp, protocol, dscp;
	struct bpf *bpf;
	char *bpf_text; /* as it was given */
};

/* A frame taken apart. */
struct match_view {
	unsigned has; /* enum match_given: which of these the frame has at all */
	uint64_t src, dst;
	uint16_t vlan, ethertype;
	uint16_t port[2]; /* source, destination */
	uint8_t pcp, protocol, dscp;
	uint32_t wire_len, len; /* of the frame; of what is here */
	uint8_t bytes[MATCH_LOOK_LEN];
};

void match_look(const struct sw_frame *f, struct match_view *ret);

bool match_holds(const struct match *m, const struct match_view *v);

void match_done(struct match *m);

#endif
