/* SPDX-License-Identifier: MIT */
/* Which frames belong together, so that a port with several receiveqs can spread them and still keep
 * the order within a connection.
 *
 * Trust: the bytes are a guest's; whatever they are, some number comes out. */
#ifndef NET_FLOW_H
#define NET_FLOW_H

#include <stdint.h>

#include "port.h"

/* The same for all frames of a flow, both directions alike: IP addresses, and of TCP and UDP the
 * ports.  Fragments have no ports and go by address alone; what is not IP goes by its Ethernet
 * addresses and type. */
uint32_t flow_hash(const struct sw_frame *f);

#endif
