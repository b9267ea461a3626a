/* SPDX-License-Identifier: MIT */
/* A port plugged into a VDE network: a vde_switch, or another network that libvdeplug knows.
 *
 *   {"name", "type":"vde", "switch", "switch-port"?}
 *
 *   switch        the directory of a vde_switch's socket ("/run/vde.ctl"), or one of libvdeplug's networks:
 *                 vde://DIR, ptp://FILE, udp://..., vxvde://....  Those that start programs or make devices
 *                 (cmd://, tap://) are refused
 *   switch-port   the port of the vde_switch to be plugged into, 1..65535; any if not said
 *
 * No offloads: frames leave complete and in segments.  VDE carries frames up to 9234 bytes; longer ones are counted as
 * egress_drop_size.  A switch that is not there, or goes away, is tried again with the patience of uplink.h.
 *
 * port.list adds "switch", "state" ("running", "down"), "why" if down.
 *
 * Trust:   the switch at the other end may send any bytes, not more than a frame at a time.
 * Threads: the loop thread.  Plugging in speaks with the switch at once: one that does not answer costs LOOP_GUARD_MS. */
#ifndef NET_PORT_VDE_H
#define NET_PORT_VDE_H

#include "port_type.h"

/* VDE_ETHBUFSIZE of libvdeplug.h */
#define VDE_FRAME_MAX 9234

extern const struct port_type port_vde_type;

#endif
