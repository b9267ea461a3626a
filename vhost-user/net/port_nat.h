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
 * "mac" and "ip" gets that address by DHCP; one without a MAC is a name alone.
 *
 * Trust:     frames come from guests; nat_gate.h says which of them libslirp gets to see.
 * Ownership: freed by its type's close().
 * Threads:   the loop thread. */
#ifndef NET_PORT_NAT_H
#define NET_PORT_NAT_H

#include "port_type.h"

extern const struct port_type port_nat_type;

#endif
