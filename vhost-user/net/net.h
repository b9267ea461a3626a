/* SPDX-License-Identifier: MIT */
/* The daemon as a whole: what main.c sets up and ctl.c lets an operator change. */
#ifndef NET_NET_H
#define NET_NET_H

#include "backend.h"
#include "config.h"
#include "link.h"
#include "port_vu.h"
#include "qos.h"
#include "rule.h"
#include "switch.h"
#include "workers.h"

#define NET_POLICIES_MAX 256

struct capture;

struct net {
	struct backend *backend;
	struct sw sw;
	struct port_vu_group group; /* of the loop, or what those of the workers are like */
	struct workers workers;
	struct links links; /* what is between ports and who is plugged in */
	struct rules rules; /* and between ports */
	struct profiles profiles;
	struct qos_policy *policies[NET_POLICIES_MAX];
	unsigned n_policies;
	struct loop_timer tick; /* moves the switch's clock once a second */
	struct capture *captures;
	unsigned n_captures; /* ever begun: for names */
};

/* Make the switch: `net` is zero-filled but for `backend`.  -errno of fdb_init(). */
int net_init(struct net *net, const struct config *config, uint64_t seed);

/* The group that a new vhost-user port belongs to: of the thread that has the fewest. */
struct port_vu_group *net_group(struct net *net);

/* Close all ports and the switch. */
void net_done(struct net *net);

/* Make a port and set it as its spec says.  As port_type.open(); also -EEXIST and what
 * port_spec_apply() says.  Nothing is left behind on failure. */
int net_add_port(struct net *net, const struct port_spec *spec, char **why);

/* Why net_add_port() failed, as a text: *why if there is one. */
const char *net_port_error(int error, const char *why);

#endif
