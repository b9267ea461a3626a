/* SPDX-License-Identifier: MIT */
/* A port with the host's network behind it: NAT by libslirp, with the lab's own DHCP and DNS.
 *
 * Guests see a gateway and a name server inside the lab's subnet.  What they send to the gateway's MAC
 * goes through sockets of this process, so no privilege, tap or bridge is needed.  DHCP hands every VM
 * the address that the lab gives it; DNS answers the names of the lab's VMs by itself and passes other
 * questions to the host's resolver.
 *
 * The object that makes such a port (port.add, "ports" of the file), beyond what all ports have:
 *
 *   {"name": "uplink", "type": "nat",
 *    "subnet": "192.168.100.0/24",          of the guests, /8 to /30
 *    "gateway"?: "192.168.100.1",           unsaid: the subnet's first address
 *    "dns"?: "192.168.100.254",             unsaid: the subnet's last; not the gateway's
 *    "subnet6"?: "fd00:100::/64",           unsaid: no IPv6; a /64
 *    "gateway6"?, "dns6"?                   unsaid: its ::1 and ::3
 *    "mtu"?: 1500,                          68..65521; unsaid: the switch's
 *    "domain"?: "lab",                      DHCP's domain; VMs are NAME and NAME.lab
 *    "pool"?: {"first","last"},             addresses for MACs that "hosts" does not have; unsaid: the
 *                                           upper half of the subnet; those of hosts are left out
 *    "lease-s"?: 3600,                      60..4294967294
 *    "restricted"?: false,                  true: nothing but DHCP, names of the lab, and forwards
 *    "host-loopback"?: false,               true: the gateway's address is the host's 127.0.0.1 (::1)
 *    "sockets"?: 1024,                      bound on host sockets for all guests together, 64..16384
 *    "hosts"?: [{"name","mac"?,"ip"?,"ip6"?}…],
 *    "forwards"?: [{"proto"?: "tcp"|"udp", "host"?: "127.0.0.1", "host-port", "guest", "guest-port"}…]}
 *
 * "hosts" and "forwards" are what hosts.set and forward.add (port_nat_ctl.h) change live.  A host with
 * "mac" and "ip" gets that address by DHCP, and nobody else can use it on this port; one without a MAC is
 * a name alone.
 *
 * How a frame passes: egress copies it into a buffer; at the end of the pass all of them are taken in at
 * once (nat_policy.h, nat_flows.h), answered here or given to libslirp, and what comes back goes into the
 * switch in bursts.  So libslirp is never entered from the switch, nor the switch from inside itself.
 *
 * Trust:     frames come from guests; nat_policy.h says which of them libslirp gets to see.
 * Ownership: freed by its type's close().
 * Threads:   the loop thread. */
#ifndef NET_PORT_NAT_H
#define NET_PORT_NAT_H

#include "nat_dhcp.h"
#include "nat_dns.h"
#include "nat_flows.h"
#include "nat_forward.h"
#include "nat_neigh.h"
#include "nat_replies.h"
#include "port_type.h"

/* Frames taken in at the end of a pass; more are lost, as at a card that is full. */
#define PORT_NAT_IN 1024

/* Neighbours libslirp asks for in one pass that we answer; for more it asks the network. */
#define PORT_NAT_WANTED 256

/* As many as libslirp remembers at a time. */
#define PORT_NAT_ANSWERS 16

/* X(name, text): what port.list tells of a NAT port beyond the counters of all ports. */
#define NAT_COUNTERS(X)                                                                      \
	X(malformed, "frames that are not what they say")                                    \
	X(refused, "packets to where no guest may send, or that are not for the port")       \
	X(spoofed, "packets from an address that is another guest's")                        \
	X(limited, "packets that would have opened more sockets than a guest may have")      \
	X(no_buffer, "frames for guests that were lost because the switch's memory is full") \
	X(dhcp_answers, "DHCP messages answered")                                            \
	X(dns_answers, "questions answered about the lab")                                   \
	X(dns_forwarded, "questions passed to the host's resolver")

struct nat_counters {
#define X(name, text) uint64_t name;
	NAT_COUNTERS(X)
#undef X
};

struct port_nat {
	struct sw_port port;
	struct loop *loop;
	struct nat_net net;
	struct nat_hosts hosts;
	struct nat_neigh neigh;
	struct nat_flows flows;
	struct nat_dhcp dhcp;
	struct nat_dns dns;
	struct nat_forwards forwards;
	struct nat_replies replies;
	struct nat_slirp *slirp;
	struct nat_counters counters;
	struct loop_work pump;

	const struct nat_packet *current; /* being taken in by libslirp */
	bool current_pinned;
	unsigned n_in, n_out, n_wanted;
	struct sw_buf *in[PORT_NAT_IN];
	struct sw_buf *out[SW_BURST];
	struct sw_frame burst[SW_BURST];
	struct in6_addr wanted[PORT_NAT_WANTED];
};

extern const struct port_type port_nat_type;

/* NULL: a port of another kind. */
struct port_nat *port_nat_of(struct sw_port *p);

/* Take other hosts; *hosts is taken over.  Leases go on: who has an address that now is another's keeps it until
 * it asks again.  -ENOMEM: nothing has changed, and *hosts is the caller's still. */
int port_nat_set_hosts(struct port_nat *pn, struct nat_hosts *hosts);

#endif
