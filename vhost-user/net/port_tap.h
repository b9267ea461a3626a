/* SPDX-License-Identifier: MIT */
/* A port that is a tap device of this host: into a bridge, Open vSwitch, or the host itself.
 *
 *   {"name", "type":"tap", "ifname", "create"?}
 *
 *   ifname   the device; it must be there already, and be ours (`ip tuntap add tap0 mode tap user $USER`): then no root
 *            is needed
 *   create   true: make the device if it is not there, and set it up.  That takes CAP_NET_ADMIN.  It goes with
 *            the port.  Default false
 *
 * The device is given IFF_VNET_HDR and told by TUNSETOFFLOAD that we take unfinished checksums and segments, so that
 * a guest's offloads pass through into the host's network stack, and the stack's into the guest.
 *
 * A device that goes away (`ip link del`) is an event, not the end: the port is down, says why ("why" in port.list)
 * and tries again with the patience of uplink.h.  A device that is set down loses what is sent into it: counted as
 * egress_drop_down.
 *
 * port.list adds "ifname", "state" ("running", "down") and "why" if down.
 *
 * Trust:   what comes out of the device is the host's, or of anybody bridged to it: lengths and offload requests are
 *          checked like a guest's.
 * Threads: the loop thread. */
#ifndef NET_PORT_TAP_H
#define NET_PORT_TAP_H

#include "port_type.h"

extern const struct port_type port_tap_type;

#endif
