/* SPDX-License-Identifier: MIT */
/* The daemon as a whole: what main.c sets up and ctl.c lets an operator change. */
#ifndef NET_NET_H
#define NET_NET_H

#include "backend.h"
#include "port_vu.h"
#include "switch.h"

struct net {
	struct backend *backend;
	struct sw sw;
	struct port_vu_group group;
	struct loop_timer tick; /* moves the switch's clock once a second */
};

/* Make a listening socket at `path` and a port on it.  -errno of either; nothing is left behind. */
int net_add_port(struct net *net, const char *name, const char *path);

/* Close them all. */
void net_close_ports(struct net *net);

#endif
