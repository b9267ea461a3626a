/* SPDX-License-Identifier: MIT */
/* What the control socket can do with a NAT port.
 *
 *   hosts.set {"port"?,"hosts":[{"name","mac"?,"ip"?,"ip6"?}…]} → {}     replaces all of them
 *   forward.add {"port"?,"proto"?,"host"?,"host-port","guest","guest-port"} → {"host-port"}
 *   forward.remove {"port"?,"proto"?,"host"?,"host-port"} → {}
 *   forward.list {"port"?} → {"forwards":[{"port","proto","host","host-port","guest","guest-port"}…]}
 *
 * "port" names a NAT port; it can be left out where there is one alone (forward.list: all).  "proto" is
 * "tcp" or "udp", unsaid "tcp"; "host" is an IPv4 or IPv6 address of this host, unsaid "127.0.0.1";
 * "host-port" 0 takes a free one, and the answer says which.  "guest" is an address inside the port's
 * subnet, of the same family as "host".
 *
 * port.list tells of a NAT port: "state" ("running"), "subnet", "gateway", "dns", and so on as port_nat.h
 * has them, "sockets" {"max","open","tcp","udp","icmp"}, "nat" (nat_counters), "leases" [{"ip","mac","bound",
 * "expires-s"}…] of the pool, and how many "hosts" and "forwards" there are.
 *
 * Errors: INVALID_PARAMS naming the member; NOT_FOUND: no such port, forward; EXISTS: this forward is
 * there already; FAILED: the host says no ("tcp 127.0.0.1:2222: Address already in use").  Nothing has
 * changed then.
 *
 * Threads: the loop thread. */
#ifndef NET_PORT_NAT_CTL_H
#define NET_PORT_NAT_CTL_H

#include "control.h"

struct sw_port;

int port_nat_hosts_set(struct control_call *call, struct json_object *params,
		       struct json_object **ret_result);
int port_nat_forward_add(struct control_call *call, struct json_object *params,
			 struct json_object **ret_result);
int port_nat_forward_remove(struct control_call *call, struct json_object *params,
			    struct json_object **ret_result);
int port_nat_forward_list(struct control_call *call, struct json_object *params,
			  struct json_object **ret_result);

/* port_type.describe. */
void port_nat_describe(const struct sw_port *p, struct json_object *o);

#endif
